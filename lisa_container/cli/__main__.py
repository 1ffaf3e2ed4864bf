"""`python -m lisa_container.cli`: the command, if it is not on the path."""

import sys

from lisa_container.cli import main

if __name__ == "__main__":  # LISA imports every module of an extension's folder
    sys.exit(main())
