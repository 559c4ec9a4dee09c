"""Test the meet of demands: it is the meet of a lattice, and as strict as both in every thing."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_strategies import FAMILIES, MODELS, NOW, documents, facts, maybe, parse

from sdi_gate.policy.chain.allowing import common_quantisations, covers_base, covers_quantisation
from sdi_gate.policy.chain.demands import Demands, RuleLimit, Sourced, stricter, strictness
from sdi_gate.policy.chain.effective import effective
from sdi_gate.policy.chain.matching import demands_of
from sdi_gate.policy.format.provisions import AllowedBase
from sdi_gate.policy.origins import Origin
from sdi_gate.policy.verdict import Bound

NAMES = st.tuples(maybe(st.sampled_from(FAMILIES)), maybe(st.sampled_from(MODELS)))


@st.composite
def demands(draw: st.DrawFn) -> Demands:
    """Draw what a random file, with its waivers, demands of a random candidate."""
    loaded = parse(draw(documents()))
    if draw(st.booleans()):
        return effective(loaded, draw(facts()), NOW)
    family, model = draw(NAMES)
    return demands_of(loaded.levels[0], family=family, model=model)


def bare(value: Any) -> Any:
    """Return demands without origins and without the names of waivers."""
    if isinstance(value, Sourced):
        return bare(value.value)
    if isinstance(value, tuple):
        return tuple(bare(item) for item in value)
    if is_dataclass(value):
        return {
            field.name: bare(getattr(value, field.name))
            for field in fields(value)
            if field.name != "waiver"
        }
    return value


@given(demands())
def test_the_stricter_of_two_equal_demands_is_the_same(a: Demands):
    assert stricter(a, a) == a


@given(demands(), demands())
def test_which_demands_come_first_changes_nothing_but_origins(a: Demands, b: Demands):
    assert bare(stricter(a, b)) == bare(stricter(b, a))


@given(demands(), demands(), demands())
def test_in_which_order_three_demands_meet_changes_nothing(a: Demands, b: Demands, c: Demands):
    assert bare(stricter(stricter(a, b), c)) == bare(stricter(a, stricter(b, c)))


def assert_at_least_as_strict(strict: Demands, other: Demands) -> None:
    assert strict.mode.value.rank >= other.mode.value.rank
    assert strict.required_tier.value.rank >= other.required_tier.value.rank
    assert strict.standard_errors.value >= other.standard_errors.value
    assert (strict.notices.value, other.notices.value) != ("warn", "fail")
    for limit in other.limits:
        found = strict.limit(limit.path)
        assert found is not None
        assert_limit_at_least_as_strict(found, limit)
    assert set(bare(other.parameters)) <= set(bare(strict.parameters))
    if other.calibration_families is not None:
        assert strict.calibration_families is not None
        assert strict.calibration_families.value >= other.calibration_families.value
    for key in ("formats", "families"):
        if (allowed := getattr(other, key)) is not None:
            assert getattr(strict, key).value <= allowed.value
    if other.bases is not None:
        assert strict.bases is not None
        for base in strict.bases.value:
            assert any(covers_base(known, base) for known in other.bases.value)
    if other.quantisations is not None:
        assert strict.quantisations is not None
        for entry in strict.quantisations.value:
            assert any(covers_quantisation(known, entry) for known in other.quantisations.value)
    if other.maximum_age_days is not None:
        assert strict.maximum_age_days is not None
        assert strict.maximum_age_days.value <= other.maximum_age_days.value


def assert_limit_at_least_as_strict(strict: RuleLimit, other: RuleLimit) -> None:
    rank = strictness(other.bound)
    if other.fail is not None:
        assert strict.fail is not None
        assert rank(strict.fail.value) >= rank(other.fail.value)
    if other.warn is not None:
        first = strict.warn or strict.fail
        assert first is not None
        assert rank(first.value) >= rank(other.warn.value)
    if other.confidence is not None:
        assert strict.confidence is not None
        assert strict.confidence.value >= other.confidence.value


@given(demands(), demands())
def test_the_stricter_is_at_least_as_strict_as_both_in_everything(a: Demands, b: Demands):
    for other in (a, b):
        assert_at_least_as_strict(stricter(a, b), other)


def here(value: Any, line: int) -> Sourced[Any]:
    return Sourced(value, Origin(file="p.yml", line=line, column=1))


def limit(line: int, **steps: float | None) -> RuleLimit:
    known = {key: here(step, line) for key, step in steps.items() if step is not None}
    return RuleLimit(path=("limits", "sdi"), bound=Bound.UPPER, **known)


BASE = demands_of(
    parse(
        {
            "apiVersion": "sdi-gate/v1",
            "kind": "Policy",
            "metadata": {"name": "trial"},
            "limits": {"sdi": {"fail": 0.5}},
        }
    ).levels[0],
    family="",
    model="",
)


def meet(a: RuleLimit, b: RuleLimit) -> RuleLimit:
    (found,) = stricter(replace(BASE, limits=(a,)), replace(BASE, limits=(b,))).limits
    return found


def test_each_step_is_taken_from_where_it_is_stricter():
    found = meet(limit(1, warn=0.1, fail=0.5), limit(2, warn=0.2, fail=0.4))
    assert found == replace(limit(1, warn=0.1), fail=here(0.4, 2))


def test_of_equal_steps_the_first_is_named():
    assert meet(limit(1, fail=0.5), limit(2, fail=0.5)) == limit(1, fail=0.5)


@pytest.mark.parametrize("fail", [0.3, 0.2], ids=["equal", "earlier"])
def test_a_warning_that_a_failure_comes_before_is_dropped(fail: float):
    assert meet(limit(1, warn=0.3, fail=0.5), limit(2, fail=fail)) == limit(2, fail=fail)


def waived(line: int, fail: float, original: float, name: str) -> RuleLimit:
    return replace(limit(line, warn=original, fail=fail), waiver=name, waived=here(original, line))


def test_a_waiver_of_one_file_is_told_as_long_as_it_changes_anything():
    found = meet(waived(1, 0.6, 0.3, "W-1"), limit(2, fail=0.5))
    assert (found.waiver, bare(found.waived), bare(found.fail)) == ("W-1", 0.3, 0.5)


@pytest.mark.parametrize("fail", [0.3, 0.2], ids=["equal", "stricter"])
def test_a_waiver_that_another_file_leaves_nothing_of_is_not_told(fail: float):
    assert meet(waived(1, 0.6, 0.3, "W-1"), limit(2, fail=fail)) == limit(2, fail=fail)


def test_of_two_waivers_the_one_with_the_stricter_limit_is_told():
    first, second = waived(1, 0.6, 0.3, "W-1"), waived(2, 0.8, 0.2, "W-2")
    for pair in ((first, second), (second, first)):
        found = meet(*pair)
        assert (found.waiver, bare(found.waived), bare(found.fail)) == ("W-2", 0.2, 0.6)


def test_a_default_gives_way_to_a_statement_that_says_the_same():
    default = Sourced(BASE.mode.value, Origin(file="p.yml"))
    silent = replace(BASE, mode=default)
    stated = replace(BASE, mode=here(BASE.mode.value, 7))
    assert stricter(silent, stated).mode.origin.line == 7
    assert stricter(stated, silent).mode.origin.line == 7


def test_two_values_of_one_parameter_are_both_demanded():
    zero, one = (replace(BASE, parameters=(("seed", here(v, 1)),)) for v in "01")
    assert bare(stricter(one, zero).parameters) == (("seed", "0"), ("seed", "1"))


def test_a_type_of_a_quantisation_is_what_two_lists_have_in_common():
    wide, narrow = frozenset({"bitsandbytes", "none"}), frozenset({"bitsandbytes-nf4", "fp8"})
    assert common_quantisations(wide, narrow) == {"bitsandbytes-nf4"}


def test_bases_meet_in_what_both_give():
    digest = "sha256:" + "a" * 64
    named = replace(BASE, bases=here((AllowedBase(name="org/x"), AllowedBase(name="org/y")), 1))
    measured = replace(BASE, bases=here((AllowedBase(digest=digest),), 2))
    found = stricter(named, measured).bases
    assert found is not None
    assert found.value == tuple(AllowedBase(name=n, digest=digest) for n in ("org/x", "org/y"))


def test_bases_that_differ_have_nothing_in_common():
    x, y = (replace(BASE, bases=here((AllowedBase(name=n),), 1)) for n in ("org/x", "org/y"))
    assert bare(stricter(x, y).bases) == ()


def test_where_one_says_nothing_on_coverage_all_must_be_compared():
    lower = RuleLimit(path=("limits", "coverage"), bound=Bound.LOWER, fail=here(0.5, 1))
    states = replace(BASE, limits=(lower,), silent_on_coverage=False)
    silent = replace(BASE, limits=(), silent_on_coverage=True)
    for pair in ((states, silent), (silent, states)):
        found = stricter(*pair)
        assert bare(found.limits)[0]["fail"] == 1.0
        assert not found.silent_on_coverage
