"""Key pairs for SSH."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typing_extensions import Self

from lisa_container.atomic import create_once
from lisa_container.errors import ConfigError
from lisa_container.microvm.places import Places

_KEY = "id_ed25519"


@dataclass(frozen=True)
class KeyPair:
    """Ed25519 key pair in OpenSSH's formats.

    Attributes:
        private: private key, several lines.
        public: public key, one line: type and key.
    """

    private: str = field(repr=False)
    public: str

    @property
    def private_body(self) -> str:
        """Private key without its first and last line, in one line."""
        return "".join(self.private.split("\n")[1:-2])

    @classmethod
    def make(cls) -> Self:
        """Generate a key pair."""
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        return cls(private.decode(), public.decode())


def provide_key(places: Places) -> Path:
    """Return the file of a private key for VMs whose config names none; it is made once.

    Args:
        places: folders of the cache.
    """
    with create_once(places.key, lambda line: None) as temporary:
        if temporary:
            temporary.mkdir(mode=0o700)
            (temporary / _KEY).touch(mode=0o600)
            (temporary / _KEY).write_text(KeyPair.make().private, encoding="ascii")
    return places.key / _KEY


def public_key_of(file: Path) -> str:
    """Return the public key that belongs to a private key, in one line: type and key.

    Args:
        file: file of a private key, in OpenSSH's format or in PEM.

    Raises:
        ConfigError: the file cannot be read, or is no private key without a password.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"private key '{file}' cannot be read: {error.strerror}") from error
    is_openssh = b"BEGIN OPENSSH PRIVATE KEY" in content
    load = serialization.load_ssh_private_key if is_openssh else serialization.load_pem_private_key
    try:
        key = load(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"'{file}' is no private key that can be used: {error}; legal: a key without a"
            " password, in OpenSSH's format or in PEM"
        ) from error
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return public.decode()
