import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from seeded import normal

from sdi_gate.signals.divergence import (
    Aggregation,
    Formula,
    Term,
    combine,
    contributions_by_layer,
    phi,
    read_term,
)
from sdi_gate.signals.interface import (
    Estimate,
    Measurement,
    Outcome,
    SignalId,
    SignalName,
    SignalResult,
    inconclusive,
    not_measured,
)

FOUR = (
    SignalName.SPECTRAL_DIVERGENCE,
    SignalName.REPRESENTATION_DRIFT,
    SignalName.CURVATURE_SHIFT,
    SignalName.WEIGHT_GEOMETRY,
)
WEIGHTS = (0.1, 0.4, 0.3, 0.2)
SCALES = (0.05, 0.3, 0.5, 0.02)
FORMULA = Formula(
    terms=tuple(
        Term(signal=name, weight=weight, scale=scale)
        for name, weight, scale in zip(FOUR, WEIGHTS, SCALES, strict=True)
    )
)
HEADLINES = st.tuples(*[st.floats(0, 1e6)] * 4)


def measured(name, value, stderr=None, layers=()):
    rows = tuple(
        Measurement(metric="m", layer=f"layers.{i}", estimate=Estimate(value=row))
        for i, row in enumerate(layers)
    )
    return SignalResult(
        id=SignalId(name=name, version=1),
        outcome=Outcome.MEASURED,
        metric="m",
        estimate=Estimate(value=value, stderr=stderr),
        measurements=rows,
    )


def results(values, stderrs=(None,) * 4, layers=((),) * 4):
    return {
        name: measured(name, value, stderr, rows)
        for name, value, stderr, rows in zip(FOUR, values, stderrs, layers, strict=True)
    }


def index(values):
    return combine(FORMULA, results(values)).estimate.value


def test_headlines_of_zero_give_exactly_zero():
    result = combine(FORMULA, results((0.0,) * 4, layers=((0.0, 0.0),) * 4))
    assert result.outcome is Outcome.MEASURED
    assert result.estimate == Estimate(value=0.0)
    assert {item.contribution for item in result.contributions} == {0.0}
    assert contributions_by_layer(result.contributions) == (("layers.0", 0.0), ("layers.1", 0.0))


@given(HEADLINES)
@example((1.7e308,) * 4)
def test_the_index_lies_between_zero_and_one(values):
    assert 0 <= index(values) <= 1


@given(HEADLINES, st.integers(0, 3), st.floats(0, 1e6))
def test_the_index_grows_with_every_headline(values, which, step):
    larger = [*values]
    larger[which] += step
    assert index(larger) >= index(values)


@given(st.tuples(*[st.floats(0, 10)] * 4), st.integers(0, 3))
def test_a_tenth_more_of_a_headline_is_seen(values, which):
    larger = [*values]
    larger[which] = larger[which] * 1.1 + 0.001
    assert index(larger) > index(values)


@given(HEADLINES, st.data())
def test_contributions_sum_to_the_index_and_layers_to_the_contributions(values, data):
    rows = [data.draw(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=5)) for _ in range(4)]
    result = combine(FORMULA, results(values, layers=rows))
    total = math.fsum(item.contribution for item in result.contributions)
    assert total == result.estimate.value
    for item in result.contributions:
        assert item.contribution == item.weight * item.phi
        assert math.fsum(share for _, share in item.by_layer) == pytest.approx(item.contribution)
    by_layer = contributions_by_layer(result.contributions)
    assert math.fsum(share for _, share in by_layer) == pytest.approx(total)


def test_layers_share_a_contribution_in_proportion_and_keep_their_order():
    layers = ((1.0, 3.0), (), (2.0, 2.0, 4.0), ())
    result = combine(FORMULA, results((0.05, 0.3, 0.5, 0.02), layers=layers))
    by_signal = [item.by_layer for item in result.contributions]
    assert [name for name, _ in by_signal[0]] == ["layers.0", "layers.1"]
    assert [share for _, share in by_signal[0]] == pytest.approx([0.0125, 0.0375])
    assert by_signal[1] == by_signal[3] == ()
    assert dict(contributions_by_layer(result.contributions)) == pytest.approx(
        {"layers.0": 0.05, "layers.1": 0.075, "layers.2": 0.075}
    )


def test_a_layer_that_does_not_count_in_the_headline_has_no_share_of_the_index():
    first, *others = results((0.1, 0.2, 0.3, 0.4), layers=((0.1, 0.3),) * 4).values()
    weighted = replace(first, layer_weights=(("layers.0", 1.0), ("layers.1", 0.0)))
    found = combine(FORMULA, {result.name: result for result in (weighted, *others)})
    item = next(item for item in found.contributions if item.signal is first.name)
    assert item.by_layer == (("layers.0", item.contribution), ("layers.1", 0.0))


