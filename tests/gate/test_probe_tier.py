"""Tier probe, one model after the other, against both models' whole passes side by side."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny_models import (
    CPU,
    FAMILIES,
    MORE_FAMILIES,
    UNLISTED_FAMILIES,
    build_tokenizer,
    loaded_of,
    model_of,
    request_of,
    tiny_probe,
)
from torch import nn

from sdi_gate.gate import predictions, probe_tier
from sdi_gate.gate.probe_tier import compare_candidate, read_base, spot_check, take_head
from sdi_gate.gate.readings import BaseReadings
from sdi_gate.gate.running import Running
from sdi_gate.models.output_head import BLOCK_ROWS, OutputHead
from sdi_gate.models.tokens import TokenSample, batches, tokenize
from sdi_gate.progress import NullProgress
from sdi_gate.signals.interface import Outcome

QUIET = NullProgress()
EVERY = (*FAMILIES, *MORE_FAMILIES, *UNLISTED_FAMILIES)


@pytest.fixture(scope="module")
def probe():
    return tokenize(tiny_probe(), build_tokenizer(), 16)


@pytest.fixture
def settings(tmp_path):
    return request_of(tmp_path, tmp_path).settings


def running(model, probe):
    return Running(loaded=loaded_of(model), probe=probe, probe_digest="sha256:x", device=CPU)


def compare(base, candidate, probe, settings):
    """Read the base, let it go, and compare the candidate."""
    base = running(base, probe)
    readings = read_base(base, settings, QUIET)
    head = take_head(base, readings)
    return compare_candidate(running(candidate, probe), readings, head, settings, QUIET)


def llama(seed=1, **changes):
    return model_of("llama", seed=seed, **changes)


def does_not_come_apart(monkeypatch):
    monkeypatch.setattr(predictions, "find_split", lambda *_arguments: None)


def numbers(signal):
    rows = {(row.metric, row.layer, row.stratum): row.estimate for row in signal.measurements}
    return {key: value.value for key, value in rows.items()} | {"headline": signal.estimate.value}


def changes_in(result):
    """Return every number that is 0 for equal models."""
    levels = {"base-nll", "candidate-nll", "cka-similarity"}
    return {
        key: value
        for signal in (result.representation, result.behaviour)
        for key, value in numbers(signal).items()
        if key[0] not in levels
    }


# Numbers.


def side_by_side(base, candidate, sample):
    """Return KL, both likelihoods and flips of one sample by the plain formulas."""
    ids = torch.tensor([sample.ids])
    with torch.no_grad():
        p, q = (
            model(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
            for model in (base, candidate)
        )
    targets = ids[0, 1:, None]
    return (
        float((p.exp() * (p - q)).sum(-1).mean()),
        float(-p.gather(1, targets).mean()),
        float(-q.gather(1, targets).mean()),
        float((p.argmax(-1) != q.argmax(-1)).double().mean()),
    )


@pytest.mark.parametrize("family", EVERY)
def test_behaviour_is_that_of_both_whole_models_side_by_side(family, probe, settings):
    base, candidate = model_of(family, seed=1), model_of(family, seed=2)
    naive = [side_by_side(base, candidate, sample) for sample in probe.samples]
    found = compare(base, candidate, probe, settings).behaviour
    for place, metric in ((0, "kl-divergence"), (1, "base-nll"), (2, "candidate-nll")):
        for stratum in set(probe.strata):
            own = [row[place] for row, name in zip(naive, probe.strata, strict=True)]
            own = [x for x, name in zip(own, probe.strata, strict=True) if name == stratum]
            (row,) = (r for r in found.by_stratum(metric) if r.stratum == stratum)
            assert row.estimate.value == pytest.approx(math.fsum(own) / len(own), rel=1e-4)


@pytest.mark.parametrize("family", EVERY)
def test_a_model_is_exactly_zero_away_from_itself(family, probe, settings):
    found = compare(model_of(family), model_of(family), probe, settings)
    assert set(changes_in(found).values()) == {0.0}
    assert found.defects == ()


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_a_model_that_does_not_come_apart_gives_the_same_numbers(
    probe, settings, batch_size, monkeypatch
):
    settings = replace(settings, batch_size=batch_size)
    apart = compare(llama(1), llama(2), probe, settings)
    does_not_come_apart(monkeypatch)
    whole = compare(llama(1), llama(2), probe, settings)
    assert changes_in(whole) == pytest.approx(changes_in(apart), rel=1e-5)
    same = compare(llama(1), llama(1), probe, settings)
    assert set(changes_in(same).values()) == {0.0}


@pytest.mark.parametrize("apart", ["base", "candidate"])
def test_one_of_the_two_may_not_come_apart(probe, settings, apart, monkeypatch):
    expected = compare(llama(1), llama(2), probe, settings)
    base, find = running(llama(1), probe), predictions.find_split
    if apart != "base":
        does_not_come_apart(monkeypatch)
    readings = read_base(base, settings, QUIET)
    head = take_head(base, readings)
    assert head.is_apart == (readings.states is not None) == (apart == "base")
    monkeypatch.setattr(predictions, "find_split", find)
    if apart != "candidate":
        does_not_come_apart(monkeypatch)
    found = compare_candidate(running(llama(2), probe), readings, head, settings, QUIET)
    assert changes_in(found) == pytest.approx(changes_in(expected), rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_batch_size_moves_no_number_beyond_rounding(probe, settings, batch_size):
    one = compare(llama(1), llama(2), probe, settings)
    other = compare(llama(1), llama(2), probe, replace(settings, batch_size=batch_size))
    assert changes_in(other) == pytest.approx(changes_in(one), rel=1e-4)


def test_samples_longer_than_a_block_of_rows_are_compared_whole(settings):
    generator = torch.Generator().manual_seed(0)
    samples = tuple(
        TokenSample(
            stratum="s",
            ids=tuple(torch.randint(3, 300, (length,), generator=generator).tolist()),
        )
        for length in (BLOCK_ROWS + 40, 2 * BLOCK_ROWS + 1, 60, 5)
    )
    long = replace(tokenize(tiny_probe(), build_tokenizer(), 16), samples=samples)
    base, candidate = (llama(seed, max_position_embeddings=512) for seed in (1, 2))
    naive = [side_by_side(base, candidate, sample) for sample in samples]
    found = compare(base, candidate, long, settings).behaviour
    mean = math.fsum(row[0] for row in naive) / len(naive)
    assert found.estimate.value == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize(("rows", "added"), [(300, 5), (305, -5)], ids=["added", "padding"])
def test_columns_that_only_one_model_has_are_added_tokens_or_padding(probe, settings, rows, added):
    base = llama(1, vocab_size=rows)
    candidate = llama(1, vocab_size=rows + added)
    shared = min(rows, rows + added)
    ours, theirs = base.state_dict(), candidate.state_dict()
    for name, tensor in theirs.items():
        if tensor.shape == ours[name].shape:
            tensor.copy_(ours[name])
        else:
            tensor[:shared] = ours[name][:shared]
            tensor[shared:] = -30.0 if name == "lm_head.weight" else 0.0
    found = compare(base, candidate, probe, settings)
    # Added tokens take probability; padding, which no token addresses, is not looked at.
    assert (found.behaviour.estimate.value > 0.0) == (added > 0)
    assert found.representation.estimate.value == 0.0


def test_behaviour_is_that_of_each_sample_with_its_own_stratum(probe, settings):
    whole = compare(llama(1), llama(2), probe, settings).behaviour
    for stratum in ("general", "instruction"):
        own = tuple(sample for sample in probe.samples if sample.stratum == stratum)
        part = compare(llama(1), llama(2), replace(probe, samples=own), settings).behaviour
        (row,) = (r for r in whole.by_stratum("kl-divergence") if r.stratum == stratum)
        assert row.estimate.value == pytest.approx(part.estimate.value, rel=1e-5)


def test_a_model_without_decoder_layers_has_no_representation(probe, settings):
    base, candidate = (running(llama(seed), probe) for seed in (1, 2))
    base, candidate = (replace(m, loaded=replace(m.loaded, layers=())) for m in (base, candidate))
    readings = read_base(base, settings, QUIET)
    head = take_head(base, readings)
    found = compare_candidate(candidate, readings, head, settings, QUIET)
    assert found.representation.outcome is Outcome.INCONCLUSIVE
    assert "no decoder layers" in found.representation.reason
    assert found.behaviour.outcome is Outcome.MEASURED


def test_a_model_without_a_head_that_can_be_named_has_no_numbers_of_its_output(probe, settings):
    models = [llama(1), llama(2)]
    for model in models:
        model.get_output_embeddings = lambda: None
    base = running(models[0], probe)
    readings = read_base(base, settings, QUIET)
    assert readings.output is readings.states is None
    assert spot_check(base, readings, settings)
    found = compare(*models, probe, settings)
    assert found.representation.estimate.value > 0.0
    assert not any(row.metric.startswith("output") for row in found.representation.measurements)
    assert found.behaviour.estimate.value == pytest.approx(
        compare(llama(1), llama(2), probe, settings).behaviour.estimate.value, rel=1e-5
    )


def test_what_moves_representation_drift_is_in_its_id(probe, settings):
    parameters = compare(llama(), llama(), probe, settings).representation.id.parameters
    assert {"pooling", "probe", "max-tokens", "compute-dtype"} <= dict(parameters).keys()


def test_a_candidate_that_overflows_is_inconclusive(probe, settings):
    broken = llama()
    with torch.no_grad():
        broken.lm_head.weight.mul_(1e38)
    found = compare(llama(), broken, probe, settings)
    assert found.behaviour.outcome is Outcome.INCONCLUSIVE
    assert found.behaviour.estimate is None


# Chance.


class _Noisy(nn.Module):
    """A head that draws anew at every call."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, hidden):
        raw = self.head(hidden)
        return raw + 1e-6 * torch.rand(raw.shape, generator=self.generator)


