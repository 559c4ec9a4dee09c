"""Curvature products against the dense Hessian, finite differences and enumeration, in float64."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from tiny_models import FAMILIES, batch_of, config_of, loaded_of, model_of

from sdi_gate.models.hessian import (
    curvature_products,
    parameters_of,
    quadratic_form,
    sample_labels,
    token_loss,
)
from sdi_gate.models.layers import layer_of
from sdi_gate.models.tokens import Batch
from sdi_gate.signals.signs import rademacher

if TYPE_CHECKING:
    from sdi_gate.models.causal_lm import LoadedModel

VOCABULARY = 12
TINY = {
    "vocab_size": VOCABULARY,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
}
LAYERS = ("embedding", "layers.0", "layers.1", "other", "head")


def tiny(seed=0, family="llama", **changes) -> LoadedModel:
    sizes = {"vocab_size": VOCABULARY, "n_embd": 8} if family == "gpt2" else TINY
    return loaded_of(model_of(family, seed=seed, **(sizes | changes)).double())


@pytest.fixture(scope="module", autouse=True)
def _float64_throughout():
    """Let norms and softmaxes compute in float64 too.

    The models of transformers promote these to float32 by name, whatever a model's own type, and
    second differences of a loss in float32 are rounding.
    """
    patch = pytest.MonkeyPatch()
    patch.setattr(torch, "float32", torch.float64)
    patch.setattr(torch.Tensor, "float", torch.Tensor.double)
    yield
    patch.undo()


def tokens_of(*lengths, seed=0) -> Batch:
    return batch_of(*lengths, vocabulary=VOCABULARY, seed=seed)


def signs_for(loaded, seed):
    generator = torch.Generator().manual_seed(seed)
    named = parameters_of(loaded)
    signs = {name: rademacher(p.shape, generator) for name, p in named.items()}
    uniforms = torch.rand(64, generator=generator, dtype=torch.float64)
    return signs, uniforms


def of(vector):
    """Return a vector as products ask for it: by name, in a parameter's type."""
    return lambda name, parameter: vector[name].to(parameter)


def products(loaded, batch, seed, update=None):
    signs, uniforms = signs_for(loaded, seed)
    along = None if update is None else of(update)
    return curvature_products(loaded, batch, of(signs), uniforms, along)


def loss_at(loaded, batch, vector, step):
    """Return the loss at a step along a vector, and leave the model as it was."""
    named = parameters_of(loaded)
    kept = {name: p.detach().clone() for name, p in named.items()}
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.add_(vector[name], alpha=step)
        value = float(token_loss(loaded, batch)[0])
        for name, parameter in named.items():
            parameter.copy_(kept[name])
    return value


def within(draws, truth, num_errors=4.0):
    values = torch.tensor(draws, dtype=torch.float64)
    stderr = float(values.std()) / math.sqrt(len(draws))
    return abs(float(values.mean()) - truth) < num_errors * stderr


@pytest.fixture(scope="module")
def loaded():
    return tiny()


@pytest.fixture(scope="module")
def batch():
    return tokens_of(6, 4)


@pytest.fixture(scope="module")
def dense(loaded, batch):
    """Return the dense Hessian, column by column, and the layer group of every row."""
    named = parameters_of(loaded)
    tensors = [*named.values()]
    gradient = torch.autograd.grad(token_loss(loaded, batch)[0], tensors, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in gradient])
    columns = [
        torch.cat([c.reshape(-1) for c in torch.autograd.grad(entry, tensors, retain_graph=True)])
        for entry in flat
    ]
    owners = [layer_of(name) for name, p in named.items() for _ in range(p.numel())]
    H = torch.stack(columns)
    assert 300 < len(H) < 3000
    torch.testing.assert_close(H, H.mT)
    return H, {layer: torch.tensor([o == layer for o in owners]) for layer in LAYERS}


def flat(vector):
    return torch.cat([tensor.double().reshape(-1) for tensor in vector.values()])


# The Hessian.


def test_a_draw_is_the_quadratic_form_of_the_dense_hessian_layer_by_layer(loaded, batch, dense):
    H, masks = dense
    signs, uniforms = signs_for(loaded, 7)
    found = curvature_products(loaded, batch, of(signs), uniforms, None)
    v = flat(signs)
    u = v * flat(parameters_of(loaded)).detach()
    assert tuple(found.trace) == LAYERS
    for layer, mask in masks.items():
        expected = float((v * (H @ v))[mask].sum())
        assert found.trace[layer] == pytest.approx(expected, rel=1e-9, abs=1e-9)
        weighted = float((u * (H @ u))[mask].sum())
        assert found.weighted_trace[layer] == pytest.approx(weighted, rel=1e-9, abs=1e-9)


