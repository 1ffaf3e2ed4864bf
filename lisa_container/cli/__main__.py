"""`python -m lisa_container.cli`, where the command `lisa-container` is not installed."""

import sys

from lisa_container.cli import main

sys.exit(main())