@pytest.mark.parametrize("who", ["base", "candidate"])
def test_a_model_that_is_not_deterministic_is_a_defect(probe, settings, who):
    models = {"base": llama(), "candidate": llama()}
    models[who].lm_head = _Noisy(models[who].lm_head)
    found = compare(models["base"], models["candidate"], probe, settings)
    assert found.defects == (f"the {who} gives different numbers for the same probe batch",)


# Memory.


def test_no_more_than_a_block_of_logits_is_ever_made(probe, settings, monkeypatch):
    made, original = [], OutputHead.logits

    def spy(self, rows):
        made.append(len(rows))
        return original(self, rows)

    monkeypatch.setattr(OutputHead, "logits", spy)
    whole = []
    candidate = llama(2)
    candidate.lm_head.register_forward_pre_hook(lambda _m, args: whole.append(args[0].shape))
    compare(llama(1), candidate, replace(probe, samples=probe.samples * 20), settings)
    assert max(made) <= BLOCK_ROWS
    # Two samples of 16 tokens, on which it was tried whether the model comes apart.
    assert max(shape[0] * shape[1] for shape in whole) <= max(BLOCK_ROWS, 2 * 16)


def test_the_base_is_freed_before_the_candidate_runs(probe, settings):
    base = running(llama(1), probe)
    readings = read_base(base, settings, QUIET)
    take_head(base, readings)
    size = sum(p.numel() for layer in base.loaded.layers for p in layer.parameters())
    assert size == 0


