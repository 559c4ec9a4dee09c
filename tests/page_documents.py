"""Build run documents for tests: whole, consistent, and each with one trait."""

from __future__ import annotations

import report_documents as docs

from sdi_gate.report.runs.document import (
    ErrorEntry,
    PolicyEditEntry,
    ProposedEntry,
    RunDocument,
    RunEventEntry,
    RunPolicyEntry,
    SubjectEntry,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HEAD = "89abcdef0123456789abcdef0123456789abcdef"
DIGEST = "sha256:" + "ef" * 32


def event(**overrides):
    facts = {
        "name": "pull_request",
        "repository": "org/tunes",
        "pull_request": 7,
        "base_sha": COMMIT,
        "head_sha": HEAD,
        "run_url": "https://github.com/org/tunes/actions/runs/123/attempts/1",
    }
    return RunEventEntry(**{**facts, **overrides})


def policy(**overrides):
    facts = {
        "reference": "policies/production.yml",
        "key": "0123456789abcdef",
        "commit": COMMIT,
        "name": "production",
        "digest": DIGEST,
        "owner": "model-governance",
        "contact": "governance@example.org",
    }
    return RunPolicyEntry(**{**facts, **overrides})


def subject(result=None, **overrides):
    facts = {
        "name": "support-bot",
        "base": None if result is None else result.base.reference,
        "candidate": "hf:org/tune" if result is None else result.candidate.reference,
        "change": "changed",
        "place": docs.origin(4, file="sdi-gate.yml"),
        "result": result,
    }
    return SubjectEntry(**{**facts, **overrides})


def run(*subjects, **overrides):
    facts = {
        "schema": "sdi-gate/run/v1",
        "version": "0.1.0",
        "event": event(),
        "policy": policy(),
        "manifest": "sdi-gate.yml",
        "num_unchanged": 2,
        "subjects": subjects,
    }
    return RunDocument(**{**facts, **overrides})


def error(**overrides):
    facts = {
        "exit_code": 4,
        "message": "hf:org/tune: the model is gated, and the token may not read it",
        "hint": "ask for access, and give the job a token as hf-token",
    }
    return ErrorEntry(**{**facts, **overrides})


def passing():
    return run(subject(docs.passing()))


def failing():
    return run(subject(docs.failing()))


def observing():
    return run(subject(docs.observing()))


def inconclusive():
    return run(subject(docs.inconclusive()))


def warned():
    return run(subject(docs.waived()))


def nothing():
    return run()


def broken():
    """Nothing could be judged: the policy could not be had."""
    message = "policies/production.yml: no such file in org/tunes at 0123456"
    known = policy(commit=None, name=None, digest=None, owner=None, contact=None)
    return run(policy=known, error=error(exit_code=3, message=message))


def predicted():
    """A result of a calibration that speaks for it, which passes."""
    verdict = docs.verdict(docs.tier_finding(), docs.coverage_finding())
    return docs.calibrated().model_copy(update={"verdict": verdict})


def several():
    """One fails, one could not be had, one has another base than before, one passes."""
    return run(
        subject(docs.passing(), name="translator", change="present"),
        subject(docs.failing(), name="support-bot"),
        subject(name="summariser", base="hf:org/base@" + COMMIT, change="added", error=error()),
        subject(predicted(), name="coder", former_base=f"hf:org/base-1@{COMMIT}"),
    )


def editing():
    """The pull request edits the policy so that what fails would pass."""
    then = ProposedEntry(
        status="warn",
        mode="enforce",
        rule="limits.behaviour.nll-change",
        reason="nll-change is 0.193, above the warning limit of 0.05.",
    )
    return run(
        subject(docs.failing(), proposed=then),
        edit=PolicyEditEntry(
            files=("policies/production.yml",),
            changes=(
                "limits.behaviour.nll-change.fail: 0.1 becomes 0.3 (looser)",
                "metadata.revision: 3 becomes 4",
            ),
            loosens=True,
        ),
    )


def hostile(names=docs.HOSTILE_NAMES):
    """Every string that a stranger can choose is an attack."""
    first = names[0]
    judged = docs.hostile()
    verdict = judged.verdict.model_copy(update={"policy_name": names[1], "policy_digest": DIGEST})
    result = judged.model_copy(update={"verdict": verdict})
    proposed = ProposedEntry(status="pass", mode="observe", rule=names[4], reason=names[5])
    subjects = [
        subject(
            name=f"{i} {name}",
            base=name,
            candidate=name,
            registered_name=name,
            former_base=name,
            former_candidate=name,
            error=error(message=name, hint=name),
        )
        for i, name in enumerate(names)
    ]
    return run(
        subject(result, name=first, former_base=names[5], proposed=proposed),
        *subjects,
        event=event(name=first, repository=names[5], run_url=names[5]),
        policy=policy(
            reference=names[5],
            name=names[1],
            owner=names[0],
            contact=names[6],
        ),
        manifest=names[2],
        edit=PolicyEditEntry(files=names, changes=names, loosens=None, problem=names[5]),
    )


CASES = {
    "pass": passing,
    "fail": failing,
    "observe": observing,
    "inconclusive": inconclusive,
    "warn": warned,
    "none": nothing,
    "error": broken,
    "several": several,
    "policy-edit": editing,
}
