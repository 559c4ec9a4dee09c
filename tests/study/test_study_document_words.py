import math

import pytest

from sdi_gate.study.document.words import (
    counted,
    difference,
    interval,
    joined,
    percent,
    plain,
    rate,
    reason,
    share,
    signed,
)
from sdi_gate.study.fit.result import IntervalEntry, RateEntry

UNDEFINED = [None, math.nan, math.inf]


@pytest.mark.parametrize("value", UNDEFINED)
def test_what_is_not_defined_is_never_a_number(value):
    entry = IntervalEntry.model_construct(value=value, lower=0.1, upper=0.2, num_pairs=9)
    counts = RateEntry.model_construct(hits=0, trials=0, value=value, lower=value, upper=value)
    assert plain(value) == signed(value) == percent(value) == "not defined"
    assert interval(entry) == difference(entry) == "not defined"
    assert rate(counts) == "none to count"
    assert share(counts) == "none (there is none to count)"


@pytest.mark.parametrize(
    ("value", "text"), [(0.834, "0.83"), (-0.001, "0.00"), (-0.5, "-0.50"), (1.0, "1.00")]
)
def test_a_number_has_two_digits_and_no_negative_zero(value, text):
    assert plain(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.016, "+0.02"), (-0.004, "0.00"), (-0.2, "-0.20")])
def test_a_difference_has_its_sign(value, text):
    assert signed(value) == text


def test_an_interval_stands_in_brackets_or_is_said_to_be_missing():
    whole = IntervalEntry(value=0.8, lower=0.7, upper=0.9, num_pairs=9)
    assert interval(whole) == "0.80 (0.70 to 0.90)"
    assert difference(whole) == "+0.80 (+0.70 to +0.90)"
    assert interval(whole.model_copy(update={"lower": None})) == "0.80 (no interval)"


def test_a_rate_tells_its_counts():
    entry = RateEntry(hits=1, trials=8, value=0.125, lower=0.003, upper=0.527)
    assert rate(entry) == "1 of 8: 12.5 % (0.3 % to 52.7 %)"
    assert share(entry) == "12.5 % (0.3 % to 52.7 %; 1 of 8)"
    assert percent(0.15) == "15 %"


@pytest.mark.parametrize(
    ("items", "text"),
    [([], "–"), (["a"], "a"), (["a", "b", "c"], "a, b and c")],  # noqa: RUF001 - the sign for nothing
)
def test_a_list_ends_with_and(items, text):
    assert joined(items) == text


def test_counts_have_a_plural():
    assert [counted(1, "base"), counted(2, "family"), counted(1200, "pair")] == [
        "1 base",
        "2 families",
        "1,200 pairs",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("measure: no room in '/srv/work/x/model.bin'", "measure: no room in '…/model.bin'"),
        ("build: llama-s-0/noise-2 is odd", "build: llama-s-0/noise-2 is odd"),
        ("see https://huggingface.co/a/b", "see https://huggingface.co/a/b"),
        ("two\nlines", "two lines"),
    ],
)
def test_a_reason_loses_the_folders_of_the_machine_and_nothing_else(text, told):
    assert reason(text) == told
