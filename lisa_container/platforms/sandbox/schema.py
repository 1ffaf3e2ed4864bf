"""Runbook schema of the platform `type: sandbox`.

This module has no postponed annotations, because dataclasses-json needs the types themselves.
"""

from dataclasses import dataclass, field
from typing import Union

from dataclasses_json import dataclass_json

LOGIN_USER = "user"
LOGIN_PASSWORD_USER = "password_user"
LOGIN_ROOT = "root"
LOGINS = (LOGIN_USER, LOGIN_PASSWORD_USER, LOGIN_ROOT)


@dataclass_json()
@dataclass
class SandboxPlatformSchema:
    """Fields below `sandbox:` of a platform with `type: sandbox`.

    The user's name is the platform's `admin_username`. `SandboxConfig` explains the other fields.

    Attributes:
        login: user that LISA logs in as: "user" (key, sudo without a password), "password_user"
            (password, also for sudo), or "root" (key).
    """

    rootfs: str = ""
    suite: str = ""
    mirror: str = ""
    packages: list[str] = field(default_factory=list)
    docker: Union[str, bool] = "running"
    docker_group: bool = False
    password_user: str = "asker"
    login: str = LOGIN_USER
    name: str = "node"
    cache_dir: str = ""
    ready_seconds: float = 30
