"""A policy is held to its digest, its revision and its signature, and every doubt closes."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.errors import ExitCode, PolicyError
from sdi_gate.policy.chain.signatures import (
    MAX_KEY_BYTES,
    SignatureError,
    read_public_key,
    read_signatures,
    verify,
)
from sdi_gate.policy.chain.trust import Expectations, check_trust, signed_line
from sdi_gate.policy.loader import load_policy, parse_policy

if TYPE_CHECKING:
    from sdi_gate.policy.loader import LoadedPolicy

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
HEAD = "apiVersion: sdi-gate/v1\nkind: Policy\n"
TEXT = HEAD + "metadata: {name: house, revision: 7}\nlimits:\n  sdi: {fail: 0.5}\n"


def pem(key: object = KEY) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def ssh(key: object = KEY) -> bytes:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)


def policy(text: str = TEXT) -> LoadedPolicy:
    return parse_policy(text.encode(), path="house.yml")


def signature(loaded: LoadedPolicy, key: Ed25519PrivateKey = KEY) -> bytes:
    return base64.b64encode(key.sign(signed_line(loaded.digest))) + b"\n"


def check(
    loaded: LoadedPolicy, signatures: bytes | None, key: bytes | None = None, **more: object
) -> None:
    check_trust(loaded, Expectations(public_key=key or pem(), signature=signatures, **more))


# The line and the signature.


def test_the_signed_line_is_this_one_line():
    assert signed_line("sha256:" + "0" * 64) == b"sdi-gate/v1 Policy sha256:" + b"0" * 64 + b"\n"


def test_the_third_vector_of_rfc_8032_is_verified():
    public = bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
    signed = bytes.fromhex(
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    )
    # The DER of a SubjectPublicKeyInfo of Ed25519, RFC 8410, is this prefix and the key.
    der = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + public)
    key = b"-----BEGIN PUBLIC KEY-----\n" + der + b"\n-----END PUBLIC KEY-----\n"
    verify(b"\xaf\x82", base64.b64encode(signed), key)
    with pytest.raises(SignatureError, match="none by this key"):
        verify(b"\xaf\x83", base64.b64encode(signed), key)


KEYS = {
    "pem": pem(),
    "pem-after-a-remark": b"The key of the model office\n" + pem(),
    "pem-of-windows": pem().replace(b"\n", b"\r\n"),
    "ssh": ssh(),
    "ssh-with-a-remark": ssh() + b" model-office\n",
    "ssh-after-an-empty-line": b"\n" + ssh(),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_signature_by_the_key_is_enough(key):
    loaded = policy()
    check(loaded, signature(loaded), key)


def test_one_of_eight_signatures_is_enough_and_of_nine_none_is_looked_at():
    loaded = policy()
    foreign = signature(loaded, OTHER_KEY)
    check(loaded, foreign * 7 + signature(loaded))
    with pytest.raises(PolicyError, match="holds 9 lines; at most 8"):
        check(loaded, foreign * 8 + signature(loaded))


def test_without_a_key_a_signature_is_not_looked_at():
    check_trust(policy(), Expectations(signature=b"nonsense"))
    check_trust(policy(), Expectations())


def test_a_stripped_signature_is_refused_as_opa_ghsa_g2pf_6v5v_qcc8_was_not():
    # There, a bundle without signatures passed, since the bundle said whether they were needed.
    loaded = policy()
    for stripped in (None, b"", b"\n", b" \r\n\n"):
        with pytest.raises(PolicyError, match="signature") as caught:
            check(loaded, stripped)
        assert caught.value.exit_code is ExitCode.POLICY


LOADED = policy()
GOOD = signature(LOADED)
FOREIGN = {
    "over-another-policy": signature(policy(TEXT.replace("0.5", "0.6"))),
    "by-another-key": signature(LOADED, OTHER_KEY),
    "over-another-revision": signature(policy(TEXT.replace("7", "6"))),
    "over-the-file": base64.b64encode(KEY.sign(TEXT.encode())),
    "over-the-digest-alone": base64.b64encode(KEY.sign(LOADED.digest.encode())),
    "over-the-line-without-its-end": base64.b64encode(
        KEY.sign(signed_line(LOADED.digest).rstrip(b"\n"))
    ),
    "all-zero": base64.b64encode(bytes(64)),
}
DAMAGED = {
    "garbage": b"!!! not base64 !!!\n",
    "binary": base64.b64decode(GOOD),
    "truncated": GOOD[:-6] + b"\n",
    "half": base64.b64encode(base64.b64decode(GOOD)[:32]),
    "bytes-after-it": base64.b64encode(base64.b64decode(GOOD) + b"\0"),
    "text-after-it": GOOD.strip() + b" 2026\n",
    "broken-into-two-lines": GOOD[:76] + b"\n" + GOOD[76:],
    "spare-bits": GOOD.strip()[:-3] + bytes([GOOD.strip()[-3] + 1]) + b"==\n",
    "garbage-after-a-good-line": GOOD + b"garbage\n",
    "a-comment-before-it": b"# signed\n" + GOOD,
    "byte-order-mark": b"\xef\xbb\xbf" + GOOD,
    "too-large": GOOD + b"\n" * 5000,
}


@pytest.mark.parametrize("signatures", FOREIGN.values(), ids=FOREIGN)
def test_a_signature_of_something_else_closes_the_gate(signatures):
    with pytest.raises(PolicyError, match="1 signature, none by this key over this policy"):
        check(LOADED, signatures)


@pytest.mark.parametrize("signatures", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_signature_file_closes_the_gate(signatures):
    with pytest.raises(PolicyError, match=r"is not the base64|holds no signature|is larger than"):
        check(LOADED, signatures)


@given(place=st.integers(0, 63), bit=st.integers(0, 7))
def test_no_bit_of_a_signature_can_change(place, bit):
    changed = bytearray(base64.b64decode(GOOD))
    changed[place] ^= 1 << bit
    with pytest.raises(PolicyError, match="none by this key"):
        check(LOADED, base64.b64encode(bytes(changed)))


@given(content=st.binary(max_size=300))
def test_no_bytes_make_the_readers_fail_in_another_way(content):
    for read in (read_signatures, read_public_key):
        with pytest.raises(SignatureError):
            read(content)


@given(st.data())
def test_no_damaged_key_file_makes_the_reader_fail_in_another_way(data):
    whole = bytearray(data.draw(st.sampled_from([pem(), ssh()])))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    try:
        read_public_key(bytes(whole))
    except SignatureError as exc:
        assert "expected one Ed25519 public key" in str(exc)  # noqa: PT017 - it may be good, too


# The key.

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NO_KEYS = {
    "rsa": (pem(RSA), "kind RSA"),
    "rsa-ssh": (ssh(RSA), "kind ssh-rsa"),
    "ec": (pem(ec.generate_private_key(ec.SECP256R1())), "kind EC;"),
    "ec-ssh": (ssh(ec.generate_private_key(ec.SECP256R1())), "kind ecdsa-sha2-nistp256"),
    "ed448": (pem(ed448.Ed448PrivateKey.generate()), "kind Ed448"),
    "x25519": (pem(x25519.X25519PrivateKey.generate()), "kind X25519"),
    "dsa": (pem(dsa.generate_private_key(2048)), "kind DSA"),
    "security-key": (ssh().replace(b"ssh-ed25519", b"sk-ssh-ed25519@openssh.com"), "kind sk-ssh"),
    "certificate": (
        ssh().replace(b"ssh-ed25519", b"ssh-ed25519-cert-v01@openssh.com"),
        "kind ssh-ed25519-cert",
    ),
    "pkcs1": (
        RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        "holds RSA PUBLIC KEY",
    ),
    "two-pem": (pem() + pem(OTHER_KEY), "holds PUBLIC KEY, PUBLIC KEY"),
    "two-ssh": (ssh() + b"\n" + ssh(OTHER_KEY), "no key"),
    "options": (b'from="10.0.0.1" ' + ssh(), "no key"),
    "one-word": (b"ssh-ed25519", "kind ssh-ed25519"),
    "empty": (b"", "no key"),
    "der": (
        KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "no key",
    ),
    "raw": (KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw), "no key"),
    "cut": (pem()[:60] + pem()[-25:], "damaged"),
    "cut-ssh": (ssh()[:40], "damaged"),
    "too-large": (pem() + b"\n" * MAX_KEY_BYTES, "larger than 16,384 bytes"),
    "yaml": (TEXT.encode(), "no key"),
}


@pytest.mark.parametrize(("key", "words"), NO_KEYS.values(), ids=NO_KEYS)
def test_only_an_ed25519_public_key_is_a_key(key, words):
    with pytest.raises(SignatureError, match=words) as caught:
        read_public_key(key)
    assert "expected one Ed25519 public key" in str(caught.value)


PRIVATE = {
    "pkcs8": (PrivateFormat.PKCS8, NoEncryption()),
    "openssh": (PrivateFormat.OpenSSH, NoEncryption()),
    "encrypted": (PrivateFormat.PKCS8, BestAvailableEncryption(b"x")),
}


@pytest.mark.parametrize(("form", "encryption"), PRIVATE.values(), ids=PRIVATE)
def test_a_private_key_given_by_mistake_is_refused_and_not_shown(form, encryption):
    content = KEY.private_bytes(Encoding.PEM, form, encryption)
    for given_key in (content, pem() + content, content + pem()):
        with pytest.raises(PolicyError, match="holds a private key") as caught:
            check(LOADED, GOOD, given_key)
        shown = f"{caught.value}{caught.value.hint}"
        secret = [line for line in content.decode().splitlines() if not line.startswith("-")]
        assert not any(line in shown for line in secret)


def test_a_bad_key_is_told_even_where_the_signature_is_missing():
    with pytest.raises(PolicyError, match=r"public key k\.pem: .*kind RSA"):
        check(LOADED, None, pem(RSA), public_key_file="k.pem")


# Digest and revision.


def test_the_expected_digest_is_demanded():
    check_trust(LOADED, Expectations(digest=LOADED.digest))
    other = f"sha256:{'0' * 64}"
    with pytest.raises(PolicyError, match=f"expected {other}, got {LOADED.digest}") as caught:
        check_trust(LOADED, Expectations(digest=other))
    assert caught.value.hint.startswith("the policy, or a file that it extends, was changed")
    assert "signature" not in caught.value.hint


@pytest.mark.parametrize("minimum", [1, 6, 7])
def test_a_revision_that_is_high_enough_is_accepted(minimum):
    check_trust(LOADED, Expectations(minimum_revision=minimum))


@pytest.mark.parametrize(
    ("text", "words"),
    [(TEXT, "at least 8, got 7"), (TEXT.replace(", revision: 7", ""), "the policy has none")],
    ids=["older", "none"],
)
def test_a_revision_that_is_too_low_or_not_there_is_refused(text, words):
    with pytest.raises(PolicyError, match=words) as caught:
        check_trust(policy(text), Expectations(minimum_revision=8))
    assert caught.value.hint == (
        "this may be an old policy that was put back; get the latest one from its owner"
    )


def test_all_that_differs_is_told_at_once():
    expected = Expectations(
        digest=f"sha256:{'0' * 64}",
        minimum_revision=8,
        public_key=pem(),
        signature_file="house.yml.sig (No such file or directory)",
    )
    with pytest.raises(PolicyError, match="not the one that is expected") as caught:
        check_trust(LOADED, expected)
    lines = caught.value.message.splitlines()
    assert [line.split(": ")[1] for line in lines[1:]] == ["digest", "revision", "signature"]
    assert lines[3].endswith("not at house.yml.sig (No such file or directory)")
    hints = ("was changed", "was put back", "--policy-signature names it")
    places = [caught.value.hint.index(hint) for hint in hints]
    assert places == sorted(places)


UNSIGNED = {
    "missing": (None, pem(), "get the signature file from the policy's owner"),
    "damaged": (b"nonsense", pem(), "over the line that sdi-gate policy digest FILE prints"),
    "by another": (GOOD, pem(OTHER_KEY), "over the line that sdi-gate policy digest FILE prints"),
    "no key": (GOOD, b"nonsense", "give the public key of the policy's owner"),
}


@pytest.mark.parametrize(("signature", "key", "words"), UNSIGNED.values(), ids=UNSIGNED)
def test_the_hint_says_what_to_do_about_a_signature(signature, key, words):
    with pytest.raises(PolicyError, match="not the one that is expected") as caught:
        check(LOADED, signature, key)
    assert words in caught.value.hint


# What the signature covers.


@pytest.fixture
def chain(tmp_path):
    (tmp_path / "parent.yml").write_text(
        HEAD + "metadata: {name: parent}\nlimits:\n  sdi: {fail: 0.5}\n  coverage: {fail: 0.9}\n",
        encoding="utf-8",
    )
    child = tmp_path / "child.yml"
    child.write_text(
        HEAD + "metadata: {name: child}\nextends: ./parent.yml\nlimits:\n  sdi: {fail: 0.4}\n",
        encoding="utf-8",
    )
    return child


def test_a_signature_covers_what_is_extended(chain):
    loaded = load_policy(chain)
    signatures = signature(loaded)
    check(load_policy(chain), signatures)
    parent = chain.with_name("parent.yml")
    parent.write_text(parent.read_text(encoding="utf-8").replace("0.9", "0.8"), encoding="utf-8")
    with pytest.raises(PolicyError, match="none by this key over this policy"):
        check(load_policy(chain), signatures)


def test_comments_and_order_change_no_signature(chain):
    signatures = signature(load_policy(chain))
    text = chain.read_text(encoding="utf-8")
    chain.write_text(f"# A comment\n{text}\n", encoding="utf-8")
    check(load_policy(chain), signatures)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
def test_what_openssl_signs_is_verified(tmp_path):
    def openssl(*arguments: str) -> bytes:
        command = ["openssl", *arguments]
        done = subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)  # noqa: S603
        return done.stdout

    (tmp_path / "line").write_bytes(signed_line(LOADED.digest))
    openssl("genpkey", "-algorithm", "ed25519", "-out", "key.pem")
    public = openssl("pkey", "-in", "key.pem", "-pubout")
    openssl("pkeyutl", "-sign", "-rawin", "-inkey", "key.pem", "-in", "line", "-out", "raw")
    signatures = openssl("base64", "-A", "-in", "raw")
    check(LOADED, signatures, public)
    with pytest.raises(PolicyError, match="none by this key"):
        check(LOADED, signatures, pem())
    with pytest.raises(PolicyError, match="openssl base64 -A"):
        check(LOADED, openssl("base64", "-in", "raw"), public)


def test_nothing_of_the_library_is_loaded_where_nothing_is_signed():
    code = (
        "import sys; from sdi_gate.policy.loader import load_policy;"
        "from sdi_gate.policy.chain.trust import Expectations, check_trust;"
        "check_trust(load_policy('policies/default.yml'), Expectations());"
        "sys.exit('cryptography' in sys.modules)"
    )
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        [sys.executable, "-c", code],
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0
