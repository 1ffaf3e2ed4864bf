"""What can be wrong with an archive, before it is known which archive it is.

`extract_image` turns these into errors of the package, with the archive's name in front.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lisa_container.errors import (
    ArchiveLimitError,
    ExtractDeniedError,
    ImageArchiveError,
    UnsafeArchiveError,
)


class Fault(Exception):  # noqa: N818
    """The archive is malformed, or not what it should be."""

    error = ImageArchiveError


class Unsafe(Fault):
    """An entry reaches outside of the root file system."""

    error = UnsafeArchiveError


class TooMuch(Fault):
    """It unpacks to more than is allowed."""

    error = ArchiveLimitError


class Denied(Fault):
    """This user, or this file system, cannot make an entry."""

    error = ExtractDeniedError


@contextlib.contextmanager
def faults_of(archive: str) -> Iterator[None]:
    """Turn faults within a `with` block into errors of the package.

    Args:
        archive: its path, for messages.

    Raises:
        ImageArchiveError: or a subclass, see above.
    """
    try:
        yield
    except Fault as fault:
        raise fault.error(archive, str(fault)) from fault
    except OSError as error:
        about = f" ('{error.filename}')" if error.filename else ""
        raise ImageArchiveError(archive, f"{error.strerror or error}{about}") from error


def shown(path: bytes) -> str:
    """A path of an archive for a message: harmless on a terminal, and not endless."""
    text = path.decode("utf-8", "backslashreplace")
    text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return f"'{text if len(text) <= 200 else text[:200] + '…'}'"
