"""What `check` does with its policy: when it is opened, by which names, and in which mode."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from commands import POLICIES, environment, references, result_of

import sdi_gate.cli.scanning as scanning_module
from sdi_gate.cli.scanning import make_request
from sdi_gate.policy.facts import Tier
from sdi_gate.policy.loader import load_policy

HEAD = "apiVersion: sdi-gate/v1\nkind: Policy\nmetadata: {name: own, owner: model-governance}\n"
# The two models are far apart: only a waiver or another mode keeps the gate open.
TIGHT = HEAD + "required-tier: weights\nlimits: {sdi: {fail: 0.0001}, coverage: {fail: 1.0}}\n"


def write(tmp_path: Path, rest: str, head: str = TIGHT) -> Path:
    path = tmp_path / "own.yml"
    path.write_text(head + rest, encoding="utf-8")
    return path


def waiver(days: int, **changes: str) -> str:
    """A waiver for the model ``tune`` that ends as many days from now."""
    last = datetime.now(UTC).date() + timedelta(days=days)
    keys = {
        "id": "W-1",
        "owner": "research",
        "reason": "The new domain is <b>meant</b> to be read otherwise.",
        "approved-by": "risk-committee",
        "granted": str(last - timedelta(days=30)),
        "expires": str(last),
        "model": "tune",
        "metric": "sdi",
        "limit": "1.0",
    }
    lines = [f"    {key}: {value}" for key, value in (keys | changes).items()]
    return "\n".join(["waivers:", lines[0].replace("    id", "  - id"), *lines[1:], ""])


def test_a_policy_that_warns_says_on_standard_error_what_it_would_have_closed(
    check_here, models, tmp_path
):
    ended = check_here(models / "far", tier="weights", policy=write(tmp_path, "mode: warn\n"))
    assert ended.code == 0
    assert ended.out.startswith("FAIL (warn mode, the gate would have been closed): ")
    (warning,) = (line for line in ended.err.splitlines() if "warning" in line)
    assert warning.startswith(
        "sdi-gate: warning: the policy own is in warn mode; in enforce mode the gate would have "
        "been closed (exit code 10) by limits.sdi: sdi is "
    )


@pytest.mark.parametrize("mode", ["enforce", "observe", "warn"])
def test_a_gate_that_would_stay_open_is_not_warned_of(mode, check_here, models, tmp_path):
    policy = write(tmp_path, f"mode: {mode}\n")
    ended = check_here(models / "base", tier="weights", policy=policy)
    assert (ended.code, "warning" in ended.err) == (0, False)


def test_a_policy_that_observes_warns_of_nothing(check_here, models, tmp_path):
    ended = check_here(models / "far", tier="weights", policy=write(tmp_path, "mode: observe\n"))
    assert (ended.code, "warning" in ended.err) == (0, False)
    assert ended.out.startswith("FAIL (observe mode, not enforced): ")


def test_a_waiver_for_the_registered_name_keeps_the_gate_open_and_in_sight(
    check_here, models, tmp_path
):
    policy = write(tmp_path, waiver(10))
    named = ("--registered-name", "tune")
    ended = check_here(models / "far", *named, tier="weights", policy=policy)
    assert (ended.code, ended.out.split(":")[0]) == (0, "WARN"), ended.err
    assert "Not a FAIL by waiver W-1" in ended.out
    verdict = result_of(tmp_path / "out")["verdict"]
    assert [(each["state"], each["expiring"]) for each in verdict["waivers"]] == [("waived", True)]
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "## Waivers" in report
    assert "&lt;b&gt;meant" in report
    assert "<b>" not in report
    assert "| registered as | tune |" in report


@pytest.mark.parametrize("named", [(), ("--registered-name", "other")], ids=["none", "other"])
def test_a_waiver_for_another_name_does_nothing(named, check_here, models, tmp_path):
    policy = write(tmp_path, waiver(10))
    ended = check_here(models / "far", *named, tier="weights", policy=policy)
    assert ended.code == 10
    assert result_of(tmp_path / "out")["verdict"]["waivers"] == []


def test_a_waiver_that_has_expired_does_nothing_but_be_named(check_here, models, tmp_path):
    policy = write(tmp_path, waiver(-1))
    named = ("--registered-name", "tune")
    ended = check_here(models / "far", *named, tier="weights", policy=policy)
    assert ended.code == 10
    assert "Waiver W-1 expired on " in ended.out


def test_a_block_for_the_registered_name_holds(check_here, models, tmp_path):
    block = "match:\n  - match: {model: tune}\n    limits: {sdi: {fail: 1.0}}\n"
    policy = write(tmp_path, block)
    named = ("--registered-name", "tune")
    ended = check_here(models / "far", *named, tier="weights", policy=policy)
    assert (ended.code, ended.out.split(":")[0]) == (0, "PASS"), ended.err
    assert "with what it says for model tune" in ended.out.replace("\n", " ")
    assert check_here(models / "far", tier="weights", policy=policy).code == 10


def test_the_deciding_sentence_says_where_the_limit_stands(check_here, models, tmp_path):
    policy = write(tmp_path, "")
    ended = check_here(models / "far", tier="weights", policy=policy)
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "own.yml:5." in report
    assert ended.code == 10
    origin = result_of(tmp_path / "out")["verdict"]["findings"][1]["origin"]
    assert (origin["file"], origin["line"]) == (str(policy), 5)


@pytest.mark.parametrize(
    "name",
    ["", " tune", "a\nb", "a\x1b[31m", "\ud800", "x" * 201],
    ids=["empty", "space", "break", "escape", "surrogate", "long"],
)
def test_what_is_no_name_is_refused(name, check_here, models):
    ended = check_here(models / "near", "--registered-name", name)
    assert (ended.code, ended.out) == (2, "")
    assert "is no name in a registry" in ended.err


def test_nothing_is_measured_under_a_policy_that_is_not_the_expected_one(
    check_here, models, tmp_path, monkeypatch
):
    monkeypatch.setattr(scanning_module, "run_scan", lambda *_: pytest.fail("measured"))
    other = f"sha256:{'0' * 64}"
    ended = check_here(models / "near", "--expect-policy-digest", other)
    assert (ended.code, ended.out) == (3, "")
    assert other in ended.err
    assert not (tmp_path / "out" / "result.json").exists()


_ORDER = """
import sys
import sdi_gate.cli.policy_options as options
whole = options.open_policy
def opened(*arguments):
    print({"torch", "transformers"} & set(sys.modules), file=sys.stderr)
    return whole(*arguments)