def test_a_contribution_says_what_it_was_made_of():
    item = combine(FORMULA, results((0.05, 0.0, 0.0, 0.0))).contributions[0]
    assert (item.signal, item.metric, item.value) == (FOUR[0], "m", 0.05)
    assert (item.phi, item.weight, item.contribution) == (0.5, 0.1, 0.05)


@pytest.mark.parametrize("name", FOUR)
def test_a_signal_that_was_not_measured_leaves_no_index(name):
    known = results((0.1,) * 4)
    known[name] = not_measured(SignalId(name=name, version=1), "m", "no gradients on this tier")
    result = combine(FORMULA, known)
    assert (result.outcome, result.estimate) == (Outcome.NOT_MEASURED, None)
    assert result.contributions == ()
    assert result.reason == f"{name} is not-measured: no gradients on this tier"


@pytest.mark.parametrize("name", FOUR)
def test_an_inconclusive_signal_leaves_no_index(name):
    known = results((0.1,) * 4)
    known[name] = inconclusive(SignalId(name=name, version=1), "m", "NaN")
    result = combine(FORMULA, known)
    assert (result.outcome, result.estimate) == (Outcome.INCONCLUSIVE, None)
    assert result.reason == f"{name} is inconclusive: NaN"


def test_a_signal_that_is_absent_leaves_no_index():
    known = results((0.1,) * 4)
    del known[FOUR[2]]
    result = combine(FORMULA, known)
    assert result.outcome is Outcome.NOT_MEASURED
    assert result.reason == "curvature-shift is not-measured: it was not attempted"


def test_a_signal_outside_the_formula_changes_nothing():
    known = results((0.1,) * 4)
    plain = combine(FORMULA, known)
    known[SignalName.BEHAVIOUR] = measured(SignalName.BEHAVIOUR, 9.0, 1.0)
    assert combine(FORMULA, known) == plain


@given(st.tuples(*[st.floats(1e-3, 10)] * 4), st.tuples(*[st.floats(0, 1)] * 4))
def test_the_standard_error_is_propagated_to_first_order(values, stderrs):
    squares = []
    for i, stderr in enumerate(stderrs):
        step = 1e-6 * values[i]
        above, below = [*values], [*values]
        above[i] += step
        below[i] -= step
        slope = (index(above) - index(below)) / (2 * step)
        squares.append((slope * stderr) ** 2)
    expected = math.sqrt(math.fsum(squares))
    result = combine(FORMULA, results(values, stderrs))
    assert result.estimate.stderr == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_the_standard_error_is_the_spread_of_the_index():
    values, stderrs = (0.2, 0.4, 0.3, 0.05), (None, 0.004, 0.006, None)
    repetitions = 4000
    noise = normal(repetitions, 2).tolist()
    drawn = [index((0.2, 0.4 + 0.004 * a, 0.3 + 0.006 * b, 0.05)) for a, b in noise]
    centre = math.fsum(drawn) / repetitions
    spread = math.sqrt(math.fsum((x - centre) ** 2 for x in drawn) / (repetitions - 1))
    claimed = combine(FORMULA, results(values, stderrs)).estimate.stderr
    assert abs(spread / claimed - 1) < 4 / math.sqrt(2 * repetitions)


def test_signals_without_errors_give_an_index_without_one():
    assert combine(FORMULA, results((0.1,) * 4)).estimate.stderr is None


@given(value=st.floats(0, 1e300), scale=st.floats(1e-300, 1e300))
@example(value=1.7e308, scale=1.7e308)
@example(value=5e-324, scale=1e308)
@example(value=5e-324, scale=1e-300)
def test_phi_is_the_share_of_the_value_in_value_and_scale(value, scale):
    mapped = phi(value, scale)
    assert 0 <= mapped <= 1
    exact = float(Fraction(value) / (Fraction(value) + Fraction(scale)))
    assert mapped == pytest.approx(exact, rel=1e-12, abs=1e-300)


@given(scale=st.floats(1e-6, 1e6))
def test_phi_is_zero_at_zero_and_one_half_at_its_scale(scale):
    assert phi(0.0, scale) == phi(-0.0, scale) == phi(-3.0, scale) == 0.0
    assert phi(scale, scale) == 0.5
    assert math.isnan(phi(math.nan, scale))


def test_a_headline_below_zero_counts_as_zero():
    assert index((-0.5, 0.0, 0.0, 0.0)) == 0.0


