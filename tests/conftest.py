"""Its presence puts this folder on sys.path (pytest's rootdir/conftest rule), for docs_examples."""
