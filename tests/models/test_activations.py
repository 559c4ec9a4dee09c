"""Pooled activations and paired predictions of real models, against loops without padding."""

from __future__ import annotations

import pytest
import torch
from tiny_models import (
    CPU,
    FAMILIES,
    add_noise,
    batch_of,
    build_base,
    load,
    loaded_of,
    model_of,
    perturb,
    rewrite,
)
from torch import nn

from sdi_gate.models.activations import PooledActivations, logits
from sdi_gate.models.causal_lm import LoadedModel
from sdi_gate.models.output_head import OutputHead, find_split
from sdi_gate.models.tokens import Batch, TokenSample, batches, pad

LENGTHS = (9, 3, 14, 5, 14, 7)


def samples_of(*lengths, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return [
        TokenSample(
            stratum="s", ids=tuple(torch.randint(3, 300, (n,), generator=generator).tolist())
        )
        for n in lengths
    ]


def collect(loaded, samples, groups, *, apart=True):
    """Return what was collected of a model, and its logits for every sample that was run."""
    collector = PooledActivations(loaded, len(samples))
    split = find_split(loaded, batch_of(7, 4)) if apart else None
    found = {}
    with (
        torch.inference_mode(),
        collector.reading(),
        OutputHead.opened(loaded, split) as head,
    ):
        for batch in groups:
            made = head.logits(collector.rows(head, batch))
            counts = [len(samples[i].ids) - 1 for i in batch.indices]
            found.update(zip(batch.indices, made.split(counts), strict=True))
    return collector, found


def run(base, candidate, samples, batch_size):
    """Return both models' pooled activations and the predictions of every sample."""
    groups = batches(samples, batch_size, CPU)
    (ours, p), (theirs, q) = (collect(loaded, samples, groups) for loaded in (base, candidate))
    targets = [torch.tensor(sample.ids[1:]) for sample in samples]
    return ours.layers, theirs.layers, [(p[i], q[i], t) for i, t in enumerate(targets)]


def naive(loaded, samples):
    """Run sample after sample without padding; pool the tokens after the first."""
    hidden = []

    def collect(_module, _args, output):
        hidden.append(output if isinstance(output, torch.Tensor) else output[0])

    handles = [layer.register_forward_hook(collect) for layer in loaded.layers]
    with torch.no_grad():
        raw = [loaded.model(input_ids=torch.tensor([s.ids])).logits[0] for s in samples]
    for handle in handles:
        handle.remove()
    pooled = [output[0, 1:].mean(0) for output in hidden]
    return [torch.stack(pooled[i :: len(handles)]) for i in range(len(handles))], raw


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_was_taken_apart_gives_the_activations_of_its_whole_pass(family):
    loaded, samples = loaded_of(model_of(family)), samples_of(*LENGTHS)
    groups = batches(samples, 4, CPU)
    apart, predicted = collect(loaded, samples, groups)
    whole, expected = collect(loaded, samples, groups, apart=False)
    for ours, theirs in zip(apart.layers, whole.layers, strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(apart.output, whole.output)
    for index, made in predicted.items():
        torch.testing.assert_close(made, expected[index], rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def pair():
    return loaded_of(model_of("llama", seed=1)), loaded_of(model_of("llama", seed=2))


@pytest.mark.parametrize("family", FAMILIES)
def test_pooling_in_padded_batches_equals_a_loop_without_padding(family):
    loaded = loaded_of(model_of(family))
    samples = samples_of(*LENGTHS)
    expected, raw = naive(loaded, samples)
    ours, theirs, predictions = run(loaded, loaded, samples, 4)
    assert len(ours) == len(theirs) == 2
    for mine, other, true in zip(ours, theirs, expected, strict=True):
        torch.testing.assert_close(mine, true, rtol=1e-4, atol=1e-5)
        assert torch.equal(mine, other)
    for sample, (base, candidate, targets), true in zip(samples, predictions, raw, strict=True):
        torch.testing.assert_close(base, true[:-1], rtol=1e-4, atol=1e-5)
        assert torch.equal(base, candidate)
        assert tuple(targets.tolist()) == sample.ids[1:]


def test_batch_size_does_not_matter(pair):
    samples = samples_of(*LENGTHS)
    one, *others = (run(*pair, samples, size) for size in (1, 2, 5, 6))
    for other in others:
        for a, b in zip((*one[0], *one[1]), (*other[0], *other[1]), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
        for ours, theirs in zip(one[2], other[2], strict=True):
            torch.testing.assert_close(ours[0], theirs[0], rtol=1e-4, atol=1e-5)


def test_base_and_candidate_are_not_mistaken_for_each_other(pair):
    samples = samples_of(*LENGTHS)
    ours, theirs, predictions = run(*pair, samples, 3)
    (own, raw), (other, other_raw) = naive(pair[0], samples), naive(pair[1], samples)
    torch.testing.assert_close(ours[1], own[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(theirs[1], other[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(predictions[0][0], raw[0][:-1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(predictions[0][1], other_raw[0][:-1], rtol=1e-4, atol=1e-5)


class _Sink(nn.Module):
    """Add a massive activation at the first position."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden, *args, **kwargs):
        output = self.layer(hidden, *args, **kwargs)
        output = output.clone()
        output[:, 0] += 1e6
        return output


def test_the_attention_sink_at_the_first_position_does_not_enter(pair):
    samples = samples_of(*LENGTHS)
    plain, _, _ = run(pair[0], pair[0], samples, 4)
    model = model_of("llama", seed=1)
    last = _Sink(model.model.layers[1])
    model.model.layers[1] = last
    sunk = LoadedModel(model=model, layers=(model.model.layers[0], last))
    drowned, _, _ = run(sunk, sunk, samples, 4)
    torch.testing.assert_close(drowned[1], plain[1])


def test_padding_does_not_enter_even_if_it_is_infinite():
    layer = nn.Identity()
    collector = PooledActivations(LoadedModel(model=None, layers=(layer,)), 2)
    collector._batch = batch = batch_of(3, 5)
    hidden = torch.arange(2 * 5 * 4, dtype=torch.float32).reshape(2, 5, 4)
    hidden[batch.mask == 0] = torch.inf
    with collector.reading():
        layer(hidden)
    assert torch.equal(collector.layers[0][0], hidden[0, 1:3].mean(0))
    assert torch.equal(collector.layers[0][1], hidden[1, 1:5].mean(0))


def test_layers_that_give_tuples_are_read_by_their_first_part():
    class Layer(nn.Module):
        def forward(self, hidden):
            return hidden, "cache"

    layer = Layer()
    collector = PooledActivations(LoadedModel(model=None, layers=(layer,)), 1)
    collector._batch = batch_of(4)
    with collector.reading():
        layer(torch.ones(1, 4, 2))
    assert torch.equal(collector.layers[0], torch.ones(1, 2))


def test_low_precision_activations_are_summed_in_high_precision():
    layer = nn.Identity()
    collector = PooledActivations(LoadedModel(model=None, layers=(layer,)), 1)
    collector._batch = batch_of(402)
    hidden = torch.full((1, 402, 1), 1.0, dtype=torch.bfloat16)
    hidden[0, 1] = 256.0  # from here on bfloat16 does not see a further 1
    with collector.reading():
        layer(hidden)
    assert float(collector.layers[0]) == pytest.approx((256 + 400) / 401, rel=1e-6)


def test_hooks_are_there_only_while_reading(pair):
    loaded = pair[0]
    collector = PooledActivations(loaded, 6)
    with collector.reading():
        assert all(len(layer._forward_hooks) == 1 for layer in loaded.layers)
    assert all(len(layer._forward_hooks) == 0 for layer in loaded.layers)
    run(*pair, samples_of(*LENGTHS), 3)
    assert all(len(layer._forward_hooks) == 0 for each in pair for layer in each.layers)


def test_hooks_are_removed_after_a_failure(pair):
    def fail():
        broken = Batch(indices=(0,), ids=torch.tensor([[10**6]]), mask=torch.ones(1, 1))
        collect(pair[0], samples_of(4), [broken])

    with pytest.raises(IndexError, match="index out of range"):
        fail()
    assert all(len(layer._forward_hooks) == 0 for layer in pair[0].layers)


def test_a_forward_pass_that_is_not_of_the_probe_is_not_collected(pair):
    collector = PooledActivations(pair[0], 2)
    with collector.reading():
        logits(pair[0], batch_of(4, 4))
    assert collector.layers == []


def test_a_sample_that_was_never_run_stays_not_a_number(pair):
    samples = samples_of(5, 6, 7)
    collector, _ = collect(pair[0], samples, [pad(samples, [0, 2], CPU)])
    assert torch.isnan(collector.layers[0][1]).all()
    assert torch.isfinite(collector.layers[0][[0, 2]]).all()


def test_broken_weights_give_activations_that_are_not_finite(tmp_path):
    folder = build_base(tmp_path / "base")
    broken = perturb(
        folder,
        tmp_path / "broken",
        lambda t: t["model.layers.1.mlp.up_proj.weight"].fill_(torch.nan),
    )
    ours, theirs, predictions = run(load(folder), load(broken), samples_of(*LENGTHS), 3)
    assert torch.isfinite(ours[1]).all()
    assert torch.isfinite(theirs[0]).all()
    assert torch.isnan(theirs[1]).all()
    assert torch.isnan(predictions[0][1]).all()


def test_noise_moves_activations_of_its_own_and_of_later_layers_only(tmp_path):
    folder = build_base(tmp_path / "base")

    def late(tensors):
        noisy = dict(tensors)
        add_noise(0.5)(noisy)
        tensors.update({k: v for k, v in noisy.items() if k.startswith("model.layers.1.")})

    moved = rewrite(perturb(folder, tmp_path / "moved"), late)
    ours, theirs, _ = run(load(folder), load(moved), samples_of(*LENGTHS), 3)
    assert torch.equal(ours[0], theirs[0])
    assert not torch.allclose(ours[1], theirs[1])
