"""What the verifier knows of a policy is demanded by every command that reads one."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess

import click
import pytest
from commands import (
    POLICIES,
    assert_one_clear_error,
    environment,
    nobody_writing_to,
    run_process,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from git_host import GitHost

from sdi_gate.cli import main as command_line
from sdi_gate.cli.policy_options import TrustOptions, open_policy
from sdi_gate.policy.chain.signatures import fingerprint_of

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
TOKEN = "ghp_not_a_real_token"  # noqa: S105 a test's
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NO_DIGEST = f"sha256:{'0' * 64}"
ENVIRONMENT = "SDI_GATE_POLICY_PUBLIC_KEY"


@pytest.fixture(autouse=True)
def _nobody_s_environment(monkeypatch):
    for name in (ENVIRONMENT, "GITHUB_TOKEN", "GH_TOKEN", "GITHUB_API_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "house.yml"
    path.write_text(
        "apiVersion: sdi-gate/v1\nkind: Policy\nmetadata: {name: house, revision: 7}\n"
        "limits:\n  sdi: {fail: 0.5}\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key.pub"
    path.write_bytes(KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    return path


@pytest.fixture
def sign(run_here):
    """Sign a policy as its owner does: the line that the tool prints, into a file beside it."""

    def write(policy, key=KEY, to=None):
        line = run_here("policy", "digest", policy).out.encode()
        to = to or policy.with_name(f"{policy.name}.sig")
        to.write_bytes(base64.b64encode(key.sign(line)) + b"\n")
        return to

    return write


def test_the_line_to_sign_is_printed_alone_even_where_a_key_is_set(
    run_here, policy, monkeypatch, key
):
    monkeypatch.setenv(ENVIRONMENT, str(key))
    ended = run_here("policy", "digest", policy)
    digest = open_policy(policy, TrustOptions()).digest
    assert (ended.code, ended.out, ended.err) == (0, f"sdi-gate/v1 Policy {digest}\n", "")


def test_a_signed_policy_is_accepted_and_said_to_be_verified(run_here, policy, key, sign):
    sign(policy)
    ended = run_here("policy", "validate", policy, "--policy-public-key", key)
    assert (ended.code, ended.err) == (0, "")
    assert f"Signature: verified with {key}, key {fingerprint()}\n" in ended.out
    shown = run_here("policy", "validate", policy, "--policy-public-key", key, "--json").out
    (entry,) = json.loads(shown)["policies"]
    assert entry["policy"]["signature"] == "verified"
    assert entry["policy"]["signature_key"] == fingerprint()


def fingerprint():
    raw = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return f"sha256:{hashlib.sha256(raw).hexdigest()[:16]}"


def test_a_key_has_one_fingerprint_however_it_is_written():
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    ssh = KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    found = {fingerprint_of(pem), fingerprint_of(ssh + b" a comment\n")}
    assert found == {fingerprint()}
    other = OTHER_KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    assert fingerprint_of(other) not in found


def test_a_signature_that_nobody_asked_for_is_said_not_to_be_checked(run_here, policy, sign):
    assert "Signature" not in run_here("policy", "validate", policy).out
    sign(policy, OTHER_KEY)
    ended = run_here("policy", "validate", policy)
    assert ended.code == 0
    assert "Signature: not checked" in ended.out
    (entry,) = json.loads(run_here("policy", "validate", policy, "--json").out)["policies"]
    assert entry["policy"]["signature"] == "not-checked"
    assert entry["policy"]["signature_key"] is None


def test_the_signature_may_be_elsewhere(run_here, policy, key, sign, tmp_path):
    elsewhere = sign(policy, to=tmp_path / "elsewhere")
    given = ("--policy-public-key", key, "--policy-signature", elsewhere)
    assert run_here("policy", "validate", policy, *given).code == 0
    ended = run_here("policy", "validate", policy, "--policy-public-key", key)
    assert_one_clear_error(ended, 3, f"not at {policy}.sig (No such file or directory)")


def test_the_key_may_come_from_the_environment(run_here, policy, key, sign, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, str(key))
    assert run_here("policy", "validate", policy).code == 3
    sign(policy, OTHER_KEY)
    assert run_here("policy", "validate", policy).code == 3
    sign(policy)
    assert run_here("policy", "validate", policy).code == 0


def test_a_key_variable_that_is_empty_does_not_switch_the_check_off(
    run_here, policy, key, sign, monkeypatch
):
    monkeypatch.setenv(ENVIRONMENT, "")
    ended = run_here("policy", "validate", policy)
    assert_one_clear_error(ended, 2, f"{ENVIRONMENT} is set and empty")
    sign(policy)
    assert run_here("policy", "validate", policy, "--policy-public-key", key).code == 0


def test_a_signature_without_a_key_is_a_mistake(run_here, policy, sign):
    ended = run_here("policy", "validate", policy, "--policy-signature", sign(policy))
    assert_one_clear_error(ended, 2, "without a key to check it with", "--policy-public-key")


UNREADABLE = {"missing": None, "folder": "folder"}


@pytest.mark.parametrize("kind", UNREADABLE.values(), ids=UNREADABLE)
def test_a_key_that_cannot_be_read_closes_the_gate(kind, run_here, policy, tmp_path, sign):
    sign(policy)
    path = tmp_path / "key.pem"
    if kind:
        path.mkdir()
    ended = run_here("policy", "validate", policy, "--policy-public-key", path)
    assert_one_clear_error(ended, 3, f"{path}: the public key cannot be read")


PIPED = {
    "policy": ("policy", "validate", "PIPE"),
    "parent": ("policy", "validate", "CHILD"),
    "key": ("policy", "validate", "POLICY", "--policy-public-key", "PIPE"),
    "signature": (
        *("policy", "validate", "POLICY"),
        *("--policy-public-key", "KEY", "--policy-signature", "PIPE"),
    ),
    "policy test": ("policy", "test", "PIPE"),
    "recorded result": ("policy", "replay", "POLICY", "PIPE"),
    "result": ("report", "PIPE"),
}


@pytest.mark.parametrize("command", PIPED.values(), ids=PIPED)
def test_a_pipe_that_nobody_writes_to_is_refused_and_not_waited_for(
    command, run_here, policy, key, tmp_path
):
    pipe = tmp_path / "pipe.test.yml"
    child = tmp_path / "child.yml"
    child.write_text(policy.read_text().replace("limits:", f"extends: ./{pipe.name}\nlimits:"))
    files = {"PIPE": pipe, "POLICY": policy, "KEY": key, "CHILD": child}
    with nobody_writing_to(pipe):
        ended = run_here(*(files.get(word, word) for word in command))
    assert ended.code == (2 if command[1] == "replay" or command[0] == "report" else 3)
    assert "it is not a regular file" in ended.err


def test_a_changed_policy_is_refused_and_so_is_another_digest(run_here, policy, key, sign):
    sign(policy)
    digest = open_policy(policy, TrustOptions()).digest
    expected = ("--policy-public-key", key, "--expect-policy-digest", digest)
    assert run_here("policy", "validate", policy, *expected).code == 0
    policy.write_text(policy.read_text(encoding="utf-8").replace("0.5", "0.9"), encoding="utf-8")
    ended = run_here("policy", "validate", policy, *expected)
    assert_one_clear_error(
        ended, 3, f"digest: expected {digest}, got sha256:", "none by this key over this policy"
    )


NO_DIGESTS = {
    "empty": "",
    "bare": "0" * 64,
    "no-digits": "sha256:",
    "short": f"sha256:{'0' * 63}",
    "long": f"sha256:{'0' * 65}",
    "line-break": f"sha256:{'0' * 64}\n",
    "upper-case": f"sha256:{'A' * 64}",
    "another-function": f"sha512:{'0' * 64}",
}


@pytest.mark.parametrize("digest", NO_DIGESTS.values(), ids=NO_DIGESTS)
def test_a_digest_that_is_none_is_a_usage_error(digest, run_here, policy):
    ended = run_here("policy", "validate", policy, "--expect-policy-digest", digest)
    assert ended.code == 2
    assert "expected sha256: and 64 digits" in ended.err


def test_an_older_revision_and_none_are_refused(run_here, policy):
    minimum = ("policy", "validate", policy, "--minimum-policy-revision")
    assert run_here(*minimum, 7).code == 0
    assert_one_clear_error(run_here(*minimum, 8), 3, "revision: expected at least 8, got 7")
    assert run_here(*minimum, 0).code == 2
    text = policy.read_text(encoding="utf-8").replace(", revision: 7", "")
    policy.write_text(text, encoding="utf-8")
    assert_one_clear_error(run_here(*minimum, 1), 3, "the policy has none")


REFUSED = {
    "digest": ("--expect-policy-digest", NO_DIGEST),
    "revision": ("--minimum-policy-revision", "1000000"),
    "signature": ("--policy-public-key", "KEY"),
}


@pytest.mark.parametrize("options", REFUSED.values(), ids=REFUSED)
def test_no_scan_starts_under_a_policy_that_is_not_the_expected_one(
    options, check_here, models, key, tmp_path
):
    given = [str(key) if option == "KEY" else option for option in options]
    ended = check_here(models / "near", *given)
    assert_one_clear_error(ended, 3, "the policy is not the one that is expected")
    assert not (tmp_path / "out").exists()


TRUSTING = {"expect_policy_digest", "policy_public_key", "policy_signature"}


def commands(group, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), {parameter.name for parameter in command.params}


def test_every_command_that_judges_by_a_policy_has_the_options():
    having = {name for name, given in commands(command_line.cli) if given >= TRUSTING}
    judging = {"check", "policy validate", "policy explain", "policy diff", "policy replay"}
    assert having >= judging | {"policy test"}


# What it extends.


@pytest.fixture
def remote(policy, tmp_path):
    """A policy that extends one of a private repository."""
    child = tmp_path / "child.yml"
    child.write_text(
        "apiVersion: sdi-gate/v1\nkind: Policy\nmetadata: {name: child}\n"
        f"extends: owner/rules//house.yml@{COMMIT}\nlimits:\n  sdi: {{fail: 0.4}}\n",
        encoding="utf-8",
    )
    with GitHost() as host:
        host.token = TOKEN
        host.files["owner/rules", COMMIT, "house.yml"] = policy.read_bytes()
        yield child, host


@pytest.mark.parametrize(
    "tokens",
    [
        {"GITHUB_TOKEN": TOKEN},
        {"GH_TOKEN": TOKEN},
        {"GITHUB_TOKEN": "", "GH_TOKEN": TOKEN},
        {"GITHUB_TOKEN": TOKEN, "GH_TOKEN": "another"},
    ],
    ids=["github", "gh", "empty", "both"],
)
def test_the_token_of_the_environment_reads_a_private_repository(tokens, remote, tmp_path):
    child, host = remote
    env = environment(tmp_path, GITHUB_API_URL=host.url, **tokens)
    for name in {"GITHUB_TOKEN", "GH_TOKEN", ENVIRONMENT} - set(tokens):
        env.pop(name, None)
    ended = run_process("policy", "validate", child, env=env)
    assert (ended.code, ended.err) == (0, "")
    assert host.tokens == [f"Bearer {TOKEN}"]
    assert TOKEN not in ended.out


def test_a_policy_that_cannot_be_had_is_one_that_cannot_be_used(remote, run_here, monkeypatch):
    child, host = remote
    monkeypatch.setenv("GITHUB_API_URL", host.url)
    ended = run_here("policy", "validate", child)
    assert_one_clear_error(ended, 3, f"owner/rules//house.yml@{COMMIT}", "404", "contents: read")
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_another")
    ended = run_here("--verbose", "policy", "validate", child)
    assert_one_clear_error(ended, 3, "refused the token (401)")
    assert "ghp_another" not in ended.err


def test_the_signature_covers_what_is_fetched(remote, run_here, monkeypatch, key, sign):
    child, host = remote
    host.token = None
    monkeypatch.setenv("GITHUB_API_URL", host.url)
    sign(child)
    command = ("policy", "validate", child, "--policy-public-key", key)
    assert run_here(*command).code == 0
    name = ("owner/rules", COMMIT, "house.yml")
    host.files[name] = host.files[name].replace(b"revision: 7", b"revision: 6, version: old")
    host.files[name] += b"  coverage: {fail: 0.9}\n"
    assert_one_clear_error(run_here(*command), 3, "none by this key over this policy")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
def test_the_recipe_for_a_shell_signs_what_the_gate_verifies(policy, tmp_path):
    recipe = (
        "set -e; openssl genpkey -algorithm ed25519 -out key.pem 2>/dev/null;"
        " openssl pkey -in key.pem -pubout -out key.pub;"
        " openssl pkeyutl -sign -rawin -inkey key.pem -in line | openssl base64 -A"
        " > house.yml.sig"
    )
    env = environment(tmp_path)
    line = run_process("policy", "digest", policy, env=env).out
    (tmp_path / "line").write_text(line, encoding="utf-8")
    subprocess.run(["/bin/sh", "-c", recipe], check=True, cwd=tmp_path)  # noqa: S603 - ours
    key = ("--policy-public-key", tmp_path / "key.pub")
    ended = run_process("policy", "validate", policy, *key, env=env)
    assert (ended.code, ended.err) == (0, "")
    ended = run_process("policy", "validate", POLICIES / "default.yml", *key, env=env)
    assert ended.code == 3


def test_the_digest_that_is_expected_is_the_one_that_is_shown(run_here, policy):
    shown = json.loads(run_here("policy", "validate", policy, "--json").out)
    digest = shown["policies"][0]["policy"]["digest"]
    ended = run_here("policy", "validate", policy, "--expect-policy-digest", digest)
    assert (ended.code, ended.err) == (0, "")
    assert digest in ended.out
