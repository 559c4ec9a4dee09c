"""Plans of real models under a time budget, made anew while the scan runs; no clock is asked."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import build_base, request_of, snapshot, tiny_probe

from sdi_gate.gate import plan as plan_module
from sdi_gate.gate.budget import Budget, Rung, budget_of
from sdi_gate.gate.models import open_pair
from sdi_gate.gate.plan import make_plan
from sdi_gate.gate.rates import Rates
from sdi_gate.gate.replan import announce, announcement, replan, smaller, without_curvature
from sdi_gate.gate.request import CurvatureMethod, Settings, TierChoice
from sdi_gate.gate.tier import Machine
from sdi_gate.models.probe import MIN_KEPT
from sdi_gate.policy.facts import Tier

RICH = Machine(memory_bytes=10**15, rate=1e18)
RATES = Rates(products=1e9, exact_products=1e9, eigenvalues=1e9, reading=1e9)


def budget(seconds, rates=RATES):
    return Budget(seconds=seconds, spent_s=0.0, rates=rates)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("budget")
    base = build_base(folder / "base", seed=0)
    candidate = build_base(folder / "candidate", seed=1)
    return request_of(base, candidate), open_pair(snapshot(base), snapshot(candidate))


def plan_of(pair, seconds, **changes):
    request, weights = pair
    request = replace(request, **changes)
    made_up = None if seconds is None else budget(seconds)
    return make_plan(request, weights, made_up)


@pytest.fixture(autouse=True)
def _roomy(monkeypatch):
    monkeypatch.setattr(plan_module, "this_machine", lambda _device: RICH)


def test_a_plan_with_time_enough_is_the_plan_without_a_budget(pair):
    free, rich = plan_of(pair, None), plan_of(pair, 1e6)
    assert (rich.tokens, rich.probe, rich.settings) == (free.tokens, free.probe, free.settings)
    assert rich.decision.ran is free.decision.ran is Tier.FULL
    assert rich.cuts == free.cuts == ()
    assert rich.curvature
    assert free.outlook is None


def test_a_plan_without_a_budget_measures_nothing(pair):
    request, weights = pair
    assert budget_of(request, weights, None, 0.0) is None


def test_a_budget_knows_what_was_spent_and_what_its_own_measurement_cost(pair):
    request, weights = pair
    ticks = iter(range(10**6))
    found = budget_of(replace(request, budget_s=60.0), weights, lambda: next(ticks), 7.0)
    assert found.seconds == 60.0
    assert found.spent_s > 7.0
    assert str(found) == "1m"
    assert found.left_s == 60.0 - found.spent_s


def test_a_plan_of_no_time_is_the_weights_alone(pair):
    plan = plan_of(pair, 0.0)
    assert plan.tokens is None
    assert not plan.curvature
    assert plan.decision.ran is plan.decision.whole is Tier.WEIGHTS
    assert plan.cuts == ("no forward pass, the weights alone, to keep to the budget of 0s",)
    assert plan.probe == pair[0].probe


def test_a_plan_of_a_reduced_probe_reads_the_same_samples_of_every_stratum(pair, monkeypatch):
    probe = tiny_probe(40)
    rung = Rung(settings=pair[0].settings, curvature=False, sixteenths=4)
    monkeypatch.setattr("sdi_gate.gate.cuts.first_that_fits", lambda *_: rung)
    plan = plan_of(pair, 1.0, probe=probe)
    whole = plan_of(pair, None, probe=probe)
    kept = [probe.samples.index(sample) for sample in plan.probe.samples]
    assert kept == sorted(kept)
    assert plan.tokens.samples == tuple(whole.tokens.samples[index] for index in kept)
    assert plan.probe.strata.keys() == probe.strata.keys()
    assert min(plan.probe.strata.values()) >= MIN_KEPT
    assert plan.probe.digest != probe.digest
    assert plan.decision.whole is Tier.WEIGHTS


def test_a_tier_of_weights_has_a_forecast_and_nothing_to_cut(pair):
    plan = plan_of(pair, 1e-9, tier=TierChoice.WEIGHTS)
    assert plan.cuts == ()
    lines = announcement(plan)
    assert lines[0] == "plan: tier weights (tier weights was asked for)"
    assert lines[1].startswith("plan: about 1s of the budget of 0s, 1s of it gone: weights 1s")
    assert lines[2] == "plan: the weights alone take longer, and are measured all the same"


def test_a_lowered_plan_is_whole_up_to_the_weights(pair):
    plan = plan_of(pair, None).lowered("the weights are not finite")
    assert plan.decision.whole is Tier.WEIGHTS
    assert not plan.curvature


def test_what_will_be_done_is_said_before(pair, caplog):
    plan = without_curvature(plan_of(pair, 1e6), "there is none")
    with caplog.at_level(logging.INFO, logger="sdi_gate.gate.replan"):
        announce(plan)
    assert [record.message for record in caplog.records] == [*announcement(plan)]
    assert caplog.messages[-1] == "plan: less is measured: no curvature, for there is none"
    assert "curvature" in caplog.messages[1]


# Looking again.


def replanned(pair, seconds, elapsed_s, forward_s=None):
    plan = plan_of(pair, seconds)
    return plan, replan(plan, elapsed_s, forward_s)


def test_without_a_budget_there_is_nothing_to_look_at_again(pair):
    plan, again = replanned(pair, None, 1e9, 1e9)
    assert again is plan


def test_a_plan_that_keeps_its_time_stays(pair):
    plan = plan_of(pair, 1e6)
    assert replan(plan, 1.0, plan.outlook.forecast.probe_s / 2) is plan
    assert replan(plan, 1.0, None) is plan


def test_a_plan_without_curvature_has_nothing_left_to_cut(pair):
    plan = without_curvature(plan_of(pair, 1e6), "x")
    assert replan(plan, 1e9, 1e9) is plan


def test_a_pass_that_took_longer_than_planned_cuts_curvature(pair):
    plan = plan_of(pair, 100.0, settings=Settings(max_tokens=16, curvature_draws=8))
    planned_s = plan.outlook.forecast.probe_s / 2
    rest = plan.outlook.forecast
    slower = 90.0 / rest.curvature_s
    cut = replan(plan, 50.0, slower * planned_s)
    assert cut.settings.curvature_draws < 8
    assert cut.curvature
    assert cut.cuts[0].startswith(f"{cut.settings.curvature_draws} curvature draws for each")
    assert cut.decision.ran is Tier.FULL
    assert cut.decision.whole is Tier.PROBE
    assert cut.decision.reason == "with a budget of 1m40s this machine does no more"
    assert cut.tokens is plan.tokens


@pytest.mark.parametrize("elapsed_s", [100.0, 1e9, math.nan])
def test_where_no_time_is_left_curvature_is_not_measured(pair, elapsed_s):
    _, cut = replanned(pair, 100.0, elapsed_s)
    assert not cut.curvature
    assert cut.decision.ran is Tier.PROBE
    assert cut.cuts == ("no curvature, to keep to the budget of 1m40s",)


@given(st.floats(0, 200), st.floats(0, 200), st.floats(0, 1e6))
def test_less_time_left_never_measures_more(pair, one_s, other_s, forward_s):
    plan = plan_of(pair, 100.0)
    early, late = (replan(plan, elapsed_s, forward_s) for elapsed_s in sorted((one_s, other_s)))
    assert early.curvature >= late.curvature
    assert early.decision.ran >= late.decision.ran
    assert late.settings.curvature_draws <= plan.settings.curvature_draws


# Short of memory while it runs.


def test_a_smaller_plan_is_by_blocks_then_by_first_derivatives_then_none(pair):
    plan = plan_of(pair, None)
    by_blocks = smaller(plan, "the curvature ran out of memory")
    fisher = smaller(by_blocks, "the curvature ran out of memory")
    assert by_blocks.settings.curvature_method is CurvatureMethod.BLOCKS
    assert fisher.settings.curvature_method is CurvatureMethod.FISHER
    assert smaller(fisher, "x") is None
    for less in (by_blocks, fisher):
        assert (less.decision.ran, less.decision.whole) == (Tier.PROBE, Tier.PROBE)
        (cut,) = less.cuts
        assert cut.endswith(", for the curvature ran out of memory")


def test_a_plan_keeps_why_it_had_fewer_draws_when_memory_runs_out(pair):
    plan = replace(plan_of(pair, 100.0), asked=Settings(curvature_draws=8))
    way, draws = smaller(plan, "memory ran out").cuts
    assert way.endswith("for memory ran out")
    assert (
        draws == "2 curvature draws for each stratum instead of 8, to keep to the budget of 1m40s"
    )


def test_a_plan_in_bfloat16_takes_half_the_memory(pair):
    request, weights = pair
    sizes = [
        plan_module._workload(replace(request, dtype=dtype), weights).bytes_per_parameter
        for dtype in (torch.float32, torch.bfloat16)
    ]
    assert sizes == [4, 2]
