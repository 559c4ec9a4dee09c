"""GPT-2's Conv1D weights, which bitsandbytes quantises as those of linear layers."""

from __future__ import annotations

import pytest
import torch
from quantised_files import (
    REF,
    MemorySource,
    bitsandbytes_model,
    eight_bit,
    fp8_blocks,
    random_matrix,
)
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from sdi_gate.models.quantised.method import open_quantised
from sdi_gate.models.quantised.turned import turn_conv1d

CONFIG = {"quant_method": "bitsandbytes"}
pytest.importorskip("bitsandbytes")


def opened(held):
    return open_quantised(MemorySource(held), CONFIG, REF)


@pytest.mark.parametrize("options", [{"load_in_4bit": True}, {"load_in_8bit": True}], ids=str)
def test_a_gpt2_that_transformers_quantised_comes_back_as_it_was(tmp_path, options):
    _, folder = bitsandbytes_model(tmp_path, "gpt2", n_embd=64, **options)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    modules = dict(plain.named_modules())
    transposed = {f"{name}.weight" for name, m in modules.items() if isinstance(m, Conv1D)}
    tensors, quantisation = open_quantised(MemorySource.of(folder), CONFIG, REF)
    turned = turn_conv1d(tensors, quantisation, transposed)
    state = plain.state_dict()
    assert quantisation.names == transposed
    for name in transposed:
        got = turned.read(turned.tensors[name])
        assert got.shape == state[name].shape == turned.tensors[name].shape
        assert (got - state[name]).norm() < 0.2 * state[name].norm()
    for name in turned.tensors.keys() - transposed:
        assert torch.equal(turned.read(turned.tensors[name]), state[name])


def test_stored_names_may_lack_the_name_of_the_whole():
    tensors, quantisation = opened(eight_bit(random_matrix(8, 8), "h.0.c_proj"))
    turned = turn_conv1d(tensors, quantisation, {"transformer.h.0.c_proj.weight"})
    info = turned.tensors["h.0.c_proj.weight"]
    assert torch.equal(turned.read(info), tensors.read(info).T)


def test_linear_weights_and_other_methods_are_left_as_they_are():
    tensors, quantisation = opened(eight_bit(random_matrix(8, 8), "h.0.other"))
    assert turn_conv1d(tensors, quantisation, {"transformer.h.0.c_proj.weight"}) is tensors
    data, scale, _ = fp8_blocks(random_matrix(8, 8), (16, 16))
    held = {"h.0.c_proj.weight": data, "h.0.c_proj.weight_scale_inv": scale}
    config = {"quant_method": "fp8", "weight_block_size": [16, 16]}
    tensors, quantisation = open_quantised(MemorySource(held), config, REF)
    assert turn_conv1d(tensors, quantisation, {"transformer.h.0.c_proj.weight"}) is tensors
