"""Errors about virtual machines on this machine."""

from __future__ import annotations

from lisa_container.errors.base import ContainerError


class VmError(ContainerError):
    """A virtual machine could not be made, used or removed."""


class VmMachineError(VmError):
    """This machine cannot have virtual machines as it is; the message names the remedy."""


class VmImageError(VmError):
    """The image of a virtual machine could not be made, or is not there."""


class VmKernelError(VmError):
    """A kernel cannot boot the image.

    Args:
        kernel: path of the kernel.
        missing: options that it lacks, and what each is for.
    """

    def __init__(self, kernel: str, missing: dict[str, str]) -> None:
        """Build the message."""
        self.missing = missing
        listed = "".join(f"\n- {option}: {purpose}" for option, purpose in missing.items())
        super().__init__(
            f"kernel '{kernel}' cannot boot a virtual machine. Options that its config lacks:"
            f"{listed}\nBuild it with these options set to 'y', or to 'm' and give the folder of"
            " its modules ('modules')."
        )


class VmBootError(VmError):
    """A virtual machine did not become ready.

    The subclasses tell the causes apart.

    Args:
        name: name of the virtual machine.
        reason: what happened.
        progress: how far the boot came.
        console: end of the console's output.
    """

    def __init__(self, name: str, reason: str, progress: str, console: str) -> None:
        """Build the message."""
        super().__init__(
            f"VM '{name}' {reason}. {progress}. The end of its console:\n{console or '(no output)'}"
        )


class VmTimeoutError(VmBootError, TimeoutError):
    """A virtual machine was not ready in time."""


class VmPanicError(VmBootError):
    """The kernel of a virtual machine panicked."""


class VmDiskFullError(VmBootError):
    """The disk of a virtual machine is full."""


class VmDiedError(VmBootError):
    """The QEMU of a virtual machine ended."""


class VmTemplateError(VmError):
    """A template could not be restored: its files are damaged or belong to another QEMU."""


class VmFrozenError(VmError):
    """A frozen virtual machine is not there, is damaged, or cannot go on on this machine."""


class VmSpaceError(VmError):
    """A virtual machine was not frozen, because there is no room for its memory and disk."""
