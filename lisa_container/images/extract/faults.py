"""Faults of an archive, raised where the archive's name is not known.

`faults_of` turns them into errors of the package that name the archive.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lisa_container.archives.tar import Fault, quote
from lisa_container.errors import (
    ArchiveLimitError,
    ExtractDeniedError,
    ImageArchiveError,
    UnsafeArchiveError,
)

__all__ = ["Denied", "Fault", "TooMuch", "Unsafe", "faults_of", "quote"]


class Unsafe(Fault):
    """An entry leads outside of the root file system."""

    error = UnsafeArchiveError


class TooMuch(Fault):
    """The archive unpacks to more than the limits allow."""

    error = ArchiveLimitError


class Denied(Fault):
    """This user or this file system cannot make an entry."""

    error = ExtractDeniedError


@contextlib.contextmanager
def faults_of(archive: str) -> Iterator[None]:
    """Turn faults within a `with` block into errors of the package.

    Args:
        archive: path of the archive, for messages.

    Raises:
        ImageArchiveError: or a subclass, by the kind of the fault.
    """
    try:
        yield
    except Fault as fault:
        raise fault.error(archive, str(fault)) from fault
    except OSError as error:
        about = f" ('{error.filename}')" if error.filename else ""
        raise ImageArchiveError(archive, f"{error.strerror or error}{about}") from error