@pytest.mark.parametrize(
    ("weights", "names"),
    [
        ((), ()),
        ((0.5, 0.6), FOUR[:2]),
        ((0.5, 0.4), FOUR[:2]),
        ((1.5, -0.5), FOUR[:2]),
        ((math.nan, 1.0), FOUR[:2]),
        ((1.0, math.nan), FOUR[:2]),
        ((math.inf, 0.0), FOUR[:2]),
        ((0.5, 0.5), (FOUR[0], FOUR[0])),
    ],
    ids=str,
)
def test_weights_that_make_no_index_are_refused(weights, names):
    terms = tuple(
        Term(signal=name, weight=weight, scale=1.0)
        for name, weight in zip(names, weights, strict=True)
    )
    with pytest.raises(ValueError, match="weights must be >= 0, sum to 1 and name each signal"):
        Formula(terms=terms)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan], ids=str)
def test_a_scale_that_is_not_above_zero_is_refused(scale):
    with pytest.raises(ValueError, match="scales must be finite and above 0"):
        Formula(terms=(Term(signal=FOUR[0], weight=1.0, scale=scale),))


def test_a_signal_of_weight_zero_adds_nothing_but_must_be_there():
    formula = Formula(
        terms=(
            Term(signal=FOUR[0], weight=1.0, scale=1.0),
            Term(signal=FOUR[1], weight=0.0, scale=1.0),
        )
    )
    known = results((1.0, 5.0, 0.0, 0.0))
    assert combine(formula, known).estimate.value == 0.5
    del known[FOUR[1]]
    assert combine(formula, known).outcome is Outcome.NOT_MEASURED


@given(
    value=st.floats(1e-6, 1e6), scale=st.floats(1e-6, 1e6), power=st.sampled_from([0.5, 1.5, 2, 3])
)
def test_phi_with_a_power_is_the_share_of_the_powers(value, scale, power):
    expected = value**power / (value**power + scale**power)
    assert phi(value, scale, power) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@given(value=st.floats(0, 1e300), scale=st.floats(1e-300, 1e300), power=st.floats(0.1, 20))
@example(value=1.7e308, scale=5e-324, power=20.0)
@example(value=5e-324, scale=1.7e308, power=20.0)
def test_phi_with_any_power_lies_between_zero_and_one(value, scale, power):
    assert 0.0 <= phi(value, scale, power) <= 1.0
    assert phi(scale, scale, power) == 0.5
    assert phi(0.0, scale, power) == phi(-1.0, scale, power) == 0.0
    assert math.isnan(phi(math.nan, scale, power))


@pytest.mark.parametrize("power", [0.0, -1.0, math.inf, math.nan], ids=str)
def test_a_power_that_is_not_above_zero_is_refused(power):
    with pytest.raises(ValueError, match="powers must be finite and above 0"):
        Formula(terms=(Term(signal=FOUR[0], weight=1.0, scale=1.0, power=power),))


CELLS = {("layers.0", "a"): 0.3, ("layers.0", "b"): -0.1, ("layers.1", "a"): 0.5}
STRATA = {"a": (0.4, 0.03), "b": (-0.2, 0.04), "c": (0.1, None)}


def by_strata(grid=True, whole=()):
    """A signal with a second metric m2, by stratum and perhaps by layer and stratum."""
    rows = [
        Measurement(metric="m2", stratum=name, estimate=Estimate(value=value, stderr=stderr))
        for name, (value, stderr) in STRATA.items()
    ]
    rows += [
        Measurement(metric="m2", layer=layer, estimate=Estimate(value=value))
        for layer, value in whole
    ]
    if grid:
        rows += [
            Measurement(metric="m2", layer=layer, stratum=stratum, estimate=Estimate(value=value))
            for (layer, stratum), value in CELLS.items()
        ]
    rows.append(Measurement(metric="m3", estimate=Estimate(value=0.7, stderr=0.01)))
    plain = measured(FOUR[0], 0.9, 0.1, (1.0, 2.0))
    return replace(plain, measurements=(*plain.measurements, *rows))


def term(**changes):
    return Term(**{"signal": FOUR[0], "weight": 1.0, "scale": 0.2, "metric": "m2"} | changes)


def combined(result, **changes):
    return combine(Formula(terms=(term(**changes),)), {FOUR[0]: result})


def test_a_term_takes_the_metric_and_the_aggregation_that_it_names():
    mean = read_term(term(aggregation=Aggregation.MEAN_OF_STRATA), by_strata())
    assert mean.value == pytest.approx((0.4 + 0.0 + 0.1) / 3)
    assert mean.stderr == pytest.approx(math.hypot(0.03, 0.04) / 3)
    worst = read_term(term(aggregation=Aggregation.WORST_STRATUM), by_strata())
    assert (worst.value, worst.stderr) == (0.4, 0.03)
    assert read_term(term(metric="m3"), by_strata()) == Estimate(value=0.7, stderr=0.01)
    assert read_term(term(metric=None), by_strata()) == Estimate(value=0.9, stderr=0.1)


