"""A policy that is itself in another place is read there, with all that it extends."""

from __future__ import annotations

import pytest
from policy_strategies import COMMIT, MemorySources

from sdi_gate.errors import PolicyError
from sdi_gate.policy.chain.references import parse_reference
from sdi_gate.policy.loader import load_policy_at, parse_policy

HEAD = "apiVersion: sdi-gate/v1\nkind: Policy\nmetadata: {name: trial}\n"
ROOT = HEAD + "limits: {sdi: {fail: 0.5}}\n"
HUB = f"hf:org/policies@{COMMIT}//eu/team.yml"
GIT = f"org/policies//eu/team.yml@{COMMIT}"
OTHER = f"others/rules//base.yml@{'e' * 40}"
BOTH = pytest.mark.parametrize("reference", [HUB, GIT], ids=["hub", "git"])


def child(extends: str) -> bytes:
    return f"{HEAD}extends: {extends}\n".encode()


@BOTH
def test_its_path_is_the_reference(reference: str):
    sources = MemorySources({reference: ROOT.encode()})
    loaded = load_policy_at(parse_reference(reference), sources)
    assert loaded.path == reference
    assert [level.file for level in loaded.levels] == [reference]
    assert loaded.signed_by is None


@BOTH
def test_it_has_the_digest_that_it_has_as_a_file(reference: str):
    sources = MemorySources({reference: ROOT.encode()})
    loaded = load_policy_at(parse_reference(reference), sources)
    assert loaded.digest == parse_policy(ROOT.encode(), path="p.yml").digest


@BOTH
def test_what_it_extends_by_a_path_is_beside_it_at_the_same_commit(reference: str):
    base = reference.replace("eu/team.yml", "shared/base.yml")
    sources = MemorySources({reference: child("../shared/base.yml"), base: ROOT.encode()})
    loaded = load_policy_at(parse_reference(reference), sources)
    assert [level.file for level in loaded.levels] == [base, reference]


@BOTH
def test_what_it_extends_elsewhere_is_read_there(reference: str):
    sources = MemorySources({reference: child(OTHER), OTHER: ROOT.encode()})
    loaded = load_policy_at(parse_reference(reference), sources)
    assert [level.file for level in loaded.levels] == [OTHER, reference]


@BOTH
@pytest.mark.parametrize("path", ["../../base.yml", "/etc/passwd"], ids=["above", "absolute"])
def test_it_names_no_file_outside_its_repository(reference: str, path: str):
    sources = MemorySources({reference: child(path)})
    with pytest.raises(PolicyError, match="leaves the repository org/policies"):
        load_policy_at(parse_reference(reference), sources)


@BOTH
def test_one_that_extends_itself_is_a_cycle(reference: str):
    sources = MemorySources({reference: child("team.yml")})
    with pytest.raises(PolicyError, match="a cycle: "):
        load_policy_at(parse_reference(reference), sources)


def test_problems_are_told_at_the_reference():
    sources = MemorySources({GIT: b"kind: Policy\n"})
    with pytest.raises(PolicyError) as caught:
        load_policy_at(parse_reference(GIT), sources)
    assert caught.value.message.splitlines()[1].startswith(f"{GIT}:1:1: ")


def test_a_file_of_this_machine_is_not_read_so():
    with pytest.raises(ValueError, match="is a file, which load_policy reads"):
        load_policy_at(parse_reference("policy.yml"), MemorySources({}))
