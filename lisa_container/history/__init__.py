"""History of runs: the files that each run leaves, and an index over all runs.

Every run writes files into its own folder below LISA's log folder: facts about the run, the results
of its cases, and the commands of its containers (`lisa_container.capture`). The index is one SQLite
file beside the runs' folders. It is made from these files and can be rebuilt at any time; questions
about many runs are answered from it.
"""

from __future__ import annotations

from lisa_container.history.history import History
from lisa_container.history.index import Index
from lisa_container.history.place import INDEX_NAME

__all__ = ["INDEX_NAME", "History", "Index"]
