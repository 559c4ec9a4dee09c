"""Whatever a policy makes of a scan fits into a result document, which refuses contradictions."""

from datetime import UTC, datetime

import report_documents as docs
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.gate.result import Judgement
from sdi_gate.policy.evaluate import judge
from sdi_gate.policy.facts import Facts, ModelIdentity, Tier
from sdi_gate.policy.loader import load_policy
from sdi_gate.report.verdicts import verdict_entry
from sdi_gate.report.view import build_view
from sdi_gate.signals.interface import (
    Estimate,
    Measurement,
    Outcome,
    SignalId,
    SignalName,
    SignalResult,
)

PARENT = """
apiVersion: sdi-gate/v1
kind: Policy
metadata: {name: parent}
mode: %s
required-tier: weights
notices: %s
limits:
  sdi: {warn: %r, fail: %r}
  behaviour: {nll-change: {fail: %r}}
  by-stratum: {code: {nll-change: {fail: 0.4}}}
maximum-waiver-days: 90
waivers:
  - {id: W-1, owner: a, reason: b, approved-by: c, granted: 2026-01-01, expires: 2026-01-20,
     model: tune, metric: sdi, limit: %r}
  - {id: W-2, owner: a, reason: b, approved-by: c, granted: 2026-01-01, expires: 2026-01-10,
     model: tune, metric: behaviour.nll-change, limit: %r}
"""
CHILD = """
apiVersion: sdi-gate/v1
kind: Policy
metadata: {name: child}
extends: ./parent.yml
mode: enforce
maximum-age: 5.0
allowed-families: [llama]
limits:
  sdi: {fail: %r}
maximum-waiver-days: 60
waivers:
  - {id: W-1, owner: a, reason: b, approved-by: c, granted: 2026-01-01, expires: 2026-01-15,
     model: tune, metric: sdi, limit: %r}
"""
SHARES = st.lists(st.integers(1, 999), min_size=7, max_size=7, unique=True).map(
    lambda found: [each / 1000 for each in sorted(found)]
)


def signal(value, stderr, stratum):
    row = Estimate(value=stratum, stderr=stderr)
    return SignalResult(
        id=SignalId(name=SignalName.BEHAVIOUR, version=1, parameters=()),
        outcome=Outcome.MEASURED,
        metric="nll-change",
        estimate=Estimate(value=value, stderr=stderr),
        measurements=(Measurement(metric="nll-change", estimate=row, stratum="code"),),
    )


CASES = st.fixed_dictionaries(
    {
        "steps": SHARES,
        "sdi": st.none() | st.floats(0, 1),
        "change": st.floats(-1, 1),
        "stderr": st.none() | st.floats(0, 0.5),
        "name": st.sampled_from(["tune", "other", None]),
        "day": st.integers(1, 28),
        "mode": st.sampled_from(["observe", "warn", "enforce"]),
        "notices": st.sampled_from(["warn", "fail"]),
        "family": st.sampled_from(["llama", "qwen", None]),
    }
)


def facts_in(case):
    sdi, stderr = case["sdi"], case["stderr"]
    return Facts(
        tier=Tier.FULL,
        coverage=1.0,
        sdi=None if sdi is None else Estimate(value=sdi, stderr=stderr),
        sdi_plus=None,
        signals=(signal(case["change"], stderr, case["change"] / 2),),
        notices=("a notice",),
        candidate=ModelIdentity(reference="file:x"),
        family=case["family"],
        registered_name=case["name"],
        measured_at=datetime(2026, 1, 8, tzinfo=UTC),
    )


@given(case=CASES)
def test_every_verdict_fits_into_a_document(tmp_path_factory, case):
    folder = tmp_path_factory.getbasetemp() / "chain"
    folder.mkdir(exist_ok=True)
    warn, child_fail, fail, child_raised, raised, nll, nll_raised = case["steps"]
    steps = (warn, fail, nll, raised, nll_raised)
    parent = PARENT % (case["mode"], case["notices"], *steps)
    (folder / "parent.yml").write_text(parent, encoding="utf-8")
    (folder / "child.yml").write_text(CHILD % (child_fail, child_raised), encoding="utf-8")
    for file in ("parent.yml", "child.yml"):
        policy = load_policy(folder / file)
        now = datetime(2026, 1, case["day"], 12, tzinfo=UTC)
        verdict = judge(policy, facts_in(case), now=now)
        entry = verdict_entry(Judgement(policy=policy, verdict=verdict))
        assert entry.exit_code == verdict.exit_code
        assert [found.to_finding() for found in entry.findings] == list(verdict.findings)
        build_view(docs.document(verdict=entry))