def test_strata_that_are_all_below_zero_are_a_worst_of_zero():
    row = Measurement(metric="m2", stratum="a", estimate=Estimate(value=-1.0))
    result = replace(measured(FOUR[0], 0.9), measurements=(row,))
    assert read_term(term(aggregation=Aggregation.WORST_STRATUM), result).value == 0.0


def test_a_contribution_by_strata_is_divided_among_the_layers_of_those_strata():
    result = by_strata(whole=(("layers.0", 5.0), ("layers.1", 1.0)))
    mean = combined(result, aggregation=Aggregation.MEAN_OF_STRATA).contributions[0]
    assert (mean.metric, mean.aggregation) == ("m2", Aggregation.MEAN_OF_STRATA)
    # layers.0 has 0.3 and a stratum below 0, which counts as 0: 0.15; layers.1 has 0.5.
    assert [share / mean.contribution for _, share in mean.by_layer] == pytest.approx(
        [0.15 / 0.65, 0.5 / 0.65]
    )
    worst = combined(result, aggregation=Aggregation.WORST_STRATUM).contributions[0]
    assert [share / worst.contribution for _, share in worst.by_layer] == pytest.approx(
        [0.3 / 0.8, 0.5 / 0.8]
    )


def test_without_rows_by_layer_and_stratum_the_layers_over_all_strata_have_to_do():
    result = by_strata(grid=False, whole=(("layers.0", 1.0), ("layers.1", 3.0)))
    item = combined(result, aggregation=Aggregation.MEAN_OF_STRATA).contributions[0]
    assert [share / item.contribution for _, share in item.by_layer] == pytest.approx([0.25, 0.75])
    bare = combined(by_strata(grid=False), aggregation=Aggregation.MEAN_OF_STRATA)
    # A metric without any rows by layer is divided as the headline is.
    headline = by_strata(grid=False)
    parts = [row.estimate.value for row in headline.by_layer(headline.metric)]
    shares = [
        share / bare.contributions[0].contribution for _, share in bare.contributions[0].by_layer
    ]
    assert shares == pytest.approx([part / sum(parts) for part in parts])
    assert len(parts) == 2


@pytest.mark.parametrize("aggregation", list(Aggregation))
def test_a_metric_that_the_scan_lacks_leaves_no_index(aggregation):
    result = combined(by_strata(), metric="m4", aggregation=aggregation)
    assert (result.outcome, result.estimate) == (Outcome.NOT_MEASURED, None)
    where = "" if aggregation is Aggregation.OVERALL else " by stratum"
    assert result.reason == f"{FOUR[0]} is not-measured: the scan has no m4{where}"


def test_a_metric_without_strata_has_no_mean_of_them():
    result = combined(by_strata(), metric="m3", aggregation=Aggregation.MEAN_OF_STRATA)
    assert result.outcome is Outcome.NOT_MEASURED


@given(
    value=st.floats(1e-2, 10),
    scale=st.floats(1e-2, 10),
    power=st.sampled_from([0.5, 0.75, 1.0, 1.5, 2.0, 3.0]),
)
def test_the_standard_error_follows_the_slope_of_phi_with_its_power(value, scale, power):
    stderr = 1e-6 * value
    steps = [phi(value + side * stderr, scale, power) for side in (-1, 1)]
    result = combined(measured(FOUR[0], value, stderr), metric="m", scale=scale, power=power)
    assert result.estimate.stderr == pytest.approx((steps[1] - steps[0]) / 2, rel=1e-3, abs=1e-12)


@given(
    value=st.floats(0, 1e300), stderr=st.floats(0, 1e300), power=st.sampled_from([0.5, 1.0, 3.0])
)
@example(value=0.0, stderr=1.0, power=0.5)
@example(value=5e-324, stderr=1e300, power=3.0)
def test_the_standard_error_is_finite_for_every_power(value, stderr, power):
    result = combined(measured(FOUR[0], value, stderr), metric="m", scale=0.3, power=power)
    assert 0.0 <= result.estimate.stderr < math.inf


def test_a_weight_of_zero_says_why():
    formula = Formula(
        terms=(
            Term(signal=FOUR[0], weight=1.0, scale=1.0),
            Term(signal=FOUR[1], weight=0.0, scale=1.0, reason="it adds nothing"),
        )
    )
    items = combine(formula, results((1.0, 5.0, 0.0, 0.0))).contributions
    assert [item.reason for item in items] == [None, "it adds nothing"]
    assert [item.contribution for item in items] == [0.5, 0.0]