def test_both_models_can_be_run_after_the_base_was_read_and_the_candidate_compared(probe, settings):
    base, candidate = running(llama(1), probe), running(llama(2), probe)
    readings = read_base(base, settings, QUIET)
    again = read_base(base, settings, QUIET)
    assert torch.equal(readings.states, again.states)
    head = take_head(base, readings)
    first, second = (
        compare_candidate(candidate, readings, head, settings, QUIET) for _ in range(2)
    )
    assert changes_in(first) == changes_in(second)
    assert not any(module._forward_hooks for module in candidate.loaded.model.modules())


def test_progress_and_work_are_told(probe, settings):
    told = []

    class Told:
        def advance(self, stage, done, total, detail=""):
            told.append((stage, done, total, detail))

    base = running(llama(1), probe)
    readings = read_base(base, settings, Told())
    found = compare_candidate(
        running(llama(2), probe), readings, take_head(base, readings), settings, Told()
    )
    total = len(batches(probe.samples, settings.batch_size, CPU))
    for stage in ("probe-base", "probe"):
        steps = [(done, of) for name, done, of, _ in told if name == stage]
        assert steps == [(i, total) for i in range(total + 1)]
    assert [work.part for work in found.work] == ["forward", "cka"]
    assert all(work.operations > 0 and work.seconds >= 0 for work in found.work)


