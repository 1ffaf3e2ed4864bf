"""Start of the keeper process: `python -I <this file>`, fed with one line, see `service`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

if __name__ == "__main__":
    # Stand-ins for the packages above this one: importing those imports LISA, which takes seconds.
    names = ("lisa_container", "platforms", "sandbox", "keeper")
    for depth in range(1, len(names)):
        package = ModuleType(".".join(names[:depth]))
        package.__path__ = [str(Path(__file__).resolve().parents[len(names) - depth])]
        sys.modules[package.__name__] = package
    sys.exit(importlib.import_module(f"{'.'.join(names)}.service").main())
