from datetime import UTC, datetime

import pytest
from scan_facts import facts_of, found, policy_of
from written_policies import write_chain

from sdi_gate.policy.evaluate import judge
from sdi_gate.policy.loader import load_policy
from sdi_gate.policy.telling.comparing import Candidates
from sdi_gate.policy.telling.explaining import explain_policy, explain_result
from sdi_gate.policy.verdict import Status
from sdi_gate.signals.interface import Estimate

NOW = datetime(2026, 1, 20, 12, tzinfo=UTC)


@pytest.fixture
def chain(tmp_path):
    return load_policy(write_chain(tmp_path))


def rule(explained, name):
    (each,) = (each for each in explained.rules if each.rule == name)
    return each


def test_every_rule_says_which_line_of_which_level_states_it(chain):
    explained = explain_policy(chain, Candidates(), now=NOW)
    places = {
        each.rule: [(explained.level_of(origin), origin.line) for origin in each.row.origins]
        for each in explained.rules
    }
    assert places == {
        "mode": [(2, 5)],
        "required-tier": [(1, 5)],
        "standard-errors": [(None, 0)],
        "notices": [(None, 0)],
        "limits.sdi": [(1, 7), (1, 7)],
        "limits.behaviour.nll-change": [(2, 8), (2, 8)],
        "limits.coverage": [(1, 8)],
        "allowed-families": [(2, 9)],
    }


def test_without_a_result_the_match_blocks_that_do_not_hold_are_told(chain):
    def others(**names):
        explained = explain_policy(chain, Candidates(**names), now=NOW)
        return [str(other.candidates) for other in explained.others]

    assert others() == ["family llama"]
    assert others(family="llama") == []
    assert others(family="llama", model="tune") == []
    assert others(family="qwen") == []
    assert others(model="tune") == ["family llama"]


def test_the_block_that_holds_states_its_limits(chain):
    explained = explain_policy(chain, Candidates(family="llama"), now=NOW)
    limit = rule(explained, "limits.behaviour.nll-change").row.limit
    assert explained.blocks == ("family llama",)
    assert (limit.warn.value, limit.fail.value) == (0.05, 0.2)
    assert (limit.fail.origin.line, limit.fail.origin.block) == (15, "family llama")


def test_a_waiver_in_force_raises_the_limit_in_sight(chain):
    waived = explain_policy(chain, Candidates(model="tune"), now=NOW)
    limit = rule(waived, "limits.behaviour.nll-change").row.limit
    assert (limit.fail.value, limit.waiver, limit.waived.value) == (0.3, "W-1", 0.15)
    late = explain_policy(chain, Candidates(model="tune"), now=NOW.replace(month=3))
    assert rule(late, "limits.behaviour.nll-change").row.limit.fail.value == 0.15
    assert [day.state for day in late.waivers] == ["expired"]


def test_a_result_is_explained_in_the_order_of_importance():
    policy = policy_of(
        {"sdi": {"fail": 0.5}, "sdi-plus": {"fail": 0.1}, "coverage": {"warn": 1.0, "fail": 0.5}}
    )
    facts = facts_of(
        sdi=Estimate(value=0.4), sdi_plus=Estimate(value=0.2), coverage=0.9, defects=("NaN.",)
    )
    explained = explain_result(policy, facts, now=NOW)
    assert [(each.rule, each.finding and each.finding.status) for each in explained.rules] == [
        ("limits.sdi-plus", Status.FAIL),
        ("defect", Status.INCONCLUSIVE),
        ("limits.coverage", Status.WARN),
        ("limits.sdi", Status.PASS),
        ("required-tier", Status.PASS),
        ("mode", None),
        ("standard-errors", None),
        ("notices", None),
    ]
    assert rule(explained, "defect").row is None


def test_the_findings_explained_are_those_of_the_verdict():
    policy = policy_of(
        {"sdi": {"warn": 0.1}, "by-stratum": {"safety": {"nll-change": {"fail": 1}}}}
    )
    facts = facts_of(sdi=Estimate(value=0.2, stderr=0.01))
    verdict = judge(policy, facts, now=NOW)
    explained = explain_result(policy, facts, now=NOW)
    findings = [each.finding for each in explained.rules if each.finding is not None]
    assert explained.verdict == verdict
    assert findings[0] == verdict.deciding
    assert sorted(findings, key=str) == sorted(verdict.findings, key=str)
    assert rule(explained, "limits.sdi").finding == found(verdict, "limits.sdi")


def test_numbers_without_a_limit_are_listed_with_their_value():
    policy = policy_of({"sdi": {"fail": 0.5}, "behaviour": {"nll-change": {"fail": 0.5}}})
    facts = facts_of(sdi_plus=Estimate(value=0.3))
    unlimited = explain_result(policy, facts, now=NOW).unlimited
    values = {each.rule: each.estimate and each.estimate.value for each in unlimited}
    assert values == {
        "limits.sdi-plus": 0.3,
        "limits.predicted-degradation.mean": None,
        "limits.signals.spectral-divergence": 0.0,
        "limits.signals.representation-drift": 0.0,
        "limits.signals.curvature-shift": 0.0,
        "limits.signals.weight-geometry": 0.0,
        "limits.behaviour.kl-divergence": 0.0,
        "limits.behaviour.top1-flip-rate": 0.0,
    }
    unmeasured = explain_result(policy, facts_of(signals=()), now=NOW).unlimited
    assert all(each.estimate is None for each in unmeasured if "behaviour" in each.rule)
    assert all(each.estimate is None for each in unmeasured if "signals" in each.rule)
    bare = explain_policy(policy, Candidates(), now=NOW).unlimited
    assert [each.rule for each in bare] == list(values)
    assert all(each.estimate is None for each in bare)
