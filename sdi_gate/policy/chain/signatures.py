"""Check detached Ed25519 signatures of one line with a public key that the verifier brings.

Nothing here looks into the signature file for what is to be checked: neither whether a signature
is needed, nor by which key, nor over what. A file that could say so could be stripped of it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key, load_ssh_public_key

MAX_SIGNATURES = 8
MAX_SIGNATURE_BYTES = 4_096
MAX_KEY_BYTES = 16_384

_SIGNATURE_BYTES = 64
_FINGERPRINT_DIGITS = 16
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_SSH = b"ssh-ed25519"
_SSH_KIND = re.compile(rb"(ssh|sk-ssh|ecdsa|sk-ecdsa)-[a-z0-9@.-]{1,60}")
_EXPECTED_KEY = (
    "expected one Ed25519 public key: a PEM file that starts with -----BEGIN PUBLIC KEY-----, or"
    " one line that starts with ssh-ed25519"
)


class SignatureError(Exception):
    """Say in one clause why a signature or a key is refused; never holds what they contain."""


def verify(line: bytes, signatures: bytes, public_key: bytes) -> None:
    """Demand that one of some signatures of a line is by a key.

    Args:
        line: What must have been signed.
        signatures: Content of a signature file: one to eight lines, each the base64 of one
            signature. More than one lets a key be replaced without a day on which nobody agrees.
        public_key: Content of a key file: PEM SubjectPublicKeyInfo or one OpenSSH line.

    Raises:
        SignatureError: If the key is no Ed25519 public key, the file is damaged in any line, or no
            signature in it is by the key.
    """
    key = read_public_key(public_key)
    found = read_signatures(signatures)
    if not any(_is_by(key, signature, line) for signature in found):
        msg = f"{_counted(len(found))}, none by this key over this policy"
        raise SignatureError(msg)


def read_public_key(content: bytes) -> Ed25519PublicKey:
    """Read a public key.

    Args:
        content: Content of the file.

    Returns:
        The key.

    Raises:
        SignatureError: If the content is anything else; another kind of key is named.
    """
    if len(content) > MAX_KEY_BYTES:
        msg = f"the file is larger than {MAX_KEY_BYTES:,} bytes; {_EXPECTED_KEY}"
        raise SignatureError(msg)
    labels = _PEM.findall(content)
    try:
        key = _read_pem(content, labels) if labels else _read_ssh(content)
    except (ValueError, UnsupportedAlgorithm) as exc:
        msg = f"the key is damaged or of a kind that is not known; {_EXPECTED_KEY}"
        raise SignatureError(msg) from exc
    if not isinstance(key, Ed25519PublicKey):
        kind = type(key).__name__.removesuffix("PublicKey")
        msg = f"the file holds a public key of the kind {kind}; {_EXPECTED_KEY}"
        raise SignatureError(msg)
    return key


def fingerprint_of(public_key: bytes) -> str:
    """Return what a report calls a key: the same for each form in which the key is written.

    Args:
        public_key: Content of a key file.

    Returns:
        ``sha256:`` and the first 16 hex digits of the digest of the key's 32 raw bytes.

    Raises:
        SignatureError: If the content is no Ed25519 public key.
    """  # noqa: DOC502 - raised by the reader
    raw = read_public_key(public_key).public_bytes_raw()
    return f"sha256:{hashlib.sha256(raw).hexdigest()[:_FINGERPRINT_DIGITS]}"


def read_signatures(content: bytes) -> tuple[bytes, ...]:
    """Read a signature file.

    Args:
        content: Content of the file.

    Returns:
        One to eight signatures of 64 bytes.

    Raises:
        SignatureError: If there is none, there are too many, or a line is anything but base64 of
            64 bytes in its one canonical form.
    """
    if len(content) > MAX_SIGNATURE_BYTES:
        msg = f"the file is larger than {MAX_SIGNATURE_BYTES:,} bytes"
        raise SignatureError(msg)
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    if not lines:
        msg = "the file holds no signature"
        raise SignatureError(msg)
    if len(lines) > MAX_SIGNATURES:
        msg = f"the file holds {len(lines)} lines; at most {MAX_SIGNATURES} are looked at"
        raise SignatureError(msg)
    return tuple(_decoded(line, number) for number, line in enumerate(lines, start=1))


def _read_pem(content: bytes, labels: list[bytes]) -> object:
    if any(b"PRIVATE" in label for label in labels):
        msg = "the file holds a private key, which is no business of a verifier; openssl pkey"
        msg += " -in FILE -pubout writes the public key that belongs to it"
        raise SignatureError(msg)
    if labels != [b"PUBLIC KEY"]:
        shown = ", ".join(label.decode() for label in labels[:3])
        msg = f"the file holds {shown}; {_EXPECTED_KEY}"
        raise SignatureError(msg)
    return load_pem_public_key(content)


def _read_ssh(content: bytes) -> object:
    lines = [line for line in content.splitlines() if line.strip()]
    words = lines[0].split() if len(lines) == 1 else []
    # A certificate starts with another word; the library would take the key out of it unchecked.
    if len(words) < 2 or words[0] != _SSH:
        kind = words[0].decode() if words and _SSH_KIND.fullmatch(words[0]) else ""
        got = f"the file holds an OpenSSH key of the kind {kind}" if kind else "this is no key"
        msg = f"{got}; {_EXPECTED_KEY}"
        raise SignatureError(msg)
    return load_ssh_public_key(b" ".join(words[:2]))


def _decoded(line: bytes, number: int) -> bytes:
    try:
        signature = base64.b64decode(line, validate=True)
    except binascii.Error:
        signature = b""
    # Base64 has spare bits: one signature shall have one form.
    if len(signature) != _SIGNATURE_BYTES or base64.b64encode(signature) != line:
        msg = (
            f"line {number} is not the base64 of a signature of {_SIGNATURE_BYTES} bytes, which"
            " has 88 characters on one line (openssl base64 -A, or base64 -w 0, writes it so)"
        )
        raise SignatureError(msg)
    return signature


def _is_by(key: Ed25519PublicKey, signature: bytes, line: bytes) -> bool:
    try:
        key.verify(signature, line)
    except InvalidSignature:
        return False
    return True


def _counted(count: int) -> str:
    return "the file holds 1 signature" if count == 1 else f"the file holds {count} signatures"
