"""ed25519 keys for one run: made here, given to the instance by its user-data, forgotten at the end."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

ED25519 = "ssh-ed25519"


@dataclass(frozen=True)
class KeyPair:
    """Both halves in OpenSSH's text formats.

    ``public_openssh`` is one line without a comment, as ``authorized_keys``, ``known_hosts`` and EC2's
    ImportKeyPair take it. ``private_openssh`` is what ``ssh -i`` and sshd's HostKey take; it is not
    encrypted, and never shown by ``repr``.
    """

    private_openssh: str = field(repr=False)
    public_openssh: str


def generate() -> KeyPair:
    """A new ed25519 key pair, for a user or for a host."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return KeyPair(private_openssh=private.decode(), public_openssh=public.decode())


def key_blob(public_openssh: str) -> bytes:
    """The key itself out of a line ``ssh-ed25519 AAAA… [comment]``: what is compared when a host is pinned.

    Raises:
        ValueError: when the line is no ed25519 public key.
    """
    words = public_openssh.split()
    if len(words) < 2 or words[0] != ED25519:
        raise ValueError(f"not an {ED25519} public key: {public_openssh[:60]!r}")
    return base64.b64decode(words[1], validate=True)


def fingerprint(public_openssh: str) -> str:
    """``SHA256:…`` as ``ssh-keygen -l`` prints it.

    Raises:
        ValueError: when the line is no ed25519 public key.
    """
    return blob_fingerprint(key_blob(public_openssh))


def blob_fingerprint(blob: bytes) -> str:
    """``SHA256:…`` of a key's wire form, whatever its type."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
