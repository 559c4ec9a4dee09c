import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seeded import FLOATS, normal

from sdi_gate.signals import behaviour as module
from sdi_gate.signals.behaviour import SampleBehaviour, behaviour, compare_predictions
from sdi_gate.signals.interface import Outcome

SEEDS = st.integers(0, 2**32)


def targets(t, v, seed=0):
    return torch.randint(0, v, (t,), generator=torch.Generator().manual_seed(seed))


def compare(P, Q, seed=0):
    return compare_predictions(P, Q, targets(*P.shape, seed))


def sample(stratum="code", kl=0.0, base=1.0, candidate=1.0, flips=0.0):
    return SampleBehaviour(
        stratum=stratum,
        kl_nats=kl,
        base_nll_nats=base,
        candidate_nll_nats=candidate,
        flip_rate=flips,
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (5, 2), (3, 1001)], ids=str)
def test_equal_logits_differ_by_exactly_zero(dtype, shape):
    P = 5 * normal(*shape, dtype=dtype)
    for Q in (P, P.clone(), P.double(), P.T.contiguous().T):
        result = compare(P, Q)
        assert not bool(result.kl_nats.any())
        assert not bool(result.flips.any())
        assert torch.equal(result.base_nll_nats, result.candidate_nll_nats)


@given(t=st.integers(1, 6), v=st.integers(1, 40), seed=SEEDS, size=st.floats(0, 50))
def test_kl_is_never_negative(t, v, seed, size):
    P = size * normal(t, v, seed=seed)
    Q = P + 1e-9 * normal(t, v, seed=seed + 1)
    assert bool((compare(P, Q).kl_nats >= 0).all())
    assert bool((compare(P, normal(t, v, seed=seed + 2)).kl_nats >= 0).all())


@given(x=st.floats(-20, 20), y=st.floats(-20, 20))
def test_kl_over_two_tokens_has_its_closed_form(x, y):
    p, q = 1 / (1 + math.exp(-x)), 1 / (1 + math.exp(-y))
    expected = p * (math.log(p) - math.log(q)) + (1 - p) * (
        math.log1p(math.exp(y)) - math.log1p(math.exp(x))
    )
    P = torch.tensor([[x, 0.0]], dtype=torch.float64)
    Q = torch.tensor([[y, 0.0]], dtype=torch.float64)
    result = compare_predictions(P, Q, torch.tensor([0]))
    assert float(result.kl_nats) == pytest.approx(expected, rel=1e-8, abs=1e-12)
    assert float(result.base_nll_nats) == pytest.approx(-math.log(p), abs=1e-12)
    assert float(result.candidate_nll_nats) == pytest.approx(-math.log(q), abs=1e-12)


@given(seed=SEEDS, shift=st.floats(-1e3, 1e3))
def test_a_shift_of_all_logits_changes_nothing(seed, shift):
    P, Q = normal(4, 9, seed=seed), normal(4, 9, seed=seed + 1)
    first, second = compare(P, Q), compare(P, Q + shift)
    torch.testing.assert_close(second.kl_nats, first.kl_nats, rtol=0, atol=1e-10)
    torch.testing.assert_close(
        second.candidate_nll_nats, first.candidate_nll_nats, rtol=0, atol=1e-10
    )
    assert torch.equal(second.flips, first.flips)


def test_a_rescaling_of_the_logits_is_seen():
    P = normal(4, 9)
    assert bool((compare(P, 2 * P).kl_nats > 0).all())


def test_kl_is_of_base_from_candidate_and_so_not_symmetric():
    P = torch.tensor([[0.0, 0.0]], dtype=torch.float64)
    Q = torch.tensor([[6.0, 0.0]], dtype=torch.float64)
    assert float(compare(P, Q).kl_nats) > 2 * float(compare(Q, P).kl_nats)


@given(seed=SEEDS)
def test_kl_grows_with_the_noise_along_one_direction(seed):
    P, D = normal(1, 12, seed=seed), normal(1, 12, seed=seed + 1)
    values = [float(compare(P, P + step * D).kl_nats) for step in (0.001, 0.01, 0.1, 1.0, 10.0)]
    assert values == sorted(values)


