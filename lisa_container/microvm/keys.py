"""Key pairs for SSH."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typing_extensions import Self


@dataclass(frozen=True)
class KeyPair:
    """Ed25519 key pair in OpenSSH's formats.

    Attributes:
        private: private key, several lines.
        public: public key, one line: type and key.
    """

    private: str = field(repr=False)
    public: str

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
