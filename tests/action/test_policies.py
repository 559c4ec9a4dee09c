"""The policy of a run is that of the base side, at a commit, and never one of a checkout."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from github_runs import BASE_PATH, FILES, PARENT, PATH, POLICY, REPO, Rig
from github_server import JOB_TOKEN, Account, GitHubServer, refused
from hub_server import HubServer
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from sdi_gate.action.inputs import ActionInputs
from sdi_gate.action.policies import key_of, locate_policy, open_policy
from sdi_gate.action.policy_access import PolicyAccess
from sdi_gate.errors import ExitCode, PolicyError, UsageError
from sdi_gate.integrations.github.client import GitHub
from sdi_gate.integrations.runner.event import Event, Kind
from sdi_gate.policy.chain.references import parse_reference
from sdi_gate.policy.chain.trust import signed_line
from sdi_gate.policy.loader import load_policy_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sdi_gate.policy.loader import LoadedPolicy

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
LOOSE = POLICY.replace("fail: 0.4", "fail: 0.45")
OTHERS = "others/rules"
POLICY_TOKEN = "ghp_for_policies"  # noqa: S105 - of no account anywhere
HUB_TOKEN = "hf_for_policies"  # noqa: S105 - of no account anywhere


def text_of(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def signature(digest: str, key: Ed25519PrivateKey = KEY) -> bytes:
    return base64.b64encode(key.sign(signed_line(digest))) + b"\n"


@pytest.fixture
def rig() -> Iterator[Rig]:
    with GitHubServer() as server:
        yield Rig(server).commits({}, {PATH: LOOSE.encode()})


def refusal(rig: Rig) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        rig.open()
    assert caught.value.exit_code is ExitCode.POLICY
    assert JOB_TOKEN not in f"{caught.value.message} {caught.value.hint}"
    return caught.value


# Where the policy is.


def test_a_path_is_that_of_the_base_side_and_not_of_the_pull_request(rig: Rig):
    loaded = rig.open()
    assert loaded.path == f"{REPO}//{PATH}@{rig.base}"
    assert [level.file for level in loaded.levels] == [
        f"{REPO}//{BASE_PATH}@{rig.base}",
        f"{REPO}//{PATH}@{rig.base}",
    ]
    assert loaded.policy.limits.sdi.fail == 0.4


def test_without_a_base_it_is_that_of_the_default_branch_as_it_is_now(rig: Rig):
    rig.server.default_branches[REPO] = "trunk"
    newest = rig.server.commit(REPO, FILES, branch="trunk")
    assert rig.open(rig.other_event).path == f"{REPO}//{PATH}@{newest}"


def test_the_name_of_the_default_branch_is_taken_from_the_event(rig: Rig):
    event = replace(rig.other_event, default_branch="topic")
    assert rig.open(event).path == f"{REPO}//{PATH}@{rig.head}"
    assert f"GET /repos/{REPO}" not in rig.server.lines


def test_a_reference_is_taken_as_it_is(rig: Rig):
    commit = rig.server.commit(OTHERS, {"eu/base.yml": PARENT.encode()})
    reference = f"{OTHERS}//eu/base.yml@{commit}"
    assert rig.giving(policy=reference).open().path == reference


WRONG = {
    "absolute": ("/etc/policy.yml", "is not a path in the repository: leave out '/' at its start"),
    "scheme": ("file:policies/policy.yml", "is not a path: leave out 'file:'"),
    "above": ("../policy.yml", "leads out of its folder"),
    "inside-above": ("policies/../../p.yml", "leads out of its folder"),
    "dot": ("policies/./p.yml", "empty or '.'"),
    "url": ("https://example.org/p.yml", "is a URL"),
    "branch": ("others/rules//p.yml@main", "must be pinned to a commit"),
    "unpinned-hub": ("hf:org/rules//p.yml", "must be pinned to a commit"),
    "blank": ("policies/my policy.yml", "is not a path that can be fetched"),
    "at": ("policies/p.yml@main", "is not a path that can be fetched"),
    "windows": (r"policies\p.yml", "with / in it"),
}


@pytest.mark.parametrize(("text", "match"), WRONG.values(), ids=WRONG)
def test_what_is_no_reference_is_an_error_of_the_workflow(rig: Rig, text: str, match: str):
    with pytest.raises(UsageError, match=f"^policy: .*{match}") as caught:
        locate_policy(text, rig.event, rig.github)
    assert "the input policy is the path of a file in this repository" in caught.value.hint
    assert rig.server.requests == []


def test_a_dot_before_a_path_changes_nothing(rig: Rig):
    located = locate_policy(f"./{PATH}", rig.event, rig.github)
    assert str(located.ref) == f"{REPO}//{PATH}@{rig.base}"
    assert located.reference == f"./{PATH}"


def test_one_policy_has_one_key_whatever_its_commit_and_the_case_of_its_repository():
    first = key_of(parse_reference(f"Org/Models//{PATH}@{'a' * 40}"))
    assert first == key_of(parse_reference(f"org/models//{PATH}@{'b' * 40}"))
    assert len(first) == 16
    others = (f"org/models//{BASE_PATH}@{'a' * 40}", f"hf:org/models@{'a' * 40}//{PATH}")
    assert len({first, *(key_of(parse_reference(other)) for other in others)}) == 3


def test_the_key_is_the_start_of_the_digest_of_the_reference_without_its_commit(rig: Rig):
    # sha256 of "org/models//policies/production.yml"
    located = locate_policy(PATH, rig.event, rig.github)
    assert located.key == "465da249840015cb"


# Who may read it.


def test_each_repository_is_read_with_its_own_token(rig: Rig):
    rig.server.accounts[POLICY_TOKEN] = Account(repositories=frozenset({OTHERS}))
    rig.server.private.add(OTHERS)
    commit = rig.server.commit(OTHERS, {"base.yml": PARENT.encode()})
    child = POLICY.replace("./base.yml", f"{OTHERS}//base.yml@{commit}").encode()
    rig.commits({PATH: child}, {}).giving(policy_token=POLICY_TOKEN).open()
    asked = {request.path.split("/")[2]: request.token for request in rig.server.requests}
    assert asked == {"org": f"Bearer {JOB_TOKEN}", "others": f"Bearer {POLICY_TOKEN}"}


def test_a_private_policy_elsewhere_names_the_input_that_is_missing(rig: Rig):
    rig.server.private.add(OTHERS)
    commit = rig.server.commit(OTHERS, {"base.yml": PARENT.encode()})
    found = refusal(rig.giving(policy=f"{OTHERS}//base.yml@{commit}"))
    assert "has no such repository, commit or file, or it is private (404)" in found.message
    assert "set the input policy-token to a token with the permission contents: read" in found.hint
    assert "the token of a workflow job reads its own repository only" in found.hint


def test_a_job_without_the_permission_is_told_which(rig: Rig):
    rig.server.private.add(REPO)
    rig.server.accounts[JOB_TOKEN] = Account(permissions={}, repositories=frozenset({REPO}))
    found = refusal(rig)
    assert "forbids to read it (403): contents: read is missing" in found.message
    assert "give the job permissions: contents: read" in found.hint
    assert "policy-token" not in found.hint


def test_a_default_branch_that_cannot_be_looked_up_is_an_error_of_the_policy(rig: Rig):
    rig.server.before = lambda _: refused(403, "no")
    with pytest.raises(PolicyError, match="the head of the default branch is not known"):
        rig.open(rig.other_event)


def test_a_policy_that_is_not_there_is_an_error(rig: Rig):
    found = refusal(rig.giving(policy="policies/absent.yml"))
    told = f"policy: {REPO} has no file 'policies/absent.yml' at {rig.base[:7]} (404)"
    assert found.message == told
    assert "check the path; a new policy has to be merged first" in found.hint
    assert "if the repository is private, the job needs contents: read" in found.hint


def test_a_reader_shows_no_token():
    access = PolicyAccess(
        repository=REPO, github_token=JOB_TOKEN, policy_token=POLICY_TOKEN, hf_token=HUB_TOKEN
    )
    assert "ghs_" not in repr(access)
    assert "ghp_" not in repr(access)
    assert "hf_" not in repr(access)
    with pytest.raises(ValueError, match="nothing is read from a checkout"):
        access.read(parse_reference("p.yml"))


# What is expected of it.


def test_a_policy_is_held_to_its_digest_and_revision(rig: Rig):
    rig.giving(expect_policy_digest=rig.open().digest).open()
    found = refusal(
        rig.giving(expect_policy_digest=f"sha256:{'0' * 64}", minimum_policy_revision=3)
    )
    assert "digest: expected sha256:000" in found.message
    assert "revision: expected at least 3, the policy has none" in found.message
    assert found.hint.startswith("expect-policy-digest, minimum-policy-revision and")


def test_a_signature_is_beside_the_policy_at_the_same_commit(rig: Rig):
    digest = rig.open().digest
    rig.commits({f"{PATH}.sig": signature(digest)}, {f"{PATH}.sig": b"?"})
    loaded = rig.giving(policy_public_key=text_of(KEY)).open()
    assert loaded.signed_by is not None
    assert loaded.signed_by.startswith("sha256:")
    assert f"GET /repos/{REPO}/contents/{PATH}.sig" in rig.server.lines


def test_without_a_key_no_signature_is_looked_for(rig: Rig):
    rig.open()
    assert not any(line.endswith(".sig") for line in rig.server.lines)


def test_with_a_key_a_policy_without_a_signature_is_refused(rig: Rig):
    found = refusal(rig.giving(policy_public_key=text_of(KEY)))
    assert "signature: required by the public key, and not at" in found.message
    assert f"{PATH}.sig@{rig.base} (policy: {REPO} has no file " in found.message
    assert "under its name and .sig" in found.hint


@pytest.mark.parametrize("content", [b"", b"?\n" * 3, b"A" * 100_000], ids=["empty", "no", "large"])
def test_a_signature_that_is_none_is_refused(rig: Rig, content: bytes):
    rig.commits({f"{PATH}.sig": content}, {})
    assert "signature " in refusal(rig.giving(policy_public_key=text_of(KEY))).message


def test_the_signature_of_a_stranger_is_refused(rig: Rig):
    rig.commits({f"{PATH}.sig": signature(rig.open().digest, STRANGER)}, {})
    assert f"{PATH}.sig" in refusal(rig.giving(policy_public_key=text_of(KEY))).message


def test_a_key_that_is_none_is_refused_whatever_is_beside_the_policy(rig: Rig):
    rig.commits({f"{PATH}.sig": signature(rig.open().digest)}, {})
    found = refusal(rig.giving(policy_public_key="no key"))
    assert "public key of the input policy-public-key: this is no key" in found.message


# On the Hub.


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    # Its client reads the environment when it is imported.
    with HubServer() as server:
        for name, value in {
            "ENDPOINT": server.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_DISABLE_TELEMETRY": True,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_OFFLINE": False,
            "HF_TOKEN_PATH": str(tmp_path / "no-token"),
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server
    close_session()


def lay(hub: HubServer, folder: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        (folder / "policies" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "policies" / name).write_bytes(content)
    return f"hf:org/rules@{hub.commit('org/rules', folder / 'policies')}//team.yml"


def test_a_policy_and_its_signature_are_read_on_the_hub_with_the_token_for_it(
    hub: HubServer, tmp_path: Path
):
    child = POLICY.encode()
    unsigned = lay(hub, tmp_path, {"team.yml": child, "base.yml": PARENT.encode()})
    hub.repos["org/rules"].tokens = frozenset({HUB_TOKEN})
    event = Event(name="schedule", kind=Kind.OTHER, repository=REPO, head_sha="a" * 40)
    github = GitHub(api_url="http://127.0.0.1:9")  # is not asked
    access = PolicyAccess(repository=REPO, hf_token=HUB_TOKEN)

    def opened(reference: str) -> LoadedPolicy:
        given = ActionInputs(policy=reference, policy_public_key=text_of(KEY))
        return open_policy(locate_policy(reference, event, github), given, access)

    with pytest.raises(
        PolicyError, match=r"team\.yml\.sig \(.*has no file 'team\.yml\.sig'\)"
    ) as got:
        opened(unsigned)
    assert "signature: required by the public key" in got.value.message
    digest = load_policy_at(parse_reference(unsigned), access).digest
    signed = lay(hub, tmp_path, {"team.yml.sig": signature(digest)})
    loaded = opened(signed)
    assert loaded.path == signed
    assert loaded.signed_by is not None
