"""What a configuration says, and what is refused because of it."""

from __future__ import annotations

import json

import pytest
from checkpoint_files import pinned, write_checkpoint, write_json
from tiny_models import FAMILIES, config_of

from sdi_gate.errors import ExitCode, FormatError, IncomparableError
from sdi_gate.models.config import check_same_architecture, read_config


@pytest.fixture
def model(tmp_path):
    def make(name="model", **plain):
        folder = write_checkpoint(tmp_path / name)
        write_json(folder / "config.json", plain)
        return pinned(folder)

    return make


@pytest.mark.parametrize("family", FAMILIES)
def test_family_and_class_are_read_as_transformers_writes_them(tmp_path, family):
    folder = write_checkpoint(tmp_path / family)
    config = config_of(family, architectures=["SomeForCausalLM"])
    config.save_pretrained(folder)
    found = read_config(pinned(folder))
    assert (found.model_type, found.architecture) == (family, "SomeForCausalLM")
    assert found.quantization is None
    assert found.plain == json.loads((folder / "config.json").read_bytes())


@pytest.mark.parametrize("named", [None, [], "X", [3], {}], ids=repr)
def test_a_class_that_is_not_named_is_called_by_the_family(model, named):
    found = read_config(model(model_type="llama", architectures=named))
    assert found.architecture is None
    assert found.name == "llama"


@pytest.mark.parametrize("model_type", [None, "", 3, ["llama"]], ids=repr)
def test_a_model_without_a_type_is_refused(model, model_type):
    with pytest.raises(FormatError, match=r"does not name a 'model_type'; got "):
        read_config(model(model_type=model_type))


def test_what_a_configuration_says_of_quantisation_is_handed_on(model):
    said = {"quant_method": "gptq", "bits": 4, "group_size": -1}
    assert read_config(model(model_type="llama", quantization_config=said)).quantization == said


@pytest.mark.parametrize("said", [True, "gptq", ["gptq"], 4], ids=repr)
def test_a_quantisation_that_is_no_object_is_refused(model, said):
    with pytest.raises(FormatError, match=r"'quantization_config' in config\.json of .* no object"):
        read_config(model(model_type="llama", quantization_config=said))


def test_an_empty_quantisation_is_none(model):
    assert read_config(model(model_type="llama", quantization_config=None)).quantization is None


def test_a_configuration_that_names_a_key_twice_is_refused(model):
    twice = model(model_type="llama")
    (twice.folder / "config.json").write_text('{"model_type": "llama", "model_type": "gpt2"}')
    with pytest.raises(FormatError, match="key 'model_type' stands in one object twice"):
        read_config(twice)


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
    base, candidate = read_config(base), read_config(candidate)
    with pytest.raises(IncomparableError, match=r"different architectures: .* is A \(llama\), "):
        check_same_architecture(base, candidate)
    with pytest.raises(IncomparableError, match="different architectures") as caught:
        check_same_architecture(candidate, base)
    assert caught.value.exit_code is ExitCode.INCOMPARABLE


def test_a_class_that_one_model_does_not_name_is_taken_to_be_the_others(model):
    base = model("base", model_type="llama", architectures=["A"])
    candidate = model("candidate", model_type="llama")
    base, candidate = read_config(base), read_config(candidate)
    assert check_same_architecture(base, candidate) is None
    assert check_same_architecture(candidate, base) is None
    assert (base.name, candidate.name) == ("A", "llama")


def test_the_same_architecture_may_differ_in_everything_else(model):
    base = model("base", model_type="llama", architectures=["A"], vocab_size=3)
    candidate = model("candidate", model_type="llama", architectures=["A"], vocab_size=4)
    assert check_same_architecture(read_config(base), read_config(candidate)) is None


@pytest.mark.parametrize("key", ["num_labels", "num_hidden_layers", "n_layer"])
def test_a_count_that_would_fill_the_memory_is_refused_before_transformers_sees_it(model, key):
    absurd = model(model_type="llama", **{key: 10**9})
    with pytest.raises(FormatError, match=rf"'{key}' is 1000000000; expected at most 1,000,000"):
        read_config(absurd)


def test_an_absurd_size_is_found_at_every_depth(model):
    absurd = model(model_type="llama", text_config={"parts": [{"hidden_size": 10**12}]})
    with pytest.raises(
        FormatError, match=r"config\.json of file:.*: 'hidden_size' is 1000000000000"
    ):
        read_config(absurd)
