"""Test what ``extends`` follows: files, other repositories at a commit, and no cycle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_strategies import COMMIT, MemorySources

from sdi_gate.errors import PolicyError
from sdi_gate.policy.chain.demands import stricter
from sdi_gate.policy.chain.extending import MAX_LEVELS
from sdi_gate.policy.chain.matching import demands_of
from sdi_gate.policy.chain.references import (
    PolicyRef,
    ReferenceFormError,
    Scheme,
    parse_reference,
)
from sdi_gate.policy.loader import load_policy, parse_policy

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "apiVersion: sdi-gate/v1\nkind: Policy\nmetadata: {name: trial}\n"
ROOT = HEAD + "limits: {sdi: {fail: 0.5}}\n"
HUB = f"hf:org/policies@{COMMIT}//eu/base.yml"
GIT = f"org/policies//eu/base.yml@{COMMIT}"


def child(extends: str, rest: str = "") -> str:
    return f"{HEAD}extends: {extends}\n{rest}"


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yml").write_text(text, encoding="utf-8")


def test_a_file_is_found_beside_the_one_that_extends_it(tmp_path: Path):
    (tmp_path / "org").mkdir()
    write(tmp_path, base=ROOT)
    write(tmp_path / "org", team=child("../base.yml", "mode: enforce"))
    loaded = load_policy(tmp_path / "org" / "team.yml")
    assert [level.file for level in loaded.levels] == [
        str(tmp_path / "base.yml"),
        str(tmp_path / "org" / "team.yml"),
    ]
    assert [level.is_root for level in loaded.levels] == [True, False]


@pytest.mark.parametrize("reference", [HUB, GIT], ids=["hub", "git"])
def test_a_file_elsewhere_is_read_through_the_sources(reference: str):
    sources = MemorySources({reference: ROOT.encode()})
    loaded = parse_policy(child(reference).encode(), path="p.yml", sources=sources)
    assert [level.file for level in loaded.levels] == [reference, "p.yml"]


@pytest.mark.parametrize("reference", [HUB, GIT], ids=["hub", "git"])
def test_a_file_that_a_remote_file_names_is_beside_it_at_the_same_commit(reference: str):
    other = reference.replace("eu/base.yml", "shared/root.yml")
    files = {reference: child("../shared/root.yml").encode(), other: ROOT.encode()}
    loaded = parse_policy(child(reference).encode(), path="p.yml", sources=MemorySources(files))
    assert [level.file for level in loaded.levels] == [other, reference, "p.yml"]


@pytest.mark.parametrize("path", ["../../base.yml", "/etc/base.yml"], ids=["above", "absolute"])
def test_a_remote_file_names_nothing_outside_its_repository(path: str):
    files = MemorySources({GIT: child(path).encode()})
    with pytest.raises(PolicyError, match=r"leaves the repository org/policies") as caught:
        parse_policy(child(GIT).encode(), path="p.yml", sources=files)
    assert caught.value.message.splitlines()[1].startswith(f"{GIT}:4:10: extends: '{path}' leaves")


def refusal(extends: str) -> str:
    with pytest.raises(PolicyError, match=r"^p\.yml: the policy cannot be used: 1 problem") as got:
        parse_policy(child(extends).encode(), path="p.yml")
    return got.value.message.splitlines()[1].removeprefix("p.yml:4:10: extends: ")


PINS = {
    "branch": "org/policies//base.yml@main",
    "short": f"org/policies//base.yml@{COMMIT[:12]}",
    "none": "org/policies//base.yml",
    "capitals": f"org/policies//base.yml@{COMMIT.upper()}",
    "hub-branch": "hf:org/policies@main//base.yml",
    "hub-none": "hf:org/policies//base.yml",
}


@pytest.mark.parametrize("extends", PINS.values(), ids=PINS)
def test_a_remote_policy_that_could_be_moved_is_refused(extends: str):
    found = refusal(extends)
    assert found.startswith("a policy elsewhere must be pinned to a commit, which cannot be moved")
    form = "hf:org/name@COMMIT//path.yml" if extends.startswith("hf:") else "owner/repo//path.yml@C"
    assert f"write {form}" in found


FORMS = {
    "url": ("https://example.org/base.yml", "is a URL; write owner/repo//path.yml@COMMIT"),
    "hub-form": ("hf:base.yml", "is not a reference to a file of a repository; write hf:org/name@"),
    "git-form": (f"repo//base.yml@{COMMIT}", "is not a reference to a file of a repository; write"),
    "empty-path": (f"hf:org/policies@{COMMIT}//", "is not a reference to a file of a repository"),
    "above": (f"org/policies//../base.yml@{COMMIT}", "is not a path that can be fetched"),
    "query": (f"'org/policies//base.yml?x@{COMMIT}'", "is not a path that can be fetched"),
    "no-sources": (GIT, f"{GIT} is elsewhere, and nothing may be fetched here"),
    "missing": ("absent.yml", "absent.yml cannot be read: No such file or directory"),
}


@pytest.mark.parametrize(("extends", "expected"), FORMS.values(), ids=FORMS)
def test_what_cannot_be_followed_is_named_at_its_place(extends: str, expected: str):
    assert expected in refusal(extends)


def test_a_cycle_of_files_is_named(tmp_path: Path):
    write(tmp_path, a=child("b.yml"), b=child("./c.yml"), c=child("../x/b.yml"))
    (tmp_path / "x").symlink_to(tmp_path)
    (tmp_path / "x" / "y").mkdir()
    with pytest.raises(PolicyError, match=r"c\.yml:4:10: extends: a cycle: .*b\.yml extends .*c"):
        load_policy(tmp_path / "x" / "a.yml")


def test_a_policy_that_extends_itself_is_a_cycle(tmp_path: Path):
    write(tmp_path, a=child("a.yml"))
    with pytest.raises(PolicyError, match=r"a\.yml:4:10: extends: a cycle: .*a\.yml extends"):
        load_policy(tmp_path / "a.yml")


def test_a_remote_cycle_is_named():
    sources = MemorySources({GIT: child("base.yml").encode()})
    with pytest.raises(PolicyError, match=rf"extends: a cycle: {GIT} extends {GIT}"):
        parse_policy(child(GIT).encode(), path="p.yml", sources=sources)


def test_a_chain_has_at_most_eight_levels(tmp_path: Path):
    write(tmp_path, p0=ROOT, **{f"p{i}": child(f"p{i - 1}.yml") for i in range(1, MAX_LEVELS + 1)})
    assert len(load_policy(tmp_path / f"p{MAX_LEVELS - 1}.yml").levels) == MAX_LEVELS
    with pytest.raises(PolicyError, match=r"p1\.yml:4:10: .* a chain of more than 8 policies"):
        load_policy(tmp_path / f"p{MAX_LEVELS}.yml")


def test_a_parent_that_is_no_policy_is_told_as_itself(tmp_path: Path):
    write(tmp_path, base=ROOT + "mode: lax\n", team=child("base.yml"))
    with pytest.raises(PolicyError, match=r"base\.yml:5:7: mode: expected"):
        load_policy(tmp_path / "team.yml")


def test_limits_may_all_be_those_of_the_parent(tmp_path: Path):
    write(tmp_path, base=ROOT, team=child("base.yml"))
    assert load_policy(tmp_path / "team.yml").policy.limits is None


def test_a_parent_may_leave_the_limits_to_its_children(tmp_path: Path):
    write(tmp_path, base=HEAD + "mode: enforce\n", team=child("base.yml", ROOT[len(HEAD) :]))
    assert len(load_policy(tmp_path / "team.yml").levels) == 2
    with pytest.raises(PolicyError, match=r"base\.yml:1:1: limits: the policy sets no limit"):
        load_policy(tmp_path / "base.yml")


def test_a_silent_child_takes_the_mode_of_its_parent_and_not_the_default(tmp_path: Path):
    write(tmp_path, base=ROOT + "mode: observe\nrequired-tier: weights\n", team=child("base.yml"))
    root, team = (
        demands_of(level, family=None, model=None)
        for level in load_policy(tmp_path / "team.yml").levels
    )
    found = stricter(root, team)
    assert (found.mode, found.required_tier) == (root.mode, root.required_tier)
    assert found.standard_errors.value == 1.0


def test_the_longest_life_of_a_waiver_is_inherited(tmp_path: Path):
    write(tmp_path, base=ROOT + "maximum-waiver-days: 30\n", team=child("base.yml"))
    days = [level.maximum_waiver_days for level in load_policy(tmp_path / "team.yml").levels]
    assert days == [30, 30]


SEGMENTS = st.text("abcXYZ019_.-", min_size=1, max_size=8).filter(lambda s: s[0] not in ".-")


@given(
    st.builds(
        PolicyRef,
        scheme=st.sampled_from([Scheme.HUB, Scheme.GIT]),
        path=st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join),
        repository=st.just("org/policies.x"),
        commit=st.text("0123456789abcdef", min_size=40, max_size=40),
    )
)
def test_a_reference_is_read_back_as_it_was_written(ref: PolicyRef):
    assert parse_reference(str(ref)) == ref


@given(st.text("ab/:@.-\\?#% hf", max_size=30))
def test_any_text_is_a_reference_or_an_error(text: str):
    try:
        ref = parse_reference(text)
    except ReferenceFormError:
        return
    assert str(ref) == text
