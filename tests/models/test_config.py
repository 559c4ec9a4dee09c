"""What a configuration says, and what is refused because of it."""

from __future__ import annotations

import pytest
from checkpoint_files import write_checkpoint, write_json
from tiny_models import FAMILIES, config_of, snapshot

from sdi_gate.errors import ExitCode, FormatError, IncomparableError
from sdi_gate.models.config import ModelConfig, check_same_architecture, read_config


@pytest.fixture
def model(tmp_path):
    def make(name="model", **plain):
        folder = write_checkpoint(tmp_path / name)
        write_json(folder / "config.json", plain)
        return snapshot(folder)

    return make


@pytest.mark.parametrize("family", FAMILIES)
def test_family_and_class_are_read_as_transformers_writes_them(tmp_path, family):
    folder = write_checkpoint(tmp_path / family)
    config = config_of(family, architectures=["SomeForCausalLM"])
    config.save_pretrained(folder)
    found = read_config(snapshot(folder))
    assert found == ModelConfig(model_type=family, architecture="SomeForCausalLM")


@pytest.mark.parametrize("named", [None, [], "X", [3], {}], ids=repr)
def test_a_class_that_is_not_named_is_called_by_the_family(model, named):
    found = read_config(model(model_type="llama", architectures=named))
    assert found.architecture is None
    assert found.name == "llama"


@pytest.mark.parametrize("model_type", [None, "", 3, ["llama"]], ids=repr)
def test_a_model_without_a_type_is_refused(model, model_type):
    with pytest.raises(FormatError, match=r"does not name a 'model_type'; got "):
        read_config(model(model_type=model_type))


def test_a_quantised_model_is_refused(model):
    quantised = model(model_type="llama", quantization_config={"quant_method": "gptq"})
    with pytest.raises(IncomparableError, match="is quantised") as caught:
        read_config(quantised)
    assert "before it is quantised" in caught.value.hint


def test_an_empty_quantisation_is_none(model):
    assert read_config(model(model_type="llama", quantization_config=None)).model_type == "llama"


def test_a_model_that_makes_transformers_load_other_weights_is_refused(model):
    other = model(model_type="llama", transformers_weights="other.safetensors")
    with pytest.raises(FormatError, match=r"names its weights itself \('transformers_weights'\)"):
        read_config(other)


@pytest.mark.parametrize(
    "other",
    [
        {"model_type": "mistral", "architectures": ["A"]},
        {"model_type": "llama", "architectures": ["B"]},
        {"model_type": "mistral"},
    ],
    ids=["family", "class", "no-class"],
)
def test_different_architectures_cannot_be_compared(model, other):
    base = model("base", model_type="llama", architectures=["A"])
    candidate = model("candidate", **other)
    with pytest.raises(IncomparableError, match=r"different architectures: .* is A \(llama\), "):
        check_same_architecture(base, candidate)
    with pytest.raises(IncomparableError, match="different architectures") as caught:
        check_same_architecture(candidate, base)
    assert caught.value.exit_code is ExitCode.INCOMPARABLE


def test_a_class_that_one_model_does_not_name_is_taken_to_be_the_others(model):
    base = model("base", model_type="llama", architectures=["A"])
    candidate = model("candidate", model_type="llama")
    assert check_same_architecture(base, candidate).name == "A"
    assert check_same_architecture(candidate, base).name == "llama"


def test_the_same_architecture_may_differ_in_everything_else(model):
    base = model("base", model_type="llama", architectures=["A"], vocab_size=3)
    candidate = model("candidate", model_type="llama", architectures=["A"], vocab_size=4)
    found = check_same_architecture(base, candidate)
    assert found == ModelConfig(model_type="llama", architecture="A")


@pytest.mark.parametrize("key", ["num_labels", "num_hidden_layers", "n_layer"])
def test_a_count_that_would_fill_the_memory_is_refused_before_transformers_sees_it(model, key):
    absurd = model(model_type="llama", **{key: 10**9})
    with pytest.raises(FormatError, match=rf"'{key}' is 1000000000; expected at most 1,000,000"):
        read_config(absurd)
