"""What commands and cases leave behind, kept and compared."""