# Readings of a former scan.


def test_readings_that_went_through_a_profile_give_the_same_numbers(probe, settings):
    base = running(llama(1), probe)
    readings = read_base(base, settings, QUIET)
    assert readings.is_worth_keeping
    known = BaseReadings.from_part(readings.to_part(), probe)
    assert spot_check(base, known, settings)
    head = take_head(base, known)
    candidate = running(llama(2), probe)
    fresh, cached = (
        compare_candidate(candidate, each, head, settings, QUIET) for each in (readings, known)
    )
    assert numbers(fresh.behaviour) == numbers(cached.behaviour)
    assert numbers(fresh.representation) == numbers(cached.representation)


def test_readings_of_a_model_that_does_not_come_apart_are_checked_too(probe, settings, monkeypatch):
    does_not_come_apart(monkeypatch)
    base = running(llama(1), probe)
    readings = read_base(base, settings, QUIET)
    assert readings.states is None
    with pytest.raises(ValueError, match="a model that comes apart"):
        readings.states_of((0,))
    assert spot_check(base, readings, settings)
    monkeypatch.undo()
    assert not spot_check(base, readings, settings)


def moved(X):
    return torch.nextafter(X, torch.full_like(X, torch.inf))


@pytest.mark.parametrize(
    "change",
    [
        lambda r: replace(r, states=moved(r.states)),
        lambda r: replace(r, states=r.states.double()),
        lambda r: replace(r, layers=(r.layers[0], moved(r.layers[1]))),
        lambda r: replace(r, layers=r.layers[:1]),
        lambda r: replace(r, output=moved(r.output)),
        lambda r: replace(r, output=None),
        lambda r: replace(r, states=None),
    ],
    ids=["states", "type", "layer", "layers", "output", "no output", "no states"],
)
def test_readings_that_differ_in_their_last_bit_are_not_those_of_this_base(probe, settings, change):
    base = running(llama(1), probe)
    readings = read_base(base, settings, QUIET)
    assert spot_check(base, readings, settings)
    assert not spot_check(base, change(readings), settings)


def test_readings_of_another_base_are_not_those_of_this_one(probe, settings):
    readings = read_base(running(llama(2), probe), settings, QUIET)
    assert not spot_check(running(llama(1), probe), readings, settings)


def test_any_batch_can_be_the_one_that_is_checked(probe, settings, monkeypatch):
    base = running(llama(1), probe)
    small = replace(settings, batch_size=1)
    readings = read_base(base, small, QUIET)
    groups = batches(probe.samples, 1, CPU)
    for place, group in enumerate(groups):
        monkeypatch.setattr(probe_tier.secrets, "randbelow", lambda _, place=place: place)
        assert spot_check(base, readings, small)
        layers = [layer.clone() for layer in readings.layers]
        layers[0][list(group.indices)] += 1e-3
        assert not spot_check(base, replace(readings, layers=tuple(layers)), small)


def test_readings_by_chance_or_without_numbers_are_not_kept(probe, settings):
    noisy, broken = llama(), llama()
    noisy.lm_head = _Noisy(noisy.lm_head)
    with torch.no_grad():
        broken.model.norm.weight.fill_(torch.nan)
    for model in (noisy, broken):
        assert not read_base(running(model, probe), settings, QUIET).is_worth_keeping
