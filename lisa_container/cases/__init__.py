"""Life of a test case: its containers, its records, its end."""
