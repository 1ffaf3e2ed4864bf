"""`lisa_container/root`: the node's own root as an image."""

from __future__ import annotations

import pytest
from lisa.node import Node

from lisa_container import ContainerExecutor, ContainerTestConfig
from lisa_container.engine.labels import LEASE_LABEL
from lisa_container.engine.lease.lease import Lease
from lisa_container.platforms.sandbox import SandboxNode

pytestmark = pytest.mark.own_node

IMAGE = "lisa_container/root"
# One of each kind at least; tests/attack/test_secrets.py has those that a pattern finds by content.
SECRETS = (
    *("/root/.secret", "/home/someone/.key", "/etc/ssh/ssh_host_test_key", "/etc/shadow.old"),
    *("/var/backups/shadow.bak", "/var/backups/gshadow.bak", "/etc/passwd-", "/etc/gshadow-"),
    *("/etc/security/opasswd", "/srv/copy/shadow.bak", "/opt/copy/passwd.old"),
    *("/etc/ssl/private/test.key", "/etc/pki/tls/private/test.key", "/etc/pki/CA/private/ca.key"),
    *("/etc/letsencrypt/live/x/privkey.pem", "/etc/wpa_supplicant/wpa_supplicant.conf"),
    *("/etc/NetworkManager/system-connections/home.nmconnection", "/etc/wireguard/wg0.conf"),
    *("/etc/kubernetes/pki/ca.key", "/etc/kubernetes/admin.conf", "/etc/docker/key.json"),
    *("/var/lib/service/.docker/config.json", "/var/lib/cloud/instance/user-data.txt"),
    *(f"/srv/person/{name}" for name in (".aws/credentials", ".azure/token", ".kube/config")),
    *(f"/srv/person/{name}" for name in (".netrc", ".pgpass", ".git-credentials", ".npmrc")),
    *(f"/srv/person/{name}" for name in (".pypirc", ".bash_history", ".ssh/id_rsa", ".my.cnf")),
    *("/etc/credstore/x.cred", "/var/lib/systemd/credential.secret", "/etc/krb5.keytab"),
    *("/srv/http.keytab", "/var/lib/waagent/Certificates.p7m", "/var/lib/waagent/x.prv"),
    *("/etc/apt/auth.conf.d/x.conf", "/var/swapfile", "/var/lib/sss/secrets/secrets.ldb"),
)
# Names that look like a secret's, and are none.
ORDINARY = (
    *("/usr/share/doc/shadow/README", "/etc/keyboard", "/usr/share/history/history", "/etc/npm.md"),
    *("/opt/tool/passwd", "/etc/ssl/certs/test.pem", "/var/lib/service/swapping", "/usr/lib/.m2x"),
)


def test_root(node: Node, machine: SandboxNode) -> None:
    """An image of the node's root can be worked in, has no secrets, and goes with the run."""
    for path in (*SECRETS, *ORDINARY):
        machine.run(f"[ -e {path} ] || {{ mkdir -p $(dirname {path}) && echo hidden >{path}; }}")
    machine.run("cp /bin/true /usr/local/bin/mine && setcap cap_net_raw+ep /usr/local/bin/mine")
    with ContainerExecutor(node, ContainerTestConfig(image=IMAGE)) as container:
        assert container.run("dpkg --status dpkg | head -1").stdout == "Package: dpkg"
        assert "cap_net_raw" in container.run("getcap /usr/local/bin/mine").stdout
        assert container.run("ls -d /proc/1 /tmp /root /home").exit_code == 0
        words = ["sh", "-c", 'for x; do [ ! -e "$x" ] || echo "$x"; done', "sh"]
        assert container.run([*words, *SECRETS, "/etc/shadow"]).stdout == ""
        assert container.run([*words, *ORDINARY]).stdout.split() == list(ORDINARY)
        container.run("rm -rf /usr/local/bin/mine /etc/apt", expected_exit_code=0)
        image = container.engine.api.inspect_image(IMAGE)
        labels = Lease.of(container.engine).labels()
        assert image["Config"]["Labels"][LEASE_LABEL] == labels[LEASE_LABEL]
        container.engine.api.remove_image(IMAGE, force=True)
    assert machine.run("ls -d /usr/local/bin/mine /etc/apt").returncode == 0
    assert machine.run("ls /var/tmp | grep lisa_container.[0-9a-f]", check=False).stdout == ""
