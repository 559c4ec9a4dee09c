"""Test the policies that are shipped: valid by two validators, tested, explained, and ordered."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import jsonschema
import pytest
import yaml

from sdi_gate.errors import UsageError
from sdi_gate.policy.evaluate import judge
from sdi_gate.policy.facts import Facts, Tier
from sdi_gate.policy.format.schema import Mode
from sdi_gate.policy.loader import LoadedPolicy, load_policy, parse_policy
from sdi_gate.policy.telling.comparing import candidates_of, demands_for, is_at_least_as_strict
from sdi_gate.policy.testing.run import run_cases
from sdi_gate.policy.verdict import Bound, Status

PROJECT = Path(__file__).parents[2]
POLICIES = PROJECT / "policies"
PAGE = (PROJECT / "docs" / "policies.md").read_text(encoding="utf-8")
FAMILIES = ["gemma", "llama", "mistral", "phi", "qwen"]
NAMES = ["default", "observe", "regulated", "strict", *FAMILIES]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DOCUMENTED = [
    "intended-change",
    "intended-use",
    "compute-used",
    "compute-of-the-original",
    "tolerance-rationale",
    "reviewer",
    "fallback",
]
# Words by which a file would claim what no distance between two models can show.
CLAIMS = re.compile(r"\b(complian\w*|compl(y|ies)|certif\w*|conformity|approved by law|lawful)\b")


class TextDates(yaml.SafeLoader):
    """Read dates as text, as the gate does."""


TextDates.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if not tag.endswith(":timestamp")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Shipped:
    """Read policies; no case of a shipped test rests on a recorded result."""

    def policy(self, path: Path) -> LoadedPolicy:
        return load_policy(path)

    def result(self, path: Path) -> Facts:
        raise UsageError(f"{path} is not shipped")


def text_of(name: str, kind: str = "yml") -> str:
    return (POLICIES / f"{name}.{kind}").read_text(encoding="utf-8")


@cache
def shipped(name: str) -> LoadedPolicy:
    return load_policy(POLICIES / f"{name}.yml")


def demands(name: str):
    loaded = shipped(name)
    (candidates,) = candidates_of(loaded)
    return demands_for(loaded, candidates)


def section_of(name: str) -> str:
    """Return what the page says of a policy, under a heading of its name."""
    return PAGE.split(f"\n### {name}\n")[1].split("\n#")[0]


def commented(key: str) -> str:
    """Return the example under a key that the regulated policy has in its comments."""
    lines = text_of("regulated").splitlines()
    start = lines.index(f"# {key}:")
    stop = lines.index("", start)
    return "\n".join(line.removeprefix("# ") for line in lines[start:stop])


def test_these_are_all_shipped_policies_and_each_has_a_test():
    files = {file.name for file in POLICIES.glob("*.y*ml")}
    assert files == {f"{name}.{kind}" for name in NAMES for kind in ("yml", "test.yml")}


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_policy_bears_the_name_of_its_file_and_says_whom_to_ask(name: str):
    metadata = shipped(name).policy.metadata
    assert metadata.name == name
    assert (metadata.owner, metadata.contact) == ("model-governance", "model-governance")
    assert metadata.revision == 1
    assert metadata.description


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("kind", "schema"), [("yml", "v1"), ("test.yml", "test-v1")])
def test_what_is_shipped_is_valid_by_the_published_schema(name: str, kind: str, schema: str):
    published = json.loads((POLICIES / "schema" / f"{schema}.json").read_text(encoding="utf-8"))
    instance = yaml.load(text_of(name, kind), Loader=TextDates)  # noqa: S506, TID251 - safe
    jsonschema.Draft202012Validator(published).validate(instance)


@pytest.mark.parametrize("name", NAMES)
def test_every_case_comes_as_expected_and_every_rule_is_crossed_by_one(name: str):
    run = run_cases([POLICIES / f"{name}.test.yml"], Shipped(), NOW)
    (file,), (tested,) = run.files, run.policies
    assert file.error is None
    assert {case.name: case.mismatches for case in file.cases if case.mismatches} == {}
    assert not any(case.error for case in file.cases)
    assert not run.failed
    assert tested.not_crossed == ()
    assert {case.verdict.status for case in file.cases if case.verdict} == set(Status)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_policy_is_explained_to_readers(name: str):
    told = section_of(name)
    for part in ("**For whom**", "**Demands**", "**Its figures**", "**Does not see**"):
        assert part in told
    assert "set by hand" in told or name == "observe"


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_policy_says_that_it_is_provisional_and_how_to_tighten_it(name: str):
    text = text_of(name)
    assert "THE FIGURES ARE PROVISIONAL" in text
    assert "# How to tighten" in text


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_ships_claims_to_meet_a_law(name: str):
    for text in (text_of(name), text_of(name, "test.yml"), section_of(name)):
        assert CLAIMS.findall(text.lower()) == []


@pytest.mark.parametrize("name", FAMILIES)
def test_the_policy_of_a_family_tightens_default_and_is_for_that_family(name: str):
    loaded = shipped(name)
    assert [level.policy.metadata.name for level in loaded.levels] == ["default", name]
    assert loaded.policy.allowed_families == (name,)
    assert is_at_least_as_strict(demands("default"), demands(name))
    assert not is_at_least_as_strict(demands(name), demands("default"))


def test_observe_is_default_that_blocks_nothing():
    default, observe = shipped("default").policy, shipped("observe").policy
    assert (default.mode, observe.mode) == (Mode.ENFORCE, Mode.OBSERVE)
    assert observe.limits == default.limits
    assert observe.required_tier is default.required_tier


@pytest.mark.parametrize("name", ["strict", "regulated"])
def test_a_stricter_policy_demands_all_that_default_demands_and_more(name: str):
    default, other = demands("default"), demands(name)
    assert is_at_least_as_strict(default, other)
    assert other.required_tier.value > default.required_tier.value
    for limit in default.limits:
        tight, loose = other.limit(limit.path), limit.fail
        assert tight is not None
        assert tight.fail is not None
        assert loose is not None
        upper = limit.bound is Bound.UPPER
        assert (tight.fail.value < loose.value) if upper else (tight.fail.value > loose.value)


def test_the_regulated_policy_says_what_to_write_into_every_report():
    documentation = shipped("regulated").policy.documentation
    assert documentation is not None
    assert list(documentation) == DOCUMENTED
    for name, text in documentation.items():
        assert text.startswith("Say ")
        assert f"| `{name}` |" in section_of("regulated")
    assert "no legal" in text_of("regulated")
    assert "not a legal criterion" in section_of("regulated")


@pytest.mark.parametrize("key", ["match", "waivers"])
def test_the_examples_in_comments_can_be_used_as_they_stand(key: str):
    text = f"{text_of('regulated')}\n{commented(key)}\n"
    loaded = parse_policy(text.encode(), path="regulated.yml")
    assert len(getattr(loaded.policy, key)) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_scan_that_measured_nothing_passes_no_shipped_policy(name: str):
    nothing = Facts(tier=Tier.FULL, coverage=1.0, sdi=None, sdi_plus=None, signals=())
    assert judge(shipped(name), nothing, now=NOW).status is Status.INCONCLUSIVE