def test_the_mean_of_draws_is_the_trace_of_each_layers_block(loaded, batch, dense):
    H, masks = dense
    theta = flat(parameters_of(loaded)).detach()
    draws = [products(loaded, batch, seed) for seed in range(150)]
    for layer, mask in masks.items():
        trace = float(H.diagonal()[mask].sum())
        assert within([draw.trace[layer] for draw in draws], trace)
        scaled = float((theta.square() * H.diagonal())[mask].sum())
        assert within([draw.weighted_trace[layer] for draw in draws], scaled)
    whole = [sum(draw.trace.values()) for draw in draws]
    assert within(whole, float(H.trace()))
    # Rademacher signs: the variance is twice the squares off the diagonal.
    variance = 2 * float(H.square().sum() - H.diagonal().square().sum())
    assert float(torch.tensor(whole).var()) == pytest.approx(variance, rel=0.5)


@pytest.mark.parametrize("family", FAMILIES)
def test_products_equal_second_differences_of_the_loss_in_every_family(family):
    heads = {"num_key_value_heads": 2} if family == "phi" else {}
    dims = {"head_dim": 4} if hasattr(config_of(family), "head_dim") else {}
    loaded = tiny(family=family, **heads, **dims)
    batch = tokens_of(5, 7, 3)
    signs, uniforms = signs_for(loaded, 1)
    found = curvature_products(loaded, batch, of(signs), uniforms, None)
    step = 1e-4
    values = [loss_at(loaded, batch, signs, i * step) for i in (-1, 0, 1)]
    second = (values[0] - 2 * values[1] + values[2]) / step**2
    assert sum(found.trace.values()) == pytest.approx(second, rel=1e-4, abs=1e-4)


def test_a_trace_can_be_negative_so_that_no_logarithm_is_taken_of_it(loaded, batch):
    assert min(products(loaded, batch, seed).trace["layers.0"] for seed in range(12)) < 0


def test_the_quadratic_form_is_the_second_order_term_of_the_loss():
    loaded, batch = tiny(), tokens_of(6, 5)
    signs, uniforms = signs_for(loaded, 5)
    update = {name: 1e-4 * sign.double() for name, sign in signs.items()}
    found = curvature_products(loaded, batch, of(signs), uniforms, of(update))
    named = parameters_of(loaded)
    loss, _ = token_loss(loaded, batch)
    gradient = torch.autograd.grad(loss, [*named.values()])
    slope = float((flat(dict(zip(named, gradient, strict=True))) * flat(update)).sum())
    ahead, behind = (loss_at(loaded, batch, update, step) for step in (1.0, -1.0))
    # The mean over both directions leaves out the odd orders.
    taylor = (ahead + behind) / 2 - float(loss.detach())
    assert found.quadratic_form == pytest.approx(taylor, rel=1e-3)
    assert ahead - float(loss.detach()) - slope == pytest.approx(found.quadratic_form, rel=0.05)


def test_the_quadratic_form_grows_with_the_square_of_the_update(loaded, batch):
    update = {name: sign.cumsum(-1) for name, sign in signs_for(loaded, 3)[0].items()}
    double = {name: 2 * tensor for name, tensor in update.items()}
    one, other = (products(loaded, batch, 0, each).quadratic_form for each in (update, double))
    assert other == pytest.approx(4 * one, rel=1e-9)
    zero = {name: torch.zeros_like(tensor) for name, tensor in update.items()}
    assert products(loaded, batch, 0, zero).quadratic_form == 0.0


def test_without_an_update_there_is_no_quadratic_form_rather_than_zero(loaded, batch):
    assert products(loaded, batch, 0).quadratic_form is None


def test_the_quadratic_form_alone_is_that_of_a_whole_draw(loaded, batch):
    update = signs_for(loaded, 3)[0]
    whole = products(loaded, batch, 0, update).quadratic_form
    assert quadratic_form(loaded, batch, of(update)) == whole


