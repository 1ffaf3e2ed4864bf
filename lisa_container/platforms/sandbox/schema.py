"""What a runbook may say about the platform `type: sandbox`.

In a module of its own without postponed annotations: dataclasses-json needs the types themselves.
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
    """What stands under `platform: - type: sandbox`, `sandbox:`.

    The user's name is the platform's own `admin_username`; the rest is as in `SandboxConfig`.

    Attributes:
        login: as whom LISA logs in: "user" (by key, sudo without a password), "password_user" (by
            password, for which sudo asks too), or "root" (by key).
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
