"""Linear maps that are given the samples end to end, and what must not be taken for one."""

from __future__ import annotations

import pytest
import torch
from tiny_models import batch_of, loaded_of, model_of
from torch import nn

from sdi_gate.models.activations import logits
from sdi_gate.models.hessian import sample_labels
from sdi_gate.models.matrices import linear_maps, read_tokens

FLAT = {"opt": ("fc1", "fc2"), "qwen2_moe": ("shared_expert.up_proj", "shared_expert_gate")}


def uniforms():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(20, generator=generator, dtype=torch.float64)


def is_flat(name, family):
    return any(f".{part}." in name for part in FLAT[family])


@pytest.mark.parametrize("family", FLAT)
def test_gradient_times_input_is_the_gradient_of_the_weight(family):
    loaded, batch = loaded_of(model_of(family)), batch_of(9, 11)
    # Padding gives no gradient: all positions together make the weight's own.
    found = read_tokens(loaded, batch, torch.ones_like(batch.mask, dtype=torch.bool), uniforms())
    maps = linear_maps(loaded)
    assert sum(is_flat(name, family) for name in found) == 4
    with torch.enable_grad():
        log_p = logits(loaded, batch)[batch.mask.bool()].log_softmax(-1)
        labels = sample_labels(log_p, uniforms())
        loss = -log_p.gather(1, labels[:, None]).sum()
        gradients = torch.autograd.grad(loss, [maps[name].weight for name in found])
    for (name, reading), gradient in zip(found.items(), gradients, strict=True):
        made = reading.gradients.mT @ reading.inputs
        torch.testing.assert_close(made, gradient, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("family", FLAT)
def test_only_the_chosen_positions_are_read_sample_after_sample(family):
    loaded, batch = loaded_of(model_of(family)), batch_of(6, 4)
    chosen = torch.zeros(2, 6, dtype=torch.bool)
    chosen[0, [2, 5]] = chosen[1, 3] = True
    whole = read_tokens(loaded, batch, batch.mask.bool(), uniforms())
    found = read_tokens(loaded, batch, chosen, uniforms())
    assert any(is_flat(name, family) for name in found)
    for name, reading in found.items():
        assert torch.equal(reading.inputs, whole[name].inputs[[2, 5, 9]])
        assert torch.equal(reading.gradients, whole[name].gradients[[2, 5, 9]])


class _Expert(nn.Module):
    """Take all tokens, in the reverse order."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(16, 16)

    def forward(self, hidden):
        flat = hidden.reshape(-1, 16).flip(0)
        return self.inner(flat).flip(0).reshape(hidden.shape)


class _Experts(nn.ModuleList):
    """Send everything to the first expert."""

    def forward(self, hidden):
        return self[0](hidden)


class _Router(nn.Linear):
    """Be a linear map by class, and give what it chose."""

    def forward(self, hidden):
        made = super().forward(hidden)
        return made, made.argmax(-1)


def test_an_expert_that_is_given_every_token_in_its_own_order_is_not_read():
    model = model_of("llama")
    layer = model.model.layers[0]
    layer.mlp = _Experts([_Expert()])
    loaded, batch = loaded_of(model), batch_of(4, 4)
    found = read_tokens(loaded, batch, batch.mask.bool(), uniforms())
    assert "model.layers.0.mlp.0.inner.weight" in linear_maps(loaded)
    assert "model.layers.0.mlp.0.inner.weight" not in found
    assert "model.layers.0.self_attn.q_proj.weight" in found


def test_a_router_that_gives_what_it_chose_is_not_read():
    model = model_of("llama")
    layer = model.model.layers[0]
    router, mlp = _Router(16, 16), layer.mlp

    class _Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router, self.inner = router, mlp

        def forward(self, hidden):
            return self.inner(self.router(hidden)[0])

    layer.mlp = _Routed()
    loaded, batch = loaded_of(model), batch_of(4, 4)
    found = read_tokens(loaded, batch, batch.mask.bool(), uniforms())
    assert "model.layers.0.mlp.router.weight" not in found
    assert "model.layers.0.mlp.inner.up_proj.weight" in found
