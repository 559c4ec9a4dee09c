"""Build run documents for tests of their views: whole, consistent, and each with one trait."""

from sdi_gate.report.document import OriginEntry
from sdi_gate.report.runs.document import (
    ErrorEntry,
    PolicyEditEntry,
    ProposedEntry,
    RunDocument,
    RunEventEntry,
    RunPolicyEntry,
    SubjectEntry,
)
from tests.report_documents import HOSTILE_NAMES, document, failing, finding, passing, verdict

REPOSITORY = "acme/models"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
POLICY_FILE = f"{REPOSITORY}//policies/production.yml@{COMMIT}"
MANIFEST = "models/candidates.yml"


def event(**overrides):
    facts = {
        "name": "pull_request",
        "repository": REPOSITORY,
        "pull_request": 7,
        "base_sha": COMMIT,
        "head_sha": COMMIT[::-1],
        "run_url": f"https://github.example/{REPOSITORY}/actions/runs/1",
    }
    return RunEventEntry(**{**facts, **overrides})


def policy(**overrides):
    """The policy of the verdicts that tests.report_documents builds."""
    facts = {
        "reference": "policies/production.yml",
        "key": "0123456789abcdef",
        "commit": COMMIT,
        "name": "production",
        "digest": "sha256:" + "ef" * 32,
        "owner": "model-governance",
        "contact": "governance@example.com",
    }
    return RunPolicyEntry(**{**facts, **overrides})


def place(line, file=MANIFEST):
    return OriginEntry(file=file, line=line, column=5)


def subject(name="support-bot", result=None, **overrides):
    """A candidate of a manifest that passed, or whose result is another one."""
    result = passing() if result is None and "error" not in overrides else result
    facts = {
        "name": name,
        "base": "hf:org/base" if result is None else result.base.reference,
        "candidate": "hf:org/tune" if result is None else result.candidate.reference,
        "change": "changed",
        "place": place(12),
        "result": result,
    }
    return SubjectEntry(**{**facts, **overrides})


def error(message="hf:org/tune: the repository is gated", exit_code=4, hint="give hf-token"):
    return ErrorEntry(exit_code=exit_code, message=message, hint=hint)


def judged(*findings, mode="enforce", deciding=0, scale=1.0, **overrides):
    """A result whose verdict has these findings."""
    found = verdict(*findings, mode=mode, deciding=deciding, **overrides)
    return document(scale=scale, verdict=found)


def edit(**overrides):
    facts = {
        "files": ("policies/production.yml",),
        "changes": ("limits.sdi.fail: 0.6 becomes 0.9",),
        "loosens": True,
    }
    return PolicyEditEntry(**{**facts, **overrides})


def proposed(status="pass", **overrides):
    facts = {"status": status, "mode": "enforce", "rule": "limits.sdi", "reason": "sdi is small."}
    return ProposedEntry(**{**facts, **overrides})


def run(*subjects, **overrides):
    facts = {
        "schema": "sdi-gate/run/v1",
        "version": "0.1.0",
        "event": event(),
        "policy": policy(),
        "manifest": MANIFEST,
        "subjects": subjects,
    }
    return RunDocument(**{**facts, **overrides})


def mixed():
    """A failure at a line of the policy, an error, and a pass."""
    at = finding(origin=OriginEntry(file=POLICY_FILE, line=54, column=7))
    return run(
        subject("tone", passing(), place=place(5)),
        subject("support-bot", judged(at), place=place(12), change="added"),
        subject("gated", error=error(), place=place(19)),
        num_unchanged=2,
    )


def crowd(num_subjects=200, num_findings=60, mode="enforce"):
    """Many candidates with many findings each, of all statuses."""
    found = (
        *(finding(rule=f"limits.fail-{i}") for i in range(num_findings - 2)),
        finding(rule="limits.warned", status="warn", warn=0.05, fail=0.9, margin=0.05 - 0.1934),
        finding(rule="limits.passed", status="pass", warn=None, fail=0.9, margin=0.9 - 0.1934),
    )
    result = judged(*found, mode=mode)
    return run(*(subject(f"candidate-{i}", result) for i in range(num_subjects)))


def hostile():
    """Every string of a run that a stranger can choose is an attack."""
    names = HOSTILE_NAMES
    stranger = OriginEntry(file=names[2], line=3, column=1)
    found = (
        finding(rule=f"limits.{names[0]}", layer=names[4], stratum=names[1], origin=stranger),
        *(finding(rule=f"limits.{name}", reason=name) for name in names),
    )
    worst = judged(*found)
    return run(
        *(
            subject(name, worst, registered_name=name, place=place(3, name), former_base=name)
            for name in names
        ),
        *(
            subject(f"gone {name}", error=error(name, hint=name), place=place(4, name))
            for name in names
        ),
        version=names[0],
        event=event(name=names[2], repository=names[5], run_url=names[8]),
        policy=policy(reference=names[1], owner=names[3], contact=names[6]),
        manifest=names[7],
        edit=edit(files=names, changes=names, problem=names[2]),
    )


def nothing():
    """A run whose event changed no candidate."""
    return run(num_unchanged=3)


def unfinished():
    """A run that found no policy to judge by."""
    unknown = policy(name=None, digest=None, owner=None, contact=None, commit=None)
    return run(policy=unknown, error=error("policies/production.yml: not found", exit_code=3))


CASES = {
    "pass": lambda: run(subject()),
    "fail": lambda: run(subject("support-bot", failing())),
    "mixed": mixed,
    "none": nothing,
    "error": unfinished,
    "hostile": hostile,
}