import sdi_gate.cli.main as main
main.open_policy = opened
main.main(sys.argv[1:])
"""


def test_the_policy_is_opened_before_torch_is_loaded(models, tmp_path):
    words = references(models / "base", models / "absent")
    policy = str(POLICIES / "default.yml")
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        [sys.executable, "-c", _ORDER, "check", *words, "--policy", policy, "--out", str(tmp_path)],
        check=True,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.stderr.splitlines()[0] == "set()"


@pytest.mark.parametrize(
    ("candidate", "name", "tier"),
    [
        ("hf:org/tune", None, Tier.FULL),
        ("hf:org/other", None, Tier.PROBE),
        ("hf:org/tune", "other", Tier.PROBE),
        ("file:tune", None, Tier.FULL),
        ("file:tune", "other", Tier.PROBE),
    ],
    ids=["named", "another", "registered", "nameless", "nameless and registered"],
)
def test_auto_knows_the_highest_tier_that_may_be_required_of_a_name(
    candidate, name, tier, scan_options, tmp_path
):
    block = "match:\n  - match: {model: org/tune}\n    required-tier: full\n"
    head = TIGHT.replace("required-tier: weights", "required-tier: probe")
    policy = load_policy(write(tmp_path, block, head))
    assert make_request(scan_options(candidate), policy, name).required is tier


def test_auto_knows_the_tier_that_a_family_or_a_parent_may_require(scan_options, tmp_path):
    parent = tmp_path / "parent.yml"
    block = "match:\n  - match: {family: gemma}\n    required-tier: full\n"
    parent.write_text(TIGHT + block, encoding="utf-8")
    child = write(tmp_path, "extends: ./parent.yml\nlimits: {sdi: {fail: 0.00005}}\n", HEAD)
    assert make_request(scan_options("file:x"), load_policy(child)).required is Tier.FULL