def test_an_update_that_leaves_a_parameter_out_is_zero_there(loaded, batch):
    signs = signs_for(loaded, 3)[0]
    kept = {name: sign for name, sign in signs.items() if layer_of(name) == "layers.1"}
    zeros = {name: sign * (name in kept) for name, sign in signs.items()}
    expected = quadratic_form(loaded, batch, of(zeros))
    assert quadratic_form(loaded, batch, lambda name, _: kept.get(name)) == expected != 0.0
    assert quadratic_form(loaded, batch, lambda *_: None) == 0.0


def test_an_update_is_asked_for_parameter_by_parameter_without_a_graph(loaded, batch):
    asked = []

    def update(name, parameter):
        assert not parameter.requires_grad
        asked.append(name)
        return torch.ones_like(parameter)

    quadratic_form(loaded, batch, update)
    assert sorted(asked) == sorted([*parameters_of(loaded)] * 2)


def rescaled(seed=0) -> LoadedModel:
    """Return a model that computes the same: gains of the norms by 4, what follows by 1/4."""
    loaded = tiny(seed)
    with torch.no_grad():
        for layer in loaded.layers:
            layer.input_layernorm.weight *= 4
            layer.post_attention_layernorm.weight *= 4
            attention, mlp = layer.self_attn, layer.mlp
            for linear in (attention.q_proj, attention.k_proj, attention.v_proj):
                linear.weight /= 4
            for linear in (mlp.gate_proj, mlp.up_proj):
                linear.weight /= 4
    return loaded


