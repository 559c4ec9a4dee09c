"""Curvature by blocks of layers, and by first derivatives alone, against brute force."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from tiny_models import batch_of, loaded_of, model_of

from sdi_gate.models.blocks import layer_blocks, taking_gradients
from sdi_gate.models.hessian import (
    block_products,
    curvature_products,
    fisher_products,
    parameters_of,
    sample_labels,
    token_loss,
)
from sdi_gate.models.layers import layer_of
from sdi_gate.signals.signs import rademacher

VOCABULARY = 12
TINY = {
    "vocab_size": VOCABULARY,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
}
LAYERS = ("embedding", "layers.0", "layers.1", "other", "head")
# Three blocks: each decoder layer, and the rest.
NUM_BLOCKS = 2


def tiny(**changes):
    return loaded_of(model_of("llama", **(TINY | changes)))


def luck_for(loaded, seed):
    generator = torch.Generator().manual_seed(seed)
    named = dict(loaded.model.named_parameters())
    signs = {name: rademacher(p.shape, generator) for name, p in named.items()}
    uniforms = torch.rand(64, generator=generator, dtype=torch.float64)
    return signs, lambda name, p: signs[name].to(p), uniforms


def in_blocks(loaded, batch, seed, num_blocks=NUM_BLOCKS):
    _, along, uniforms = luck_for(loaded, seed)
    blocks = layer_blocks([*parameters_of(loaded)], num_blocks)
    return block_products(loaded, batch, along, uniforms, blocks)


def within(draws, truth, num_errors=4.0):
    values = torch.tensor(draws, dtype=torch.float64)
    stderr = float(values.std()) / math.sqrt(len(draws))
    return abs(float(values.mean()) - truth) < num_errors * stderr


@pytest.fixture(scope="module")
def loaded():
    return tiny()


@pytest.fixture(scope="module")
def batch():
    return batch_of(6, 4, vocabulary=VOCABULARY)


@pytest.fixture(scope="module")
def dense(loaded, batch):
    """Return the dense Hessian in float64, and the layer group of every row."""
    named = parameters_of(loaded)
    tensors = [*named.values()]
    gradient = torch.autograd.grad(token_loss(loaded, batch)[0], tensors, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in gradient])
    columns = [
        torch.cat([c.reshape(-1) for c in torch.autograd.grad(entry, tensors, retain_graph=True)])
        for entry in flat
    ]
    owners = [layer_of(name) for name, p in named.items() for _ in range(p.numel())]
    H = torch.stack(columns).double()
    return H, {layer: torch.tensor([o == layer for o in owners]) for layer in LAYERS}


# Blocks.


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "mixtral"])
def test_one_block_that_holds_everything_gives_the_joint_products_to_the_bit(family):
    loaded, batch = loaded_of(model_of(family)), batch_of(6, 4)
    _, along, uniforms = luck_for(loaded, 3)
    joint = curvature_products(loaded, batch, along, uniforms, None)
    assert block_products(loaded, batch, along, uniforms, [[*parameters_of(loaded)]]) == joint


def test_a_draw_is_the_quadratic_form_of_the_block_diagonal_hessian(loaded, batch, dense):
    H, masks = dense
    found = in_blocks(loaded, batch, 7)
    signs, _, _ = luck_for(loaded, 7)
    v = torch.cat([sign.double().reshape(-1) for sign in signs.values()])
    u = v * torch.cat([p.detach().double().reshape(-1) for p in parameters_of(loaded).values()])
    rest = masks["embedding"] | masks["other"] | masks["head"]
    for layer, mask in masks.items():
        block = mask if layer.startswith("layers.") else rest
        trace = float((v * (H @ (v * block)))[mask].sum())
        weighted = float((u * (H @ (u * block)))[mask].sum())
        assert found.trace[layer] == pytest.approx(trace, rel=1e-3, abs=1e-3)
        assert found.weighted_trace[layer] == pytest.approx(weighted, rel=1e-3, abs=1e-3)
    assert found.quadratic_form is None


def test_the_mean_of_draws_is_the_trace_of_each_layers_block(loaded, batch, dense):
    H, masks = dense
    theta = torch.cat([p.detach().double().reshape(-1) for p in parameters_of(loaded).values()])
    draws = [in_blocks(loaded, batch, seed) for seed in range(60)]
    for layer, mask in masks.items():
        assert within([draw.trace[layer] for draw in draws], float(H.diagonal()[mask].sum()))
        scaled = float((theta.square() * H.diagonal())[mask].sum())
        assert within([draw.weighted_trace[layer] for draw in draws], scaled)
    whole = [sum(draw.trace.values()) for draw in draws]
    assert within(whole, float(H.trace()))


def test_the_fisher_trace_does_not_depend_on_the_blocks(loaded, batch):
    _, along, uniforms = luck_for(loaded, 1)
    joint = curvature_products(loaded, batch, along, uniforms, None).fisher_trace
    for num_blocks in (1, 2):
        found = in_blocks(loaded, batch, 1, num_blocks).fisher_trace
        assert found == pytest.approx(joint, rel=1e-5)


def test_a_tied_head_counts_once_in_blocks_too(batch):
    found = in_blocks(tiny(tie_word_embeddings=True), batch, 0)
    assert set(found.trace) == set(LAYERS) - {"head"}


def test_a_model_that_is_not_finite_gives_blocks_that_are_not(batch):
    loaded = tiny()
    with torch.no_grad():
        loaded.model.model.norm.weight[0] = torch.nan
    for found in (in_blocks(loaded, batch, 0), fisher_products(loaded, batch, torch.rand(64))):
        values = [*found.trace.values(), *found.weighted_trace.values()]
        assert all(math.isnan(value) for value in (*values, *found.fisher_trace.values()))


NAMES = (
    "model.embed_tokens.weight",
    *(f"model.layers.{i}.{part}.weight" for i in range(11) for part in ("mlp", "attn")),
    "model.norm.weight",
    "lm_head.weight",
)


@pytest.mark.parametrize(
    ("num_blocks", "sizes"),
    [(1, [11]), (2, [6, 5]), (4, [3, 3, 3, 2]), (11, [1] * 11), (99, [1] * 11)],
    ids=str,
)
def test_blocks_are_neighbouring_layers_in_model_order_and_then_the_rest(num_blocks, sizes):
    *layers, rest = layer_blocks(NAMES, num_blocks)
    assert rest == (NAMES[0], *NAMES[-2:])
    found = [[*dict.fromkeys(map(layer_of, block))] for block in layers]
    assert [len(block) for block in found] == sizes
    assert [*itertools.chain(*found)] == [f"layers.{i}" for i in range(11)]
    assert sorted(itertools.chain(*layers, rest)) == sorted(NAMES)


def test_a_model_without_decoder_layers_or_without_anything_else_has_its_blocks():
    assert layer_blocks(["norm.weight"], 4) == (("norm.weight",),)
    assert layer_blocks(["h.0.weight", "h.1.weight"], 4) == (("h.0.weight",), ("h.1.weight",))


def test_only_a_block_takes_gradients_and_afterwards_all_is_as_it_was(loaded):
    named = dict(loaded.model.named_parameters())
    block = {name for name in named if layer_of(name) == "layers.1"}
    named["lm_head.weight"].requires_grad_(False)

    def run_out_of_memory():
        with taking_gradients(loaded, block) as chosen:
            assert chosen.keys() == block
            assert {name for name, p in named.items() if p.requires_grad} == block
            msg = "out of memory"
            raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="out of memory"):
        run_out_of_memory()
    left = {name for name, p in named.items() if not p.requires_grad}
    named["lm_head.weight"].requires_grad_(True)
    assert left == {"lm_head.weight"}


# First derivatives alone.


def test_the_fisher_trace_is_the_sum_of_squared_gradients_of_the_samples(loaded):
    batch = batch_of(6, 3, 5, vocabulary=VOCABULARY)
    _, _, uniforms = luck_for(loaded, 5)
    named = parameters_of(loaded)
    totals, start = dict.fromkeys(LAYERS, 0.0), 0
    for row, count in zip(batch.ids, (6, 3, 5), strict=True):
        log_p = loaded.model(input_ids=row[None, :count]).logits[0, :-1].log_softmax(-1)
        labels = sample_labels(log_p, uniforms[start : start + count - 1])
        start += count - 1
        scores = torch.autograd.grad(log_p[range(count - 1), labels].sum(), [*named.values()])
        for name, score in zip(named, scores, strict=True):
            totals[layer_of(name)] += float(score.double().square().sum())
    found = fisher_products(loaded, batch, uniforms)
    expected = {layer: total / start for layer, total in totals.items()}
    assert found.fisher_trace == pytest.approx(expected, rel=1e-5)
    assert found.trace == found.weighted_trace == {}
    assert found.quadratic_form is None


def test_the_fisher_trace_of_one_sample_is_that_of_the_joint_draw(loaded):
    batch = batch_of(7, vocabulary=VOCABULARY)
    _, along, uniforms = luck_for(loaded, 2)
    joint = curvature_products(loaded, batch, along, uniforms, None)
    assert fisher_products(loaded, batch, uniforms).fisher_trace == joint.fisher_trace


def test_the_fisher_trace_of_samples_one_by_one_is_that_of_all_labels_enumerated(loaded, batch):
    named = parameters_of(loaded)
    _, log_p = token_loss(loaded, batch)
    truth = dict.fromkeys(LAYERS, 0.0)
    for position in log_p:
        for entry in position:
            gradient = torch.autograd.grad(entry, [*named.values()], retain_graph=True)
            for name, g in zip(named, gradient, strict=True):
                weight = float(entry.detach().exp()) / len(log_p)
                truth[layer_of(name)] += weight * float(g.double().square().sum())
    draws = [
        fisher_products(loaded, batch, luck_for(loaded, seed)[2]).fisher_trace for seed in range(60)
    ]
    for layer in LAYERS:
        assert within([draw[layer] for draw in draws], truth[layer])


def test_a_batch_that_predicts_nothing_has_no_fisher_trace(loaded):
    single = batch_of(1, vocabulary=VOCABULARY)
    found = fisher_products(loaded, single, torch.rand(4, dtype=torch.float64))
    assert all(math.isnan(value) for value in found.fisher_trace.values())


# Labels in pieces.


def test_labels_of_many_positions_are_those_of_each_by_itself():
    log_p = torch.randn(150, 9, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    uniforms = torch.rand(150, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    single = [sample_labels(log_p[i : i + 1], uniforms[i : i + 1]) for i in range(150)]
    assert torch.equal(sample_labels(log_p, uniforms), torch.cat(single))