def test_small_divergences_keep_their_digits():
    P = torch.tensor([[0.3, -0.7]], dtype=torch.float64)
    p = float(P.softmax(-1)[0, 0])
    for step in (1e-3, 1e-4, 1e-5):
        Q = P + torch.tensor([[step, 0.0]], dtype=torch.float64)
        second_order = p * (1 - p) * step**2 / 2
        assert float(compare(P, Q).kl_nats) == pytest.approx(second_order, rel=1e-3)


# In float32, for devices that are slow in float64.


def single(P, Q):
    return compare_predictions(P, Q, targets(*P.shape), torch.float32)


@given(t=st.integers(1, 6), v=st.integers(1, 40), seed=SEEDS, size=st.floats(0, 30))
def test_single_precision_gives_the_numbers_of_double_to_its_rounding(t, v, seed, size):
    P, Q = (size * normal(t, v, seed=seed + i, dtype=torch.float32) for i in range(2))
    ours, exact = single(P, Q), compare(P, Q)
    bound = {"rtol": 1e-5, "atol": 1e-5 * (1 + size)}
    torch.testing.assert_close(ours.kl_nats, exact.kl_nats, **bound)
    torch.testing.assert_close(ours.base_nll_nats, exact.base_nll_nats, **bound)
    torch.testing.assert_close(ours.candidate_nll_nats, exact.candidate_nll_nats, **bound)
    assert bool((ours.kl_nats >= 0).all())


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_equal_logits_differ_by_exactly_zero_in_single_precision_too(dtype):
    P = 5 * normal(7, 1001, dtype=dtype)
    result = single(P, P.clone())
    assert not bool(result.kl_nats.any())
    assert not bool(result.flips.any())
    assert result.kl_nats.dtype == torch.float64


def test_a_sum_over_many_tokens_is_taken_in_double_precision():
    # The terms are all alike and the sum is exact if nothing of it is lost on the way.
    P = torch.zeros(1, 1 << 18)
    Q = P.clone()
    Q[0, 0] = 20.0
    ours, exact = (float(f(P, Q).kl_nats) for f in (single, compare))
    assert ours == pytest.approx(exact, rel=1e-6)


def test_logits_that_are_not_finite_never_give_a_finite_divergence_in_single_precision():
    P = normal(3, 4, dtype=torch.float32)
    for bad in (math.nan, math.inf, -math.inf):
        Q = P.clone()
        Q[1, 2] = bad
        assert torch.isfinite(single(P, Q).kl_nats).tolist() == [True, False, True]


def test_flips_are_counted_where_the_top_token_differs():
    P = torch.eye(3).repeat(2, 1)
    Q = P.clone()
    Q[1] = torch.tensor([5.0, 0.0, 0.0])
    Q[5] = torch.tensor([0.0, 9.0, 1.0])
    assert compare(P, Q).flips.tolist() == [0, 1, 0, 0, 0, 1]


@pytest.mark.parametrize("elements", [1, 9, 25])
def test_tiny_blocks_give_the_numbers_of_one_block(monkeypatch, elements):
    P, Q = normal(11, 8, dtype=torch.bfloat16), normal(11, 8, seed=1, dtype=torch.float32)
    whole = compare(P, Q)
    monkeypatch.setattr(module, "_BLOCK_ELEMENTS", elements)
    parts = compare(P, Q)
    torch.testing.assert_close(parts.kl_nats, whole.kl_nats, rtol=1e-14, atol=1e-16)
    torch.testing.assert_close(parts.base_nll_nats, whole.base_nll_nats, rtol=1e-14, atol=0)
    torch.testing.assert_close(
        parts.candidate_nll_nats, whole.candidate_nll_nats, rtol=1e-14, atol=0
    )
    assert torch.equal(parts.flips, whole.flips)


def test_a_text_of_one_token_predicts_nothing():
    result = compare(torch.zeros(0, 5), torch.zeros(0, 5))
    assert result.kl_nats.shape == result.flips.shape == (0,)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("who", ["base", "candidate", "both"])
