"""Start of the keeper process: `python -I <this file>`, fed with one line, see `service`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

if __name__ == "__main__":
    # Found as "keeper" and not as "lisa_container…keeper": importing the latter imports LISA, which
    # takes seconds. At the end of the path, so that no neighbour hides a standard module.
    sys.path.append(str(Path(__file__).resolve().parent.parent))
    sys.exit(importlib.import_module("keeper.service").main())
