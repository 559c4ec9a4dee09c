"""What is read at the linear maps, against the gradients that autograd gives for the weights."""

from __future__ import annotations

import pytest
import torch
from tiny_models import batch_of, loaded_of, model_of
from torch import nn

from sdi_gate.models.activations import logits
from sdi_gate.models.hessian import sample_labels
from sdi_gate.models.matrices import linear_maps, read_tokens, weight_of

FUSED = ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")
PARTED = tuple(f"self_attn.{letter}_proj" for letter in "qkvo")
GATED = (*PARTED, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
MAPS = {
    "llama": GATED,
    "mistral": GATED,
    "gemma": GATED,
    "gemma2": GATED,
    "qwen2": GATED,
    "qwen3": GATED,
    "phi": (*PARTED[:3], "self_attn.dense", "mlp.fc1", "mlp.fc2"),
    "phi3": FUSED,
}


def everything(batch):
    return batch.mask.bool()


def uniforms(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(100, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("family", MAPS)
def test_the_linear_maps_of_the_decoder_layers_are_found_and_no_others(family):
    loaded = loaded_of(model_of(family))
    expected = {f"model.layers.{i}.{name}.weight" for i in range(2) for name in MAPS[family]}
    assert set(linear_maps(loaded)) == expected
    assert set(read_tokens(loaded, batch_of(5), everything(batch_of(5)), None)) == expected


@pytest.mark.parametrize("family", MAPS)
def test_inputs_and_gradients_make_the_gradient_of_every_weight(family):
    loaded = loaded_of(model_of(family, seed=3))
    batch = batch_of(7, 4, 9)
    readings = read_tokens(loaded, batch, everything(batch), uniforms())
    log_p = logits(loaded, batch)[everything(batch)].log_softmax(-1)
    labels = sample_labels(log_p, uniforms()[:20])
    loss = -log_p.gather(1, labels[:, None]).sum()
    maps = linear_maps(loaded)
    gradients = torch.autograd.grad(loss, [maps[name].weight for name in readings])
    for (name, found), gradient in zip(readings.items(), gradients, strict=True):
        made = found.gradients.mT @ found.inputs
        torch.testing.assert_close(made, gradient, rtol=1e-3, atol=1e-4, msg=name)
        assert found.inputs.shape == (20, maps[name].in_features)
        assert found.gradients.shape == (20, maps[name].out_features)


def test_only_the_chosen_positions_are_read_sample_after_sample():
    loaded, batch = loaded_of(model_of("llama")), batch_of(6, 4)
    chosen = torch.zeros(2, 6, dtype=torch.bool)
    chosen[0, [2, 5]] = chosen[1, 3] = True
    whole = read_tokens(loaded, batch, everything(batch), uniforms())
    for name, found in read_tokens(loaded, batch, chosen, uniforms()).items():
        assert torch.equal(found.inputs, whole[name].inputs[[2, 5, 9]])
        assert torch.equal(found.gradients, whole[name].gradients[[2, 5, 9]])


def test_without_random_numbers_no_gradient_is_taken():
    loaded, batch = loaded_of(model_of("llama")), batch_of(6, 4)
    with_gradients = read_tokens(loaded, batch, everything(batch), uniforms())
    for name, found in read_tokens(loaded, batch, everything(batch), None).items():
        assert found.gradients is None
        assert not found.inputs.requires_grad
        torch.testing.assert_close(found.inputs, with_gradients[name].inputs)


def test_maps_that_read_one_tensor_share_its_reading():
    loaded, batch = loaded_of(model_of("llama")), batch_of(6, 4)
    found = read_tokens(loaded, batch, everything(batch), uniforms())
    layer = {
        name.split(".")[-2]: reading.inputs for name, reading in found.items() if ".0." in name
    }
    assert layer["q_proj"] is layer["k_proj"] is layer["v_proj"]
    assert layer["gate_proj"] is layer["up_proj"]
    assert len({id(inputs) for inputs in layer.values()}) == 4


class _InPlace(nn.Module):
    """Change the input after it was read."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        output = self.inner(x)
        x.add_(1.0)
        return output


def test_an_input_that_was_changed_in_between_is_read_again():
    loaded, batch = loaded_of(model_of("llama")), batch_of(6)
    attention = loaded.layers[0].self_attn
    attention.q_proj = _InPlace(attention.q_proj)
    found = read_tokens(loaded, batch, everything(batch), None)
    first = found["model.layers.0.self_attn.q_proj.inner.weight"].inputs
    second = found["model.layers.0.self_attn.k_proj.weight"].inputs
    torch.testing.assert_close(second, first + 1.0)


def test_padding_moves_no_reading():
    loaded, together, alone = loaded_of(model_of("llama")), batch_of(4, 9), batch_of(4)
    mixed = read_tokens(loaded, together, everything(together), uniforms())
    for name, found in read_tokens(loaded, alone, everything(alone), uniforms()).items():
        torch.testing.assert_close(found.inputs, mixed[name].inputs[:4], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.gradients, mixed[name].gradients[:4], rtol=1e-3, atol=1e-4)


def test_other_random_numbers_sample_other_labels():
    loaded, batch = loaded_of(model_of("llama")), batch_of(6, 4)
    first, second = (read_tokens(loaded, batch, everything(batch), uniforms(s)) for s in (0, 1))
    for name, found in first.items():
        assert torch.equal(found.inputs, second[name].inputs)
        assert not torch.equal(found.gradients, second[name].gradients)


def test_frozen_weights_are_read_alike_and_keep_no_gradient():
    loaded, batch = loaded_of(model_of("llama")), batch_of(6, 4)
    free = read_tokens(loaded, batch, everything(batch), uniforms())
    loaded.model.requires_grad_(False)
    for name, found in read_tokens(loaded, batch, everything(batch), uniforms()).items():
        assert torch.equal(found.gradients, free[name].gradients)
    assert all(parameter.grad is None for parameter in loaded.model.parameters())


def test_the_model_is_left_without_hooks():
    loaded, batch = loaded_of(model_of("llama")), batch_of(6)
    for numbers in (None, uniforms()):
        read_tokens(loaded, batch, everything(batch), numbers)
    assert not any(module._forward_hooks for module in loaded.model.modules())


def test_a_matrix_that_is_stored_transposed_is_read_as_outputs_by_inputs():
    loaded, batch = loaded_of(model_of("gpt2")), batch_of(6)
    found = read_tokens(loaded, batch, everything(batch), uniforms())
    maps = linear_maps(loaded)
    assert len(maps) == len(found) == 2 * 4
    for name, module in maps.items():
        outputs, inputs = weight_of(module).shape
        assert found[name].inputs.shape[1] == inputs
        assert found[name].gradients.shape[1] == outputs


class _Routed(nn.Module):
    """Send only some of the tokens through the map, as an expert does."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return torch.cat([self.inner(x[:, :1]), self.inner(x[:, 1:])], 1)


class _Twice(nn.Module):
    """Use the same map two times."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) + self.inner(-x) / 2


class _Unused(nn.Module):
    """Compute what nothing depends on."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.idle = inner, nn.Linear(inner.in_features, 3)

    def forward(self, x):
        self.idle(x)
        return self.inner(x)


@pytest.mark.parametrize("wrapper", [_Routed, _Twice])
@pytest.mark.parametrize("numbers", [None, uniforms()], ids=["inputs", "gradients"])
def test_maps_that_do_not_see_every_token_once_are_left_out(wrapper, numbers):
    loaded, batch = loaded_of(model_of("llama")), batch_of(6)
    mlp = loaded.layers[1].mlp
    mlp.up_proj = wrapper(mlp.up_proj)
    names = set(linear_maps(loaded))
    left_out = {"model.layers.1.mlp.up_proj.inner.weight"}
    assert names - set(read_tokens(loaded, batch, everything(batch), numbers)) == left_out


def test_a_map_on_which_the_loss_does_not_depend_has_no_gradient_and_is_left_out():
    loaded, batch = loaded_of(model_of("llama")), batch_of(6)
    mlp = loaded.layers[0].mlp
    mlp.up_proj = _Unused(mlp.up_proj)
    idle = "model.layers.0.mlp.up_proj.idle.weight"
    assert idle in read_tokens(loaded, batch, everything(batch), None)
    assert idle not in read_tokens(loaded, batch, everything(batch), uniforms())
