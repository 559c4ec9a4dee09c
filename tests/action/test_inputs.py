"""The inputs of the action: what a workflow can write, and what it is told otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdi_gate.action.declared import given_secrets
from sdi_gate.action.inputs import (
    KNOWN_INPUTS,
    ActionInputs,
    Command,
    CommentMode,
    read_inputs,
)
from sdi_gate.errors import UsageError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PAIR = {"policy": "policies/p.yml", "candidate": "hf:org/tune", "base": "hf:org/base"}
MANIFEST = {"policy": "policies/p.yml", "manifest": "models.yml"}
COMMENT = {
    "policy": "policies/p.yml",
    "command": "comment",
    "run": "there/run.json",
    "github-token": "gh-canary",
}
DIGEST = f"sha256:{'ab' * 32}"


def dashed(given):
    """Return the variables of a runner that starts a container."""
    return {f"INPUT_{name.upper()}": value for name, value in given.items()}


def underscored(given):
    return {key.replace("-", "_"): value for key, value in dashed(given).items()}


FORMS = pytest.mark.parametrize("form", [dashed, underscored], ids=["dashed", "underscored"])


def refused(given, *, form=underscored, command=None):
    with pytest.raises(UsageError, match=r".") as caught:
        read_inputs(form(given), command)
    assert caught.value.hint
    return caught.value.message


@FORMS
def test_every_input_arrives_in_either_form(form):
    found = read_inputs(
        form(
            PAIR
            | {
                "command": "judge",
                "registered-name": "support bot",
                "expect-policy-digest": DIGEST,
                "minimum-policy-revision": "7",
                "policy-public-key": "-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----",
                "policy-token": "t1",
                "github-token": "t2",
                "hf-token": "t3",
                "mlflow-tracking-uri": "https://mlflow.example.com",
                "mlflow-tracking-token": "t4",
                "tier": "probe",
                "budget": "1h30m",
                "device": "cuda",
                "threads": "3",
                "cache": "/srv/cache",
                "comment": "on-failure",
                "comment-author": "gate[bot]",
                "out": "/tmp/out",  # noqa: S108 - nothing is written
                "sarif": "true",
                "junit": "true",
                "check-run": "true",
            }
        )
    )
    assert found == ActionInputs(
        policy="policies/p.yml",
        base="hf:org/base",
        candidate="hf:org/tune",
        registered_name="support bot",
        expect_policy_digest=DIGEST,
        minimum_policy_revision=7,
        policy_public_key="-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----",
        policy_token="t1",  # noqa: S106 - nobody's
        github_token="t2",  # noqa: S106
        hf_token="t3",  # noqa: S106
        mlflow_tracking_uri="https://mlflow.example.com",
        mlflow_tracking_token="t4",  # noqa: S106
        tier="probe",
        budget_s=5400.0,
        device="cuda",
        threads=3,
        cache=Path("/srv/cache"),
        comment=CommentMode.ON_FAILURE,
        comment_author="gate[bot]",
        out=Path("/tmp/out"),  # noqa: S108
        sarif=True,
        junit=True,
        check_run=True,
    )


@FORMS
def test_an_empty_input_is_one_that_was_not_given(form):
    given = dict.fromkeys(KNOWN_INPUTS, "")
    checks = ("expect-policy-digest", "minimum-policy-revision", "policy-public-key")
    # As a composite action gives those that a workflow does not.
    given |= dict.fromkeys(checks, "none")
    assert read_inputs(form(given | MANIFEST)) == ActionInputs(
        policy="policies/p.yml", manifest="models.yml"
    )


@FORMS
@pytest.mark.parametrize(
    "name", ["expect-policy-digest", "minimum-policy-revision", "policy-public-key"]
)
def test_a_check_of_the_policy_that_a_workflow_gives_empty_is_refused(name, form):
    assert f"{name}: given and empty" in refused(MANIFEST | {name: " "}, form=form)


def test_white_space_around_an_input_does_not_count():
    found = read_inputs(
        underscored({"policy": " p.yml\n", "manifest": "\tm.yml ", "sarif": " true"})
    )
    assert (found.policy, found.manifest, found.sarif) == ("p.yml", "m.yml", True)


def test_two_forms_of_an_input_must_say_the_same():
    both = {"INPUT_HF-TOKEN": "canary-1", "INPUT_HF_TOKEN": "canary-1"}
    assert read_inputs(underscored(MANIFEST) | both).hf_token == "canary-1"  # noqa: S105
    with pytest.raises(UsageError, match="hf-token: given twice") as caught:
        read_inputs(underscored(MANIFEST) | both | {"INPUT_HF_TOKEN": "canary-2"})
    assert "canary" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "near"),
    [("polcy", "policy"), ("expect-digest", "expect-policy-digest"), ("comments", "comment")],
)
@FORMS
def test_an_input_that_does_not_exist_is_refused_with_the_one_that_may_be_meant(name, near, form):
    told = refused(MANIFEST | {name: "x"}, form=form)
    assert f"'{name}' is no input" in told
    assert near in told


def test_what_the_runner_and_the_launcher_read_is_no_stranger():
    others = {"args": "judge", "entrypoint": "/x", "image": "registry.example.com/x"}
    assert read_inputs(underscored(MANIFEST | others)).manifest == "models.yml"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("tier", "fast", "expected weights, probe, full or auto; got 'fast'"),
        ("device", "gpu", "expected auto, cpu or cuda"),
        ("comment", "sometimes", "expected always, on-failure or never"),
        ("command", "gate", "expected judge or comment"),
        ("sarif", "yes", "expected true or false"),
        ("junit", "True", "expected true or false"),
        ("check-run", "1", "expected true or false"),
        ("budget", "soon", "expected a duration from 1s to a week, such as 10m"),
        ("threads", "0", "a whole number from 1 to 1024"),
        ("threads", "1025", "a whole number from 1 to 1024"),
        ("threads", "٣", "a whole number"),
        ("threads", "9" * 5000, "a whole number"),
        ("minimum-policy-revision", "-1", "a whole number"),
        ("expect-policy-digest", "sha256:AB", "expected sha256: and 64 digits"),
        ("expect-policy-digest", "off", "expected sha256: and 64 digits"),
        ("comment-author", "a b", "expected a login"),
        ("cache", "a\x1b[0mb", "expected a path"),
        ("registered-name", "a\nb", "printable characters"),
        ("candidate", "org/tune", "not a model reference"),
        ("base", "hf:", "not a model reference"),
    ],
)
def test_a_value_that_cannot_be_used_is_told_with_what_was_expected(name, value, expected):
    given = PAIR if name in {*PAIR, "registered-name"} else MANIFEST
    told = refused(given | {name: value})
    assert told.startswith(f"{name}: ")
    assert expected in told
    assert all(char.isprintable() or char == "\n" for char in told)
    assert len(told) < 500


@pytest.mark.parametrize(
    "name", ["policy-token", "github-token", "hf-token", "mlflow-tracking-token"]
)
@pytest.mark.parametrize("value", ["canary one", "canary\nX-Header: 1", "canary\x00", "canaryé"])
def test_a_secret_that_no_header_can_hold_is_refused_and_not_shown(name, value):
    told = refused(MANIFEST | {name: value})
    assert told.startswith(f"{name}: holds")
    assert "canary" not in told


def test_all_problems_are_told_at_once():
    told = refused({"tier": "x", "budget": "y", "polcy": "z"})
    assert told.startswith("5 problems")
    names = ("tier: ", "budget: ", "'polcy' is", "policy: required", "candidate or manifest: ")
    assert [line.startswith(name) for line, name in zip(told.split("\n")[1:], names, strict=True)]
    assert all(name in told for name in names)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"manifest": "m.yml"}, "policy: required"),
        ({"policy": "p.yml"}, "candidate or manifest: one is required"),
        (PAIR | MANIFEST, "candidate and manifest: give one of them"),
        ({"policy": "p.yml", "base": "hf:org/base"}, "base: given without candidate"),
        (MANIFEST | {"registered-name": "x"}, "registered-name: given without candidate"),
        (MANIFEST | {"run": "run.json"}, "run: only for command comment"),
        ({**COMMENT, "policy": ""}, "policy: required"),
        ({**COMMENT, "run": ""}, "run: required"),
        ({**COMMENT, "github-token": ""}, "github-token: required"),
        (COMMENT | {"manifest": "m.yml"}, "manifest: not for command comment"),
        (COMMENT | {"expect-policy-digest": DIGEST}, "expect-policy-digest: not for command"),
        (COMMENT | {"comment": "never"}, "comment: never leaves nothing to do"),
    ],
)
def test_inputs_that_do_not_go_together_are_refused(given, expected):
    assert expected in refused(given)


def test_a_base_with_a_manifest_is_the_base_that_every_entry_must_have():
    assert read_inputs(underscored(MANIFEST | {"base": "hf:org/base"})).base == "hf:org/base"


def test_the_command_line_says_the_command_before_the_input_does():
    assert read_inputs(underscored(COMMENT)).command is Command.COMMENT
    assert read_inputs(underscored(COMMENT | {"command": ""}), "comment").command is Command.COMMENT
    assert "run: only" in refused(COMMENT | {"manifest": "m.yml"}, command="judge")


def test_secrets_are_not_in_the_text_of_the_inputs():
    tokens = {name: "canary" for name in KNOWN_INPUTS if name.endswith("-token")}
    given = MANIFEST | tokens | {"mlflow-tracking-uri": "https://u:canary@mlflow.example.com"}
    assert "canary" not in repr(read_inputs(underscored(given)))


@FORMS
def test_secrets_are_found_whatever_else_is_wrong(form):
    given = {
        "hf-token": " one ",
        "github-token": "two\nthree",
        "mlflow-tracking-uri": "https://user:four@mlflow.example.com/x@y",
        "mlflow-tracking-token": "",
        "polcy": "no-secret",
        "policy-token": "one",
    }
    found = given_secrets(form(given) | {"HF_TOKEN": "five", "PATH": "no-secret"})
    assert sorted(found) == ["five", "four", "one", "three", "two"]
