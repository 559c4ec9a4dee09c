"""Rounding told from drift, by law, and the ways in which an update could pass for rounding."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.models.rounding import Rounded, reconcile

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
FINER = [
    (torch.float64, torch.float32),
    (torch.float64, torch.bfloat16),
    (torch.float32, torch.float16),
    (torch.float32, torch.bfloat16),
]
SEEDS = st.integers(0, 10**6)


def numbers(*shape, seed=0, dtype=torch.float32, scale=0.02):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def squares(a, b):
    """Sum by hand, number by number."""
    pairs = zip(a.reshape(-1).tolist(), b.reshape(-1).tolist(), strict=True)
    return math.fsum((x - y) ** 2 for x, y in pairs)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@given(seed=SEEDS)
def test_a_pair_of_one_type_is_left_alone(dtype, seed):
    base, candidate = numbers(7, seed=seed, dtype=dtype), numbers(7, seed=seed + 1, dtype=dtype)
    found = reconcile(base, candidate)
    assert found.base is base
    assert found.candidate is candidate
    assert found.rounded is None
    assert found.floor_squares == 0.0


@pytest.mark.parametrize(("fine", "coarse"), FINER, ids=str)
@given(seed=SEEDS)
def test_saved_in_a_coarser_type_nothing_is_left_and_the_floor_is_what_was_lost(fine, coarse, seed):
    base = numbers(40, 3, seed=seed, dtype=fine)
    candidate = base.to(coarse)
    found = reconcile(base, candidate)
    assert found.rounded is Rounded.BASE
    assert torch.equal(found.base, found.candidate)
    assert found.floor_squares == pytest.approx(squares(base, candidate), rel=1e-12)
    assert found.floor_squares > 0.0


@pytest.mark.parametrize(("fine", "coarse"), FINER, ids=str)
@given(seed=SEEDS)
def test_saved_in_a_finer_type_nothing_is_left_and_nothing_was_lost(fine, coarse, seed):
    base = numbers(40, 3, seed=seed, dtype=coarse)
    found = reconcile(base, base.to(fine))
    assert torch.equal(found.base.to(fine), found.candidate.to(fine))
    assert found.floor_squares == 0.0


@pytest.mark.parametrize(("fine", "coarse"), FINER, ids=str)
@given(seed=SEEDS)
def test_the_original_of_a_rounded_base_equals_it(fine, coarse, seed):
    original = numbers(64, 64, seed=seed, dtype=fine)
    found = reconcile(original.to(coarse), original)
    assert found.rounded is Rounded.CANDIDATE
    assert torch.equal(found.base, found.candidate)
    assert found.floor_squares == pytest.approx(squares(original, original.to(coarse)), rel=1e-12)


@given(seed=SEEDS, share=st.floats(0.01, 2.0))
def test_training_in_the_coarser_type_is_all_that_is_left(seed, share):
    base = numbers(64, seed=seed)
    trained = (base.bfloat16().float() + share * numbers(64, seed=seed + 1)).bfloat16()
    found = reconcile(base, trained)
    assert torch.equal(found.base, base.bfloat16())
    assert torch.equal(found.candidate, trained)


# What hides below the rounding.


def below(base, how):
    """Move numbers of a bfloat16 tensor by a share of their step, so that they round back."""
    wide = base.float()
    step = torch.exp2(torch.frexp(wide).exponent.float() - 8)
    # Away from zero: towards it the step is half as long where a number is a power of two.
    return wide + how(step) * torch.sign(wide)


HIDDEN = {
    "shifted": lambda step: 0.4 * step,
    "faint": lambda step: 0.1 * step * torch.sign(numbers(*step.shape)),
    "sparse": lambda step: torch.where(step == step.amin(), 0.45 * step, 0.0),
    "one row": lambda step: torch.cat([0.49 * step[:1], 0 * step[1:]]),
}


@pytest.mark.parametrize("how", HIDDEN.values(), ids=HIDDEN.keys())
@given(seed=SEEDS)
def test_an_update_below_the_rounding_that_is_not_spread_like_rounding_counts(how, seed):
    base = numbers(64, 64, seed=seed, dtype=torch.bfloat16)
    candidate = below(base, how)
    assert torch.equal(candidate.bfloat16(), base)
    found = reconcile(base, candidate)
    assert found.rounded is None
    assert found.base is base
    assert found.candidate is candidate


def test_one_number_that_does_not_round_back_brings_the_whole_tensor_back():
    original = numbers(64, 64)
    base = original.bfloat16()
    candidate = original.clone()
    candidate[3, 4] *= 1.5
    found = reconcile(base, candidate)
    assert found.rounded is None
    assert torch.equal(found.candidate, candidate)


def test_ones_are_ones_in_every_type():
    for ours, theirs in itertools.permutations(FLOATS, 2):
        found = reconcile(torch.ones(16, dtype=ours), torch.ones(16, dtype=theirs))
        assert torch.equal(found.base.double(), found.candidate.double())
        assert found.floor_squares == 0.0


def test_zeros_have_no_step_and_what_rounds_to_them_is_below_every_step():
    base = numbers(64, 64, dtype=torch.bfloat16)
    base[:32] = 0.0
    candidate = base.float()
    candidate[0, 0] = 1e-45
    assert candidate[0, 0].item() > 0.0
    found = reconcile(base, candidate)
    difference = (found.candidate.double() - found.base.double()).abs().amax().item()
    assert difference <= 2e-45


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_where_it_is(number):
    for ours, theirs in itertools.permutations(FLOATS, 2):
        base = numbers(4, dtype=ours)
        candidate = base.to(theirs)
        candidate[2] = number
        found = reconcile(base, candidate)
        assert math.isfinite(found.floor_squares)
        assert not math.isfinite(found.candidate[2].item())


def test_a_number_too_large_for_the_candidates_type_is_not_hidden():
    base = torch.tensor([1.0, 1e5])
    candidate = base.half()
    found = reconcile(base, candidate)
    assert math.isinf(found.candidate[1].item())


@pytest.mark.parametrize("other", [torch.int64, torch.uint8, torch.float8_e4m3fn], ids=str)
def test_types_that_are_no_plain_floats_are_left_alone(other):
    base, candidate = torch.ones(3), torch.ones(3).to(other)
    found = reconcile(base, candidate)
    assert found.base is base
    assert found.candidate is candidate


@pytest.mark.parametrize("count", [1, 4, 16, 64])
@given(seed=SEEDS)
def test_a_short_vector_is_the_original_of_its_rounded_self_too(count, seed):
    original = numbers(count, seed=seed)
    found = reconcile(original.bfloat16(), original)
    assert torch.equal(found.base, found.candidate)


@given(seed=SEEDS)
def test_numbers_below_the_smallest_normal_one_round_in_steps_of_one_size(seed):
    original = numbers(64, 64, seed=seed, scale=1e-5)
    found = reconcile(original.half(), original)
    assert found.rounded is Rounded.CANDIDATE


@given(seed=SEEDS)
def test_saved_in_float16_after_bfloat16_what_got_lost_is_the_floor(seed):
    base = numbers(64, seed=seed, dtype=torch.bfloat16, scale=1e-5)
    found = reconcile(base, base.half())
    assert torch.equal(found.base, found.candidate)
    assert found.floor_squares == pytest.approx(squares(base, base.half()), rel=1e-12)


def test_moving_every_number_away_from_zero_by_the_energy_of_rounding_counts():
    base = numbers(64, 64, dtype=torch.bfloat16)
    candidate = below(base, lambda step: 12**-0.5 * step)
    assert torch.equal(candidate.bfloat16(), base)
    assert reconcile(base, candidate).rounded is None
