"""Package managers by their names in `Tool.via`."""

from __future__ import annotations

from lisa_container.install.managers.apk import Apk
from lisa_container.install.managers.apt import Apt
from lisa_container.install.managers.base import Manager, Package
from lisa_container.install.managers.cargo import Cargo
from lisa_container.install.managers.dnf import Dnf, Microdnf, Tdnf, Yum
from lisa_container.install.managers.gem import Gem
from lisa_container.install.managers.go import Go
from lisa_container.install.managers.npm import Npm
from lisa_container.install.managers.pacman import Pacman
from lisa_container.install.managers.pip import Pip
from lisa_container.install.managers.pipx import Pipx
from lisa_container.install.managers.release import Release
from lisa_container.install.managers.zypper import Zypper

_KINDS: tuple[type[Manager], ...] = (
    Apt,
    Dnf,
    Tdnf,
    Microdnf,
    Yum,
    Apk,
    Zypper,
    Pacman,
    Pip,
    Pipx,
    Npm,
    Cargo,
    Gem,
    Go,
    Release,
)

MANAGERS: dict[str, Manager] = {kind.name: kind() for kind in _KINDS}
"""All managers. The order of the distributions' managers is the order in which they are looked for:
dnf comes before yum, which is often only an old name of it."""

__all__ = ["MANAGERS", "Manager", "Package"]
