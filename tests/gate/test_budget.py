"""What a time budget cuts, on machines and at rates that are made up."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.gate.budget import (
    MIN_DRAWS,
    WHOLE,
    Budget,
    Rung,
    duration_text,
    first_that_fits,
    ladder,
    part_of,
    smaller_settings,
)
from sdi_gate.gate.cuts import Asked, choose, curvature_cuts
from sdi_gate.gate.forecast import Forecast, forecast
from sdi_gate.gate.rates import Rates
from sdi_gate.gate.request import CurvatureMethod, Settings, TierChoice
from sdi_gate.gate.shape import llama_shape
from sdi_gate.gate.tier import Machine, ceiling_of
from sdi_gate.gate.workload import Workload
from sdi_gate.models.probe import MIN_KEPT
from sdi_gate.policy.facts import Tier

RICH = Machine(memory_bytes=10**15, rate=1.0)
RATES = Rates(products=1e13, exact_products=1e12, eigenvalues=1e11, reading=1e9)
STRATA = {"general": 120, "code": 64, "safety": 12, "odd": 5}
SEVEN = Workload(
    shape=llama_shape(7 * 10**9),
    bytes_per_parameter=2,
    strata=STRATA,
    probe_tokens=20_000,
    stored_bytes=14 * 10**9,
    settings=Settings(),
)


def seconds_of(rung, rates=RATES, work=SEVEN):
    return forecast(part_of(work, rung), rung, rates).seconds


def rung_of(*, method="joint", blocks=8, draws=8, sixteenths=WHOLE, curvature=True):
    settings = replace(
        Settings(),
        curvature_method=CurvatureMethod(method),
        curvature_blocks=blocks,
        curvature_draws=draws,
    )
    return Rung(settings=settings, curvature=curvature, sixteenths=sixteenths)


NO_CURVATURE = rung_of(curvature=False)
WEIGHTS = rung_of(curvature=False, sixteenths=0)


def bytes_of(**changes):
    rung = rung_of(**changes)
    return math.ceil(part_of(SEVEN, rung).memory(Tier.FULL).bytes_in_all)


def with_memory(memory_bytes):
    return Machine(memory_bytes=memory_bytes, rate=1.0)


def budget(seconds, spent_s=0.0):
    return Budget(seconds=seconds, spent_s=spent_s, rates=RATES)


def chosen(seconds, machine=RICH, tier="full", work=SEVEN):
    asked = Asked(tier=TierChoice(tier), required=None, work=work)
    return choose(asked, machine, budget(seconds))


# Each step in its order: the machine that can just do it does it, and a poorer one the next.

STEPS = {
    "whole": rung_of(),
    "7-draws": rung_of(draws=7),
    "2-draws": rung_of(draws=2),
    "fisher": rung_of(method="fisher"),
    "fisher-2-draws": rung_of(method="fisher", draws=2),
    "no-curvature": NO_CURVATURE,
    "15-sixteenths": rung_of(curvature=False, sixteenths=15),
    "1-sixteenth": rung_of(curvature=False, sixteenths=1),
    "weights": WEIGHTS,
}
CUTS = {
    "whole": (Tier.FULL, Tier.FULL, ()),
    "7-draws": (Tier.FULL, Tier.PROBE, ("7 curvature draws for each stratum instead of 8",)),
    "2-draws": (Tier.FULL, Tier.PROBE, ("2 curvature draws for each stratum instead of 8",)),
    "fisher": (Tier.PROBE, Tier.PROBE, ("curvature by first derivatives alone (Fisher)",)),
    "fisher-2-draws": (
        Tier.PROBE,
        Tier.PROBE,
        (
            "curvature by first derivatives alone (Fisher)",
            "2 curvature draws for each stratum instead of 8",
        ),
    ),
    "no-curvature": (Tier.PROBE, Tier.PROBE, ("no curvature",)),
    "15-sixteenths": (
        Tier.PROBE,
        Tier.WEIGHTS,
        ("no curvature", "190 probe samples instead of 201, at least 5 of every stratum"),
    ),
    "1-sixteenth": (
        Tier.PROBE,
        Tier.WEIGHTS,
        ("no curvature", "29 probe samples instead of 201, at least 5 of every stratum"),
    ),
    "weights": (Tier.WEIGHTS, Tier.WEIGHTS, ("no forward pass, the weights alone",)),
}


@pytest.mark.parametrize("step", STEPS)
def test_from_rich_to_poor_each_step_is_taken_in_its_order(step):
    found = chosen(math.ceil(seconds_of(STEPS[step])))
    ran, whole, cuts = CUTS[step]
    assert found.rung == STEPS[step]
    assert (found.rung.ran, found.whole) == (ran, whole)
    assert len(found.cuts) == len(cuts)
    for cut, words in zip(found.cuts, cuts, strict=True):
        assert cut.startswith(words)
        assert "to keep to the budget of" in cut


@pytest.mark.parametrize(
    ("memory_bytes", "rung", "words"),
    [
        (bytes_of(), rung_of(), ()),
        (bytes_of() - 1, rung_of(method="blocks"), ("curvature over 8 blocks of layers",)),
        (
            bytes_of(method="blocks") - 1,
            rung_of(method="blocks", blocks=16),
            ("curvature over 16 blocks of layers",),
        ),
        (
            bytes_of(method="blocks", blocks=32) - 1,
            rung_of(method="fisher"),
            ("curvature by first derivatives alone (Fisher)",),
        ),
        (bytes_of(method="fisher") - 1, NO_CURVATURE, ("no curvature",)),
        (10**10, WEIGHTS, ("no forward pass",)),
    ],
    ids=["whole", "8-blocks", "16-blocks", "fisher", "no-curvature", "weights"],
)
def test_where_memory_is_short_curvature_takes_less_of_it(memory_bytes, rung, words):
    found = chosen(10**9, with_memory(memory_bytes))
    assert found.rung == rung
    assert len(found.cuts) == len(words)
    assert all(cut.startswith(word) for cut, word in zip(found.cuts, words, strict=True))
    assert all(cut.endswith("for memory is short") for cut in found.cuts)


def test_short_of_memory_and_of_time_each_cut_has_its_own_reason():
    machine = with_memory(bytes_of() - 1)
    found = chosen(math.ceil(seconds_of(rung_of(method="blocks", draws=3))), machine)
    assert found.rung == rung_of(method="blocks", draws=3)
    way, draws = found.cuts
    assert way.endswith("for memory is short")
    assert draws.startswith("3 curvature draws for each stratum instead of 8")
    assert "to keep to the budget of" in draws


def test_fisher_is_for_time_where_blocks_would_have_had_the_memory():
    machine = with_memory(bytes_of() - 1)
    (cut,) = chosen(math.ceil(seconds_of(rung_of(method="fisher"))), machine).cuts
    assert "to keep to the budget of" in cut


@pytest.mark.parametrize("tier", ["probe", "weights"])
def test_what_was_not_asked_for_is_not_cut(tier):
    found = chosen(10**9, tier=tier)
    assert (found.cuts, found.whole) == ((), Tier(tier))
    assert found.reason == "the budget of 277777h46m40s suffices for it here"
    poor = chosen(0.0, tier=tier)
    assert poor.whole is Tier.WEIGHTS
    assert bool(poor.cuts) is (tier == "probe")


def test_the_weights_are_measured_whatever_the_budget():
    found = chosen(1.0)
    assert found.rung == WEIGHTS
    assert forecast(SEVEN, WEIGHTS, RATES).weights_s > 1.0
    assert found.cuts == ("no forward pass, the weights alone, to keep to the budget of 1s",)


def test_a_budget_counts_from_the_start_of_the_scan():
    needed = math.ceil(seconds_of(rung_of()))
    assert first_that_fits(SEVEN, Tier.FULL, RICH, budget(needed)) == rung_of()
    late = first_that_fits(SEVEN, Tier.FULL, RICH, budget(needed, spent_s=5.0))
    assert late == rung_of(draws=7)


def test_no_cut_says_what_was_measured_here():
    slow = replace(RATES, products=0.9 * RATES.products)
    asked = Asked(tier=TierChoice.FULL, required=None, work=SEVEN)
    needed = math.ceil(seconds_of(rung_of(draws=4), slow))
    both = [
        choose(asked, RICH, Budget(seconds=needed, spent_s=0.0, rates=rates))
        for rates in (slow, replace(slow, products=1.001 * slow.products))
    ]
    assert both[0] == both[1]
    assert both[0].reason == f"with a budget of {duration_text(needed)} this machine does no more"


# Laws.

RUNGS = tuple(ladder(SEVEN.settings, Tier.FULL, SEVEN.shape.num_layers))
SECONDS = st.floats(0, 1e6)
BYTES = st.integers(0, 10**12)


@given(SECONDS, SECONDS, BYTES, BYTES, st.sampled_from(TierChoice))
def test_more_time_and_more_memory_never_cut_more(one_s, other_s, one, other, tier):
    poor_s, rich_s = sorted((one_s, other_s))
    poor_bytes, rich_bytes = sorted((one, other))
    order = tuple(ladder(SEVEN.settings, ceiling_of(tier), SEVEN.shape.num_layers))
    poor = chosen(poor_s, with_memory(poor_bytes), tier).rung
    rich = chosen(rich_s, with_memory(rich_bytes), tier).rung
    assert order.index(rich) <= order.index(poor)
    assert rich.ran >= poor.ran
    assert rich.sixteenths >= poor.sixteenths


@given(SECONDS, BYTES)
def test_every_stratum_is_kept_with_eight_samples_or_all_it_has(seconds, memory_bytes):
    rung = chosen(seconds, with_memory(memory_bytes)).rung
    part = part_of(SEVEN, rung)
    assert part.strata.keys() == STRATA.keys()
    assert all(count >= min(MIN_KEPT, STRATA[name]) for name, count in part.strata.items())
    assert part.probe_tokens <= SEVEN.probe_tokens
    assert rung.settings.curvature_draws >= MIN_DRAWS


@given(SECONDS, BYTES, st.sampled_from(TierChoice))
def test_what_is_chosen_fits_and_what_is_cut_is_said(seconds, memory_bytes, tier):
    machine = with_memory(memory_bytes)
    found = chosen(seconds, machine, tier)
    rung = found.rung
    if rung.sixteenths:
        assert seconds_of(rung) <= seconds
        need = part_of(SEVEN, rung).memory(Tier.FULL if rung.curvature else Tier.PROBE)
        assert machine.holds(need)
    asked = Rung(
        settings=SEVEN.settings,
        curvature=ceiling_of(tier) is Tier.FULL,
        sixteenths=0 if tier is TierChoice.WEIGHTS else WHOLE,
    )
    assert bool(found.cuts) is (rung != asked)
    assert found.whole <= rung.ran
    assert bool(found.cuts) or found.whole is rung.ran


@given(st.integers(2, 12), st.integers(1, 100), st.sampled_from(Tier))
def test_the_ladder_goes_from_all_to_the_weights_and_names_nothing_twice(draws, layers, ceiling):
    rungs = tuple(ladder(Settings(curvature_draws=draws), ceiling, layers))
    assert len(set(map(repr, rungs))) == len(rungs)
    assert rungs[0].ran is ceiling
    assert rungs[-1].ran is Tier.WEIGHTS
    ranks = [rung.ran.rank for rung in rungs]
    assert ranks == sorted(ranks, reverse=True)


@pytest.mark.parametrize("rate", [math.nan, 1e-300], ids=["not-a-number", "infinite-time"])
def test_a_forecast_that_is_no_number_fits_no_budget(rate):
    rates = replace(RATES, products=rate, reading=rate)
    found = first_that_fits(SEVEN, Tier.FULL, RICH, Budget(seconds=1e9, spent_s=0.0, rates=rates))
    assert found == WEIGHTS


# Settings that take less.


def test_blocks_are_halved_until_each_is_a_layer_and_fisher_is_last():
    ways = smaller_settings(Settings(), 33)
    assert [(way.curvature_method, way.curvature_blocks) for way in ways] == [
        (CurvatureMethod.BLOCKS, 8),
        (CurvatureMethod.BLOCKS, 16),
        (CurvatureMethod.BLOCKS, 32),
        (CurvatureMethod.FISHER, 8),
    ]


def test_a_model_of_few_layers_is_still_tried_by_blocks():
    methods = [way.curvature_method for way in smaller_settings(Settings(), 2)]
    assert methods == [CurvatureMethod.BLOCKS, CurvatureMethod.FISHER]


def test_from_blocks_there_are_more_blocks_and_from_fisher_there_is_nothing():
    by_blocks = Settings(curvature_method=CurvatureMethod.BLOCKS, curvature_blocks=16)
    assert [way.curvature_blocks for way in smaller_settings(by_blocks, 33)] == [32, 16]
    assert smaller_settings(Settings(curvature_method=CurvatureMethod.FISHER), 33) == ()


def test_nothing_changed_is_no_cut():
    assert curvature_cuts(Settings(), Settings(), ("", "")) == ()
    back = curvature_cuts(Settings(curvature_method=CurvatureMethod.FISHER), Settings(), ("x", ""))
    assert back == ("curvature over all parameters at once, x",)


# Without a budget.


@pytest.mark.parametrize(
    ("changes", "tier", "rung"),
    [
        ({}, "full", rung_of()),
        ({"memory_bytes": bytes_of() - 1}, "full", rung_of(method="blocks")),
        ({"memory_bytes": bytes_of() - 1}, "probe", NO_CURVATURE),
        ({"memory_bytes": bytes_of(method="fisher") - 1}, "full", NO_CURVATURE),
        ({"memory_bytes": 10**10}, "full", WEIGHTS),
        ({"memory_bytes": bytes_of() - 1, "rate": 1.0}, "auto", WEIGHTS),
        (
            {"memory_bytes": bytes_of() - 1, "rate": SEVEN.operations(Tier.PROBE) / 599},
            "auto",
            NO_CURVATURE,
        ),
        ({"rate": SEVEN.operations(Tier.PROBE) / 599}, "auto", NO_CURVATURE),
    ],
)
def test_without_a_budget_memory_alone_changes_how_curvature_is_measured(changes, tier, rung):
    machine = replace(Machine(memory_bytes=10**15, rate=1e18), **changes)
    asked = Asked(tier=TierChoice(tier), required=None, work=SEVEN)
    found = choose(asked, machine, None)
    assert found.rung == rung
    assert found.whole is rung.ran
    blocks = rung.curvature and rung.settings.curvature_method is CurvatureMethod.BLOCKS
    assert [cut.endswith("for memory is short") for cut in found.cuts] == [True] * blocks


def test_auto_takes_its_time_over_curvature_that_a_policy_requires():
    machine = Machine(memory_bytes=bytes_of() - 1, rate=1.0)
    asked = Asked(tier=TierChoice.AUTO, required=Tier.FULL, work=SEVEN)
    assert choose(asked, machine, None).rung == rung_of(method="blocks")


# Forecasts and durations.


def test_a_forecast_is_work_over_rates():
    found = forecast(SEVEN, rung_of(), RATES)
    shape, reading = SEVEN.shape, 2 * 14.0
    assert found.loading_s == reading
    assert found.weights_s == pytest.approx(
        reading + 3 * shape.gram / 1e12 + 3 * 4 / 3 * shape.cubes / 1e11
    )
    assert found.curvature_s == pytest.approx(SEVEN.curvature_operations() / 4e12)
    assert found.seconds == pytest.approx(
        found.weights_s + found.loading_s + found.probe_s + found.outputs_s + found.curvature_s
    )
    assert forecast(SEVEN, NO_CURVATURE, RATES).curvature_s == 0
    assert forecast(SEVEN, WEIGHTS, RATES) == Forecast(weights_s=found.weights_s)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (1, "1s"), (90, "1m30s"), (600, "10m"), (5400, "1h30m"), (3601.4, "1h1s")],
)
def test_a_duration_is_written_as_a_user_writes_it(seconds, text):
    assert duration_text(seconds) == text