def test_logits_that_are_not_finite_never_give_a_finite_divergence(bad, who):
    P = normal(3, 4)
    broken = P.clone()
    broken[1, 2] = bad
    result = compare(broken if who != "candidate" else P, broken if who != "base" else P)
    assert torch.isfinite(result.kl_nats).tolist() == [True, False, True]


def test_the_inputs_are_not_modified():
    P, Q = normal(3, 4), normal(3, 4, seed=1)
    kept = P.clone(), Q.clone()
    compare(P, Q)
    assert torch.equal(P, kept[0])
    assert torch.equal(Q, kept[1])


def test_the_headline_is_the_kl_of_the_worst_stratum_with_its_standard_error():
    samples = [sample(kl=0.1), sample(kl=0.3), sample("chat", kl=1.0), sample("chat", kl=2.0)]
    result = behaviour(samples, (("probe", "x"),))
    assert result.estimate.value == pytest.approx(1.5)
    assert result.estimate.stderr == pytest.approx(0.5)
    assert result.estimate.n == 2
    values = {row.stratum: row.estimate.value for row in result.by_stratum("kl-divergence")}
    assert values == pytest.approx({"code": 0.2, "chat": 1.5})
    assert str(result.id) == "behaviour/1?probe=x"


@given(st.lists(st.floats(0, 100), min_size=2, max_size=30))
def test_the_standard_error_is_that_of_a_mean(values):
    result = behaviour([sample(kl=value) for value in values], ())
    spread = torch.tensor(values, dtype=torch.float64).std()
    assert result.estimate.value == pytest.approx(math.fsum(values) / len(values))
    assert result.estimate.stderr == pytest.approx(
        float(spread) / math.sqrt(len(values)), rel=1e-9, abs=1e-12
    )


def test_the_change_of_likelihood_is_signed():
    better = [sample(base=3.0, candidate=2.0)] * 2
    worse = [sample("chat", base=2.0, candidate=2.5)] * 2
    result = behaviour(better + worse, ())
    values = {row.stratum: row.estimate.value for row in result.by_stratum("nll-change")}
    assert values == {"code": -1.0, "chat": 0.5}
    assert result.overall("nll-change").value == 0.5
    assert behaviour(better, ()).overall("nll-change").value == -1.0
    levels = {row.stratum: row.estimate.value for row in result.by_stratum("candidate-nll")}
    assert levels == {"code": 2.0, "chat": 2.5}
    assert result.by_stratum("base-nll")[0].estimate.value == 3.0


def test_the_flip_rate_is_a_mean_over_samples():
    result = behaviour([sample(flips=0.25), sample(flips=0.75)], ())
    assert result.overall("top1-flip-rate").value == 0.5


def test_samples_without_change_give_exactly_zero():
    result = behaviour([sample()] * 3, ())
    assert (result.estimate.value, result.estimate.stderr) == (0.0, 0.0)


@pytest.mark.parametrize(
    "samples", [[], [sample()], [sample(), sample(), sample("chat")]], ids=["none", "one", "lone"]
)
def test_a_stratum_without_two_samples_is_inconclusive(samples):
    result = behaviour(samples, ())
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.reason == "a stratum has fewer than 2 samples"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("field", ["kl", "base", "candidate", "flips"])
def test_predictions_that_are_not_finite_are_inconclusive(field, bad):
    result = behaviour([sample(), sample(**{field: bad})], ())
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.estimate is None
    assert result.reason == "a model predicts NaN or infinity on the probe set"


def test_tokens_that_the_base_does_not_have_take_probability_from_the_others():
    P = normal(3, 4)
    added = torch.cat([P, torch.full((3, 2), 1.5)], dim=1)
    result = compare(P, added)
    mass = added.double().softmax(-1)[:, 4:].sum(-1)
    torch.testing.assert_close(result.kl_nats, -(1 - mass).log(), rtol=1e-12, atol=0)
    never = torch.cat([P, torch.full((3, 2), -1e30)], dim=1)
    assert compare(P, never).kl_nats.tolist() == [0.0] * 3
