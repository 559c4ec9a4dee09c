import math
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdi_gate.report.numbers import count, duration, exact, number, plural, size, with_error

finite = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (0.5, "0.500"),
        (0.12345, "0.123"),
        (-0.12345, "-0.123"),
        (0.9996, "1.00"),
        (12.345, "12.3"),
        (999.6, "1000"),
        (12345.6, "12346"),
        (0.0001, "0.000100"),
        (0.00001234, "1.23e-5"),
        (1234567.0, "1.23e+6"),
        (1e300, "1.00e+300"),
        (5e-324, "5.00e-324"),
    ],
    ids=str,
)
def test_a_measured_number_has_three_significant_digits_or_all_before_the_point(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "limit", "text"),
    [
        (0.30001, 0.3, "0.30001"),
        (0.29999, 0.3, "0.29999"),
        (0.3, 0.3, "0.3"),
        (0.12345, 0.12345, "0.12345"),
        (0.99996, 1.0, "0.99996"),
        (0.31, 0.3, "0.310"),
        (0.30000000000000004, 0.3, "0.30000000000000004"),
    ],
)
def test_a_number_near_a_limit_gets_the_digits_that_tell_them_apart(value, limit, text):
    assert number(value, (limit,)) == text


@given(value=finite, limits=st.lists(finite, max_size=3))
@example(value=1.7976931348623157e308, limits=[-1.7976931348623157e308])
@example(value=5e-324, limits=[0.0, 1e-323])
def test_rounding_never_hides_or_invents_a_crossing(value, limits):
    shown = Decimal(number(value, limits))
    for limit in limits:
        assert (shown > Decimal(exact(limit))) == (value > limit)
        assert (shown < Decimal(exact(limit))) == (value < limit)


@given(value=finite, step=st.sampled_from([-math.inf, math.inf]))
def test_rounding_tells_neighbouring_floats_apart(value, step):
    limit = math.nextafter(value, step)
    if math.isfinite(limit):
        shown = Decimal(number(value, (limit,)))
        assert (shown < Decimal(exact(limit))) == (step > 0)


@given(value=finite)
def test_a_rounded_number_is_within_half_a_unit_of_its_third_digit(value):
    assert abs(Decimal(number(value)) - Decimal(repr(value))) <= abs(Decimal(repr(value))) / 200


@given(value=finite)
def test_only_an_exact_zero_is_shown_as_zero(value):
    assert (number(value) == "0") == (value == 0)


@given(value=finite)
def test_an_exact_number_reads_back_as_itself(value):
    assert float(exact(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.3, "0.3"), (1.0, "1"), (100.0, "100"), (-0.0, "0"), (1e-5, "1e-5"), (2.5e7, "2.5e+7")],
)
def test_a_limit_is_shown_as_the_policy_has_it(value, text):
    assert exact(value) == text


def test_a_standard_error_has_two_significant_digits():
    assert with_error(0.41234, 0.02134) == "0.412 ± 0.021"


def test_a_standard_error_of_zero_is_shown():
    assert with_error(0.41234, 0.0) == "0.412 ± 0"


def test_a_number_without_standard_error_stands_alone():
    assert with_error(0.41234, None) == "0.412"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (3 * 2**20, "3.00 MiB"),
        (2_471_645_608, "2.30 GiB"),
        (5 * 2**50, "5120 TiB"),
    ],
)
def test_sizes_are_in_binary_units(value, text):
    assert size(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (1.25, "1.25 s"), (60.0, "1 min 0 s"), (7384, "123 min 4 s")],
)
def test_durations_are_in_seconds_or_minutes(seconds, text):
    assert duration(seconds) == text


def test_counts_have_separators_and_a_plural():
    assert (count(1234567), plural(1, "tensor"), plural(0, "tensor")) == (
        "1,234,567",
        "1 tensor",
        "0 tensors",
    )
