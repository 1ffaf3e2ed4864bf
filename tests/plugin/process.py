"""Runs of pytest in processes of their own."""

from __future__ import annotations

from pathlib import Path

from tests.support.programs import Captured


class Pytest(Captured):
    """Run of pytest in a folder with files that have tests."""

    def __init__(self, folder: Path, *words: str, **files: str) -> None:
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
        # The process has imported the plugin before pytest could rewrite its assertions.
        own = ("-W", "ignore::pytest.PytestAssertRewriteWarning", "-rA")
        own += ("-p", "no:cacheprovider", f"--basetemp={folder / 'temporary'}")
        super().__init__("-m", "pytest", *own, *words, folder=folder)
