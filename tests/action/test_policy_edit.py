"""A change that edits the policy is told what its edit would do, and is judged by the old one."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from github_runs import BASE_PATH, FILES, HEAD, PARENT, PATH, POLICY, REPO, Rig
from github_server import Change, GitHubServer, refused
from report_documents import document, passing

from sdi_gate.action.edit_words import MAX_LENGTH, MAX_SENTENCES, sentences_of
from sdi_gate.action.policy_edit import MAX_COMPARISONS, PolicyEdit, propose, proposed_policy
from sdi_gate.policy.chain.trust import signed_line
from sdi_gate.policy.loader import parse_policy
from sdi_gate.policy.telling.differing import diff, num_comparisons
from sdi_gate.policy.telling.wording import WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.policy.chain.references import PolicyRef, PolicySources

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
STRICT = POLICY.replace("fail: 0.4", "fail: 0.35")
LOOSE = POLICY.replace("fail: 0.4", "fail: 0.45")
OTHERS = "others/rules"


@pytest.fixture
def rig() -> Iterator[Rig]:
    with GitHubServer() as server:
        yield Rig(server)


def edit(rig: Rig) -> PolicyEdit | None:
    return proposed_policy(rig.in_force(), rig.event, rig.difference())


def found(rig: Rig, **files: str) -> PolicyEdit:
    edited = edit(
        rig.commits({}, {PATH if k == "policy" else k: v.encode() for k, v in files.items()})
    )
    assert edited is not None
    return edited


def problem(rig: Rig, text: str) -> str:
    edited = found(rig, policy=text)
    assert edited.loaded is None
    assert edited.entry.loosens is None
    assert edited.entry.changes == ()
    assert edited.entry.problem is not None
    return edited.entry.problem


def test_an_edit_that_loosens_is_said_to():
    with GitHubServer() as server:
        edited = found(Rig(server), policy=LOOSE)
    assert edited.entry.files == (PATH,)
    assert edited.entry.loosens is True
    assert edited.entry.problem is None
    assert edited.entry.changes == (
        "sdi is loosened: warns above 0.3, fails above 0.4; then warns above 0.3, fails above 0.45",
    )


def test_an_edit_that_tightens_is_said_to(rig: Rig):
    edited = found(rig, policy=STRICT)
    assert edited.entry.loosens is False
    assert edited.entry.changes[0].startswith("sdi is tightened: ")


def test_the_policy_in_force_stays_that_of_the_base_side(rig: Rig):
    edited = found(rig, policy=LOOSE)
    assert rig.open().policy.limits.sdi.fail == 0.4
    assert edited.loaded is not None
    assert edited.loaded.policy.limits.sdi.fail == 0.45
    assert edited.loaded.path == f"{REPO}//{PATH}@{rig.head}"


def test_an_edit_of_what_the_policy_extends_is_one_of_the_policy(rig: Rig):
    edited = found(rig, **{BASE_PATH: PARENT.replace("0.5", "0.45") + "mode: warn\n"})
    assert edited.entry.files == (BASE_PATH,)
    assert edited.entry.loosens is True
    assert any(told.startswith("mode is loosened: enforce") for told in edited.entry.changes)


def test_a_change_of_other_files_is_no_edit(rig: Rig):
    assert edit(rig.commits({}, {"README.md": b"other\n", "policies/other.yml": b"x"})) is None
    assert f"GET /repos/{REPO}/contents/{PATH}" in rig.server.lines


def test_without_a_base_there_is_no_edit(rig: Rig):
    rig.commits({}, {PATH: LOOSE.encode()})
    assert proposed_policy(rig.in_force(), rig.event, None) is None


def test_a_policy_in_another_repository_is_not_edited_here(rig: Rig):
    commit = rig.server.commit(OTHERS, {PATH: PARENT.encode()})
    rig.commits({}, {PATH: LOOSE.encode()}).giving(policy=f"{OTHERS}//{PATH}@{commit}")
    assert edit(rig) is None


def test_a_policy_that_is_pinned_in_the_own_repository_is_edited_all_the_same(rig: Rig):
    rig.commits({}, {PATH: LOOSE.encode()})
    rig.server.commit("ORG/models", FILES, commit=rig.base)  # the same one to GitHub
    edited = edit(rig.giving(policy=f"ORG/models//{PATH}@{rig.base}"))
    assert edited is not None
    assert edited.entry.loosens is True


def test_what_the_base_side_has_already_is_no_edit(rig: Rig):
    start = rig.server.commit(REPO, FILES)
    rig.head = rig.server.commit(REPO, FILES | {PATH: STRICT.encode()}, parents=(start,))
    rig.base = rig.server.commit(
        REPO, FILES | {PATH: b"# as merged\n" + STRICT.encode()}, parents=(start,), branch="main"
    )
    assert edit(rig) is None


@pytest.mark.parametrize("edited", [True, False])
def test_where_the_list_of_files_is_cut_the_files_themselves_are_compared(rig: Rig, edited: bool):
    rig.commits({}, {PATH: LOOSE.encode()} if edited else {})
    many = [Change(name=f"f{i}") for i in range(300)]
    rig.server.differences[REPO, rig.base, rig.head] = many
    result = edit(rig)
    assert (result is not None) == edited
    if result is not None:
        assert (result.entry.files, result.entry.loosens) == ((PATH,), True)


def test_where_the_list_of_files_is_cut_a_policy_that_is_removed_is_seen(rig: Rig):
    rig.commits({}, {}).without(PATH)
    many = [Change(name=f"f{i}") for i in range(300)]
    rig.server.differences[REPO, rig.base, rig.head] = many
    edited = edit(rig)
    assert edited is not None
    assert edited.entry.files == (PATH,)
    assert edited.entry.problem is not None


# What is wrong with an edit is a sentence.


BROKEN = {
    "no-yaml": ("a: [", "cannot be read as YAML"),
    "unknown-key": (POLICY + "limit: {}\n", "unknown key 'limit'"),
    "loosens-its-parent": (POLICY.replace("0.4", "0.9"), "is looser than"),
    "itself": (POLICY.replace("./base.yml", "./production.yml"), "a cycle"),
    "deep": ("[" * 100_000, "nested deeper than 16 levels"),
    "large": ("#" * 1_100_000, "is larger than 1,000,000 bytes"),
    "control": (POLICY + "# \x1b[31m\n", "U\\+001B"),
}


@pytest.mark.parametrize(("text", "match"), BROKEN.values(), ids=BROKEN)
def test_an_edit_that_breaks_the_policy_is_told_and_ends_nothing(rig: Rig, text: str, match: str):
    told = problem(rig, text)
    assert re.search(match, told)
    assert told.isprintable()


def test_a_policy_that_is_removed_is_told(rig: Rig):
    edited = edit(rig.commits({}, {}).without(PATH))
    assert edited is not None
    assert edited.entry.files == (PATH,)
    assert f"{REPO} has no file '{PATH}'" in (edited.entry.problem or "")


def test_nothing_is_fetched_that_the_policy_in_force_does_not_extend(rig: Rig):
    commit = rig.server.commit(OTHERS, {"base.yml": PARENT.encode()})
    told = problem(rig, POLICY.replace("./base.yml", f"{OTHERS}//base.yml@{commit}"))
    assert "is extended by the edited policy alone; it is read once the edit is merged" in told
    assert not any("/others/" in line for line in rig.server.lines)


def test_what_the_policy_in_force_extends_elsewhere_is_read_again(rig: Rig):
    commit = rig.server.commit(OTHERS, {"base.yml": PARENT.encode()})
    child = POLICY.replace("./base.yml", f"{OTHERS}//base.yml@{commit}")
    rig.commits({PATH: child.encode()}, {PATH: child.replace("fail: 0.4", "fail: 0.45").encode()})
    edited = edit(rig)
    assert edited is not None
    assert (edited.entry.problem, edited.entry.loosens) == (None, True)


def test_another_commit_of_the_own_repository_is_not_read_either(rig: Rig):
    secret = rig.server.commit(REPO, {"secret.yml": PARENT.encode()})
    told = problem(rig, POLICY.replace("./base.yml", f"{REPO}//secret.yml@{secret}"))
    assert "is extended by the edited policy alone" in told


def test_a_host_that_fails_leaves_the_edit_untold(rig: Rig):
    rig.commits({}, {PATH: LOOSE.encode()})
    in_force, difference = rig.in_force(), rig.difference()
    rig.server.before = lambda _: refused(502, "down", retry_after="100")
    edited = proposed_policy(in_force, rig.event, difference)
    assert edited is not None
    assert "could not answer (502)" in (edited.entry.problem or "")


@dataclass(frozen=True)
class Failing:
    """Fail at one commit as no reader should."""

    sources: PolicySources
    commit: str
    error: Exception

    def read(self, ref: PolicyRef) -> bytes:
        if ref.commit == self.commit:
            raise self.error
        return self.sources.read(ref)


@pytest.mark.parametrize("error", [RecursionError(), ValueError("::error::"), KeyError("x")])
def test_a_mistake_of_our_own_does_not_end_a_run_that_is_judged_by_another_policy(
    rig: Rig, error: Exception
):
    in_force = rig.commits({}, {PATH: LOOSE.encode()}).in_force()
    failing = Failing(in_force.sources, rig.head, error)
    edited = proposed_policy(replace(in_force, sources=failing), rig.event, rig.difference())
    assert edited is not None
    assert edited.entry.problem == f"it cannot be compared ({type(error).__name__})"


def test_an_edit_that_the_workflow_would_refuse_is_told_with_what_it_changes(rig: Rig):
    digest = rig.commits({}, {PATH: STRICT.encode()}).open().digest
    edited = edit(rig.giving(expect_policy_digest=digest))
    assert edited is not None
    assert (edited.entry.problem or "").startswith("the workflow would refuse it: ")
    assert "digest: expected" in (edited.entry.problem or "")
    assert edited.entry.loosens is False
    assert edited.loaded is not None


def test_an_edit_needs_a_signature_of_its_own(rig: Rig):
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    digest = rig.commits({}, {}).open().digest
    signature = base64.b64encode(key.sign(signed_line(digest)))
    rig.commits({f"{PATH}.sig": signature}, {PATH: STRICT.encode()})
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    edited = edit(rig.giving(policy_public_key=public))
    assert edited is not None
    assert f"signature {REPO}//{PATH}.sig@{rig.head}: " in (edited.entry.problem or "")


def test_an_edit_that_would_take_hours_to_compare_is_not_compared(rig: Rig):
    waivers = "".join(
        f"  - {{id: w{i}, owner: o, reason: r, approved-by: a, granted: 2026-01-01,"
        f" expires: '2026-03-{1 + i % 28:02}', model: org/x, metric: sdi, limit: 0.45,"
        f" candidate-digest: 'sha256:{i:064x}'}}\n"
        for i in range(400)
    )
    edited = found(rig, policy=POLICY + "waivers:\n" + waivers)
    assert "too many kinds of candidates and days of waivers" in (edited.entry.problem or "")
    assert edited.loaded is None


# Sentences.


def loaded(text: str):
    return parse_policy(text.encode(), path="p.yml")


def test_the_gravest_difference_comes_first():
    waiver = (
        "waivers: [{id: w1, owner: o, reason: r, approved-by: boss, granted: 2026-11-01, expires:"
        " 2026-11-30, model: org/x, metric: sdi, limit: 0.6}]\n"
    )
    before = HEAD + "limits:\n  sdi: {fail: 0.4}\n  coverage: {fail: 0.9}\n"
    after = (
        HEAD.replace("production}", "production, owner: 'new'}")
        + "limits:\n  sdi: {fail: 0.3}\n"
        + "match: [{match: {family: llama}, limits: {sdi: {fail: 0.5}}}]\n"
        + waiver
    )
    told = sentences_of(diff(loaded(before), loaded(after)))
    assert told[0].startswith("sdi for family llama is loosened: fails above 0.4; then fails above")
    assert told[1] == (
        "waiver w1 is added: sdi of org/x fails at 0.6 from 2026-11-01 to 2026-11-30, approved by"
        " boss"
    )
    assert sorted(told[2:-1]) == [
        f"coverage is removed: fails below 0.9; then {WHOLE}",
        "sdi is tightened: fails above 0.4; then fails above 0.3",
    ]
    assert told[-1] == "metadata.owner: none; then 'new'"


def test_candidates_for_whom_nothing_changes_where_it_changes_for_others_are_named():
    block = "match: [{match: {family: llama}, limits: {sdi: {fail: 0.4}}}]\n"
    before = loaded(HEAD + "limits: {sdi: {fail: 0.4}}\n" + block)
    told = sentences_of(diff(before, loaded(HEAD + "limits: {sdi: {fail: 0.3}}\n" + block)))
    assert told == (
        "sdi is tightened: fails above 0.4; then fails above 0.3",
        "sdi for family llama stays as it is, where it changes for others: fails above 0.4",
    )


def test_there_are_at_most_thirty_sentences_of_one_line_each():
    texts = "".join(f'  t{i:02}: "{"x" * 1500}\\n::error::{i}"\n' for i in range(40))
    before, after = (
        loaded(HEAD + "limits: {sdi: {fail: 0.4}}\n"),
        HEAD + "limits: {sdi: {fail: 0.4}}",
    )
    told = sentences_of(diff(before, loaded(f"{after}\ndocumentation:\n{texts}")))
    assert len(told) == MAX_SENTENCES + 1
    assert told[-1] == "and 10 more"
    assert all(len(line) <= MAX_LENGTH and line.isprintable() for line in told)


def test_no_difference_is_no_sentence():
    waived = PARENT + (
        "waivers: [{id: w1, owner: o, reason: r, approved-by: boss, granted: 2026-11-01, expires:"
        " 2026-11-30, model: org/x, metric: sdi, limit: 0.6}]\n"
    )
    assert sentences_of(diff(loaded(waived), loaded(waived))) == ()


def test_comparisons_are_counted_as_they_are_made():
    one = loaded(PARENT)
    assert num_comparisons(one, one) == 1
    assert num_comparisons(one, loaded(PARENT + "mode: warn\n")) < MAX_COMPARISONS


# What the edited policy would make of a candidate.


def test_a_result_is_judged_once_more():
    result = document(scale=1.0)
    sdi = result.sdi.estimate.value
    strict = propose(loaded(HEAD + f"limits: {{sdi: {{fail: {sdi / 2}}}}}\n"), result, NOW)
    assert (strict.status, strict.mode, strict.rule) == ("fail", "enforce", "limits.sdi")
    assert strict.reason
    lenient = loaded(HEAD + "mode: observe\nrequired-tier: weights\nlimits: {sdi: {fail: 1.0}}\n")
    told = propose(lenient, result, NOW)
    assert told.mode == "observe"
    assert told.status != "fail"


def test_what_was_decided_before_does_not_matter():
    policy = loaded(HEAD + "limits: {sdi: {fail: 0.001}}\n")
    result = passing()
    assert propose(policy, result, NOW) == propose(
        policy, result.model_copy(update={"verdict": None}), NOW
    )