def test_the_weight_scaled_trace_is_blind_to_a_rescaling_between_layers_and_the_trace_is_not(batch):
    plain, other = tiny(), rescaled()
    losses = [float(token_loss(loaded, batch)[0].detach()) for loaded in (plain, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    for seed in range(3):
        one, two = products(plain, batch, seed), products(other, batch, seed)
        for layer in LAYERS:
            expected = pytest.approx(one.weighted_trace[layer], rel=1e-7, abs=1e-9)
            assert two.weighted_trace[layer] == expected
        assert two.trace["layers.0"] != pytest.approx(one.trace["layers.0"], rel=0.1)
        assert two.fisher_trace["layers.0"] != pytest.approx(one.fisher_trace["layers.0"], rel=0.1)


# The Fisher trace.


def test_the_fisher_trace_is_that_of_all_labels_enumerated(loaded, batch):
    named = parameters_of(loaded)
    _, log_p = token_loss(loaded, batch)
    truth = dict.fromkeys(LAYERS, 0.0)
    for position in log_p:
        for entry in position:
            gradient = torch.autograd.grad(entry, [*named.values()], retain_graph=True)
            for name, g in zip(named, gradient, strict=True):
                weight = float(entry.detach().exp()) / len(log_p)
                truth[layer_of(name)] += weight * float(g.square().sum())
    draws = [products(loaded, batch, seed).fisher_trace for seed in range(150)]
    for layer in LAYERS:
        assert within([draw[layer] for draw in draws], truth[layer])
        assert min(draw[layer] for draw in draws) >= 0.0


# Sampled labels.


def uniform(n, seed=0):
    return torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_labels_are_drawn_with_the_models_probabilities():
    p = torch.tensor([0.5, 0.0, 0.3, 0.2, 0.0], dtype=torch.float64)
    n = 20_000
    labels = sample_labels(p.log().expand(n, 5), uniform(n))
    counts = torch.bincount(labels, minlength=5).double() / n
    assert counts[1] == counts[4] == 0
    stderr = (p * (1 - p) / n).sqrt()
    assert bool(((counts - p).abs() <= 4 * stderr).all())


def test_labels_are_the_inverse_of_the_cumulative_distribution():
    log_p = torch.tensor([[0.25, 0.25, 0.5]], dtype=torch.float64).log().expand(6, 3)
    uniforms = torch.tensor([0.0, 0.2, 0.25, 0.4, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert sample_labels(log_p, uniforms).tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_no_rounding_leads_beyond_the_vocabulary(dtype):
    log_p = torch.full((1, 50_000), -math.log(50_000), dtype=dtype)
    label = sample_labels(log_p, torch.tensor([1 - 2**-53], dtype=torch.float64))
    assert 49_990 <= int(label) < 50_000
    assert int(sample_labels(torch.full((1, 3), torch.nan), torch.tensor([0.5]).double())) == 2


def test_the_same_luck_gives_two_like_models_the_same_labels():
    log_p = torch.randn(500, 40, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    moved = log_p + 1e-3 * torch.randn(500, 40, generator=torch.Generator().manual_seed(2))
    ours, theirs = (sample_labels(x, uniform(500)) for x in (log_p, moved.log_softmax(-1)))
    assert torch.equal(ours, sample_labels(log_p, uniform(500)))
    assert float((ours != theirs).double().mean()) < 0.02
    assert float((ours != sample_labels(log_p, uniform(500, seed=9))).double().mean()) > 0.5


# The loss.


def test_the_loss_is_the_mean_over_the_real_tokens(loaded):
    batch = tokens_of(6, 3, 5)
    loss, log_p = token_loss(loaded, batch)
    naive = []
    for row, mask in zip(batch.ids, batch.mask, strict=True):
        ids = row[mask.bool()][None]
        scores = loaded.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        naive.extend(-scores[range(ids.shape[1] - 1), ids[0, 1:]])
    assert len(log_p) == len(naive) == 11
    torch.testing.assert_close(loss, torch.stack(naive).mean())
    labels = batch.ids.masked_fill(batch.mask == 0, -100)
    theirs = loaded.model(input_ids=batch.ids, attention_mask=batch.mask, labels=labels).loss
    torch.testing.assert_close(loss, theirs)


def test_padding_does_not_change_a_product(loaded):
    batch = tokens_of(6, 4)
    zeros = torch.zeros(2, 5, dtype=torch.int64)
    longer = Batch(
        indices=batch.indices,
        ids=torch.cat([batch.ids, zeros + 9], 1),
        mask=torch.cat([batch.mask, zeros], 1),
    )
    update = {name: p.detach() for name, p in parameters_of(loaded).items()}
    one, other = (products(loaded, each, 2, update) for each in (batch, longer))
    for a, b in (
        (one.trace, other.trace),
        (one.weighted_trace, other.weighted_trace),
        (one.fisher_trace, other.fisher_trace),
    ):
        assert a == pytest.approx(b, rel=1e-9, abs=1e-10)
    assert one.quadratic_form == pytest.approx(other.quadratic_form, rel=1e-9)


# What a draw leaves alone.


def test_equal_models_give_equal_products_to_the_bit(batch):
    one, other = tiny(), tiny()
    update = {name: p.detach() for name, p in parameters_of(one).items()}
    for seed in range(2):
        assert products(one, batch, seed, update) == products(other, batch, seed, update)


def test_a_draw_changes_neither_parameters_nor_gradients(batch):
    loaded = tiny()
    before = {name: p.detach().clone() for name, p in parameters_of(loaded).items()}
    products(loaded, batch, 0, before)
    for name, parameter in loaded.model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None


def test_a_tied_parameter_counts_once(batch):
    loaded = tiny(tie_word_embeddings=True)
    assert "lm_head.weight" not in parameters_of(loaded)
    assert set(products(loaded, batch, 0).trace) == set(LAYERS) - {"head"}


def test_experts_that_no_token_asks_for_have_no_curvature():
    loaded = tiny(family="mixtral", num_local_experts=8, num_experts_per_tok=1)
    loaded.model.set_experts_implementation("eager")  # grouped products know no float64
    found = products(loaded, tokens_of(3), 0)
    values = [*found.trace.values(), *found.weighted_trace.values(), *found.fisher_trace.values()]
    assert all(math.isfinite(value) for value in values)
    assert found.trace["layers.0"] != 0.0


def test_weights_that_are_not_finite_are_found_even_where_nothing_reads_them():
    loaded = tiny(family="mixtral", num_local_experts=8, num_experts_per_tok=1)
    loaded.model.set_experts_implementation("eager")
    batch = tokens_of(3)
    update = {name: torch.zeros_like(p) for name, p in parameters_of(loaded).items()}
    unread = next(name for name in update if "experts" in name and "layers.0" in name)
    update[unread][:] = math.nan
    assert math.isnan(products(loaded, batch, 0, update).quadratic_form)


def test_a_model_that_is_not_finite_gives_products_that_are_not(batch):
    loaded = tiny()
    with torch.no_grad():
        loaded.model.model.norm.weight[0] = torch.nan
    found = products(loaded, batch, 0)
    assert all(math.isnan(value) for value in found.trace.values())
    assert all(math.isnan(value) for value in found.fisher_trace.values())
