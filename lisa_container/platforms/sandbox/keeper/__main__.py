"""Entry point of the keeper: `python -I <this file>`, with one line on stdin; see `service`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

if __name__ == "__main__":
    # Empty parent packages, because the real ones import LISA, which takes seconds.
    names = ("lisa_container", "platforms", "sandbox", "keeper")
    for depth in range(1, len(names)):
        package = ModuleType(".".join(names[:depth]))
        package.__path__ = [str(Path(__file__).resolve().parents[len(names) - depth])]
        sys.modules[package.__name__] = package
    sys.exit(importlib.import_module(f"{'.'.join(names)}.service").main())
