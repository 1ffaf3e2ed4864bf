"""What runs leave on this machine, and the index over all of them.

Every run writes files into its own folder below LISA's log folder: what it was, what became of its
cases, and what its containers did (`lisa_container.capture`). These files are the truth. The index,
one SQLite file beside the runs' folders, is made from them, so that a question about many runs need
not read them all. It can be made anew at any time.
"""

from __future__ import annotations

from lisa_container.artifacts.history import History
from lisa_container.artifacts.index import Index
from lisa_container.artifacts.place import INDEX_NAME

__all__ = ["INDEX_NAME", "History", "Index"]
