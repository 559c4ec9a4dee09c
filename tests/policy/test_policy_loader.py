"""Test the loading of policies from files and bytes: what can be read, and what says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sdi_gate.errors import ExitCode, PolicyError
from sdi_gate.policy.format.schema import Policy
from sdi_gate.policy.loader import MAX_SIZE_BYTES, LoadedPolicy, load_policy, parse_policy

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "apiVersion: sdi-gate/v1\nkind: Policy\nmetadata:\n  name: trial\n  revision: 7\n"
GOOD = HEAD + "limits:\n  sdi:\n    fail: 0.5\n"


def parse(text: str) -> LoadedPolicy:
    return parse_policy(text.encode(), path="p.yml")


def test_a_good_policy_is_loaded_from_a_file(tmp_path: Path):
    file = tmp_path / "p.yml"
    file.write_text(GOOD, encoding="utf-8")
    loaded = load_policy(file)
    assert (loaded.name, loaded.revision, loaded.path) == ("trial", 7, str(file))
    (level,) = loaded.levels
    assert level.policy is loaded.policy
    assert (level.file, level.is_root) == (str(file), True)


def test_every_value_has_its_place():
    level = parse(GOOD + "match:\n- match: {family: llama}\n  mode: observe\n").levels[0]
    assert level.origin(("limits", "sdi", "fail")).line == 8
    assert str(level.origin(("match", "0", "mode"), "family llama")) == "p.yml:11"
    # What has no place of its own has that of the nearest key above it.
    assert level.place(("limits", "sdi", "warn")) == level.place(("limits", "sdi"))


def test_a_missing_file_is_a_policy_error_with_exit_code_3(tmp_path: Path):
    with pytest.raises(PolicyError, match=r"absent\.yml: .*cannot be read: No such file") as caught:
        load_policy(tmp_path / "absent.yml")
    assert caught.value.exit_code is ExitCode.POLICY
    assert "policies/default.yml" in caught.value.hint


def test_a_folder_is_a_policy_error(tmp_path: Path):
    with pytest.raises(PolicyError, match="cannot be read: Is a directory"):
        load_policy(tmp_path)


def test_a_file_over_the_size_bound_is_refused_unread(tmp_path: Path):
    file = tmp_path / "p.yml"
    file.write_bytes(b"#" * (MAX_SIZE_BYTES + 1))
    with pytest.raises(PolicyError, match="larger than 1,000,000 bytes"):
        load_policy(file)


def test_a_file_at_the_size_bound_is_read():
    filled = GOOD + "#" * (MAX_SIZE_BYTES - len(GOOD))
    assert parse(filled).digest == parse(GOOD).digest


EMPTY = {
    "none": HEAD,
    "in-blocks-alone": HEAD + "match:\n- match: {family: llama}\n  limits: {sdi: {fail: 0.5}}\n",
}


@pytest.mark.parametrize("text", EMPTY.values(), ids=EMPTY)
def test_a_policy_that_would_judge_some_candidate_by_nothing_is_refused(text: str):
    with pytest.raises(PolicyError, match="1 problem") as caught:
        parse(text)
    assert caught.value.message.splitlines()[1] == (
        "p.yml:1:1: limits: the policy sets no limit for all; a candidate that no match block is"
        " for would be judged by nothing"
    )


def test_problems_of_waivers_are_found_when_a_policy_is_loaded():
    waiver = (
        "waivers:\n- {id: W-1, owner: a, reason: b, approved-by: c, granted: '2026-01-02',"
        " expires: '2026-01-01', model: org/m, metric: sdi, limit: 0.6}\n"
    )
    with pytest.raises(PolicyError, match=r"p\.yml:10:\d+: waivers\.0\.expires: "):
        parse(GOOD + waiver)


def test_the_documentation_of_all_levels_is_joined_and_the_later_text_stands(tmp_path: Path):
    texts = "documentation:\n  reviewer: {}\n  {}: text\n"
    (tmp_path / "base.yml").write_text(GOOD + texts.format("role a", "from-base"))
    team = HEAD + "extends: base.yml\n" + texts.format("role b", "from-team")
    (tmp_path / "team.yml").write_text(team)
    assert load_policy(tmp_path / "team.yml").documentation == {
        "reviewer": "role b",
        "from-base": "text",
        "from-team": "text",
    }


def test_a_policy_that_is_no_file_has_every_place_in_line_1():
    loaded = LoadedPolicy.of(parse(GOOD).policy)
    assert str(loaded.levels[0].origin(("limits", "sdi", "fail"))) == "policy:1"
    assert loaded.digest == parse(GOOD).digest
    assert loaded.documentation == {}


def test_a_policy_that_is_no_file_extends_nothing():
    policy = Policy.model_validate(
        {
            "apiVersion": "sdi-gate/v1",
            "kind": "Policy",
            "metadata": {"name": "trial"},
            "extends": "x.yml",
        }
    )
    with pytest.raises(ValueError, match="is read by load_policy"):
        LoadedPolicy.of(policy)
