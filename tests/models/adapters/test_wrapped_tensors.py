import warnings

import pytest
import torch
from adapter_files import DictTensors, base_of, state_of
from tiny_models import model_of

from sdi_gate.errors import FormatError
from sdi_gate.models.adapters.wrapped import UnwrappedTensors, is_wrapped


def unwrapped(*names):
    tensors = {name: torch.full((2, 2), float(i)) for i, name in enumerate(names)}
    return UnwrappedTensors(DictTensors(tensors))


def test_the_tensors_beneath_an_adapter_have_their_own_names():
    source = unwrapped(
        "model.layers.0.self_attn.q_proj.base_layer.weight",
        "model.layers.0.self_attn.q_proj.base_layer.bias",
        "model.layers.0.self_attn.q_proj.lora_A.default.weight",
        "model.layers.0.self_attn.q_proj.lora_B.default.weight",
        "model.layers.0.self_attn.q_proj.lora_magnitude_vector.default.weight",
        "model.embed_tokens.lora_embedding_A.default",
        "lm_head.original_module.weight",
        "lm_head.modules_to_save.default.weight",
        "model.norm.weight",
    )
    read = {name: float(source.read(info)[0, 0]) for name, info in source.tensors.items()}
    assert read == {
        "model.layers.0.self_attn.q_proj.weight": 0.0,
        "model.layers.0.self_attn.q_proj.bias": 1.0,
        "lm_head.weight": 6.0,
        "model.norm.weight": 8.0,
    }


def test_a_model_without_wrappers_is_shown_as_it_is():
    names = ("model.layers.0.self_attn.q_proj.weight", "model.norm.weight")
    assert [*unwrapped(*names).tensors] == [*names]
    assert not is_wrapped(unwrapped(*names).tensors)
    assert is_wrapped(DictTensors({"q.base_layer.weight": torch.ones(1)}).tensors)
    assert is_wrapped(DictTensors({"q.original_module.weight": torch.ones(1)}).tensors)


@pytest.mark.parametrize(
    "name",
    [
        "q_proj.lora_C.default.weight", "q_proj.lora_B.default.bias", "q_proj.hada_w3_a",
        "q_proj.base_layer.base_layer.weight", "lora_A.weight", "q_proj..weight", "q proj.weight",
    ],
)  # fmt: skip
def test_what_an_adapter_left_behind_and_is_not_known_is_refused(name):
    with pytest.raises(FormatError, match="is in a wrapper that is not known"):
        unwrapped(name)


def test_two_tensors_of_one_name_are_refused():
    with pytest.raises(
        FormatError, match=r"'q_proj\.base_layer\.weight' of 'memory' is there twice"
    ):
        unwrapped("q_proj.weight", "q_proj.base_layer.weight")


def test_a_model_that_peft_wrapped_reads_as_the_model_itself():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        r=2, target_modules=["q_proj", "embed_tokens"], modules_to_save=["lm_head"], use_dora=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = peft.get_peft_model(model_of("llama"), config)
    state = {key: value.clone() for key, value in wrapped.base_model.model.state_dict().items()}
    ours = state_of(UnwrappedTensors(DictTensors(state)))
    theirs = state_of(base_of(model_of("llama")).source)
    assert {*ours} == {*theirs}
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
