"""SSH connection to a virtual machine."""

from __future__ import annotations

import base64
import socket

import paramiko

from lisa_container.engine.ssh import tune_tcp
from lisa_container.errors import SshLostError
from lisa_container.microvm.vm import MicroVm

# Seconds for each step of a login; without KVM a busy machine may need several.
_STEP_SECONDS = 60.0


def log_in(machine: MicroVm) -> paramiko.Transport:
    """Log in, and check that the VM has the host key that it was given.

    Args:
        machine: The running VM.

    Raises:
        SshLostError: The VM's sshd does not answer, has another key or refuses the login.
    """
    try:
        stream = socket.create_connection((machine.address, machine.port), _STEP_SECONDS)
        transport = paramiko.Transport(stream)
        transport.banner_timeout = transport.auth_timeout = _STEP_SECONDS
        transport.handshake_timeout = _STEP_SECONDS
        tune_tcp(transport)
        kind, encoded = machine.host_key.split()
        host_key = paramiko.Ed25519Key(data=base64.b64decode(encoded))
        key = paramiko.PKey.from_path(machine.private_key)
        try:
            transport.get_security_options().key_types = (kind,)
            transport.connect(host_key, machine.login_user, pkey=key)
        except BaseException:
            transport.close()
            raise
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise SshLostError(f"VM '{machine.name}'", error) from error
    return transport
