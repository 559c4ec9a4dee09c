"""GGUF: what llama.cpp would run and transformers does not read is refused, or said."""

from __future__ import annotations

import logging

import pytest
from gguf_files import llama_to_gguf
from quantised_files import REF

from sdi_gate.errors import FormatError, IncomparableError
from sdi_gate.models.bounds import TooManyModulesError
from sdi_gate.models.quantised import gguf as ours
from sdi_gate.models.quantised import libraries
from sdi_gate.models.quantised.gguf import GgufTensors

pytest.importorskip("gguf")


def opened(tmp_path, **values):
    """Write a Llama with more values; ``_dot_`` stands for a dot."""

    def alter(writer):
        for key, value in values.items():
            name = f"llama.{key.replace('_dot_', '.')}"
            writer.kv_data[0].pop(name, None)
            kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32}
            kinds.get(type(value), writer.add_string)(name, value)

    llama_to_gguf(tmp_path / "m.gguf", alter=alter)
    return GgufTensors(tmp_path / "m.gguf", REF)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attention_dot_causal", False),
        ("attention_dot_scale", 9.0),
        ("attention_dot_clamp_kqv", 0.1),
        ("attention_dot_sliding_window", 4),
        ("attention_dot_layer_norm_epsilon", 0.5),
        ("attention_dot_value_length", 8),
        ("logit_scale", 0.01),
        ("logit_scale", float("nan")),
        ("residual_scale", 3.0),
        ("rope_dot_scale_linear", 8.0),
        ("rope_dot_scaling_dot_factor", 8.0),
        ("use_parallel_residual", True),
        ("final_logit_softcapping", 30.0),
        ("expert_count", 2),
        ("attn_logit_softcapping", 50.0),
        ("never_heard_of", 1),
        ("pooling_type", "cls"),
    ],
)
def test_a_key_that_matters_and_is_not_read_is_refused(tmp_path, key, value):
    name = key.replace("_dot_", ".")
    with pytest.raises(IncomparableError, match=f"GGUF file with '{name}'") as caught:
        opened(tmp_path, **{key: value})
    assert "was converted from" in caught.value.hint


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attention_dot_causal", True),
        ("attention_dot_scale", 32**-0.5),
        ("attention_dot_key_length", 32),
        ("attention_dot_sliding_window", 0),
        ("logit_scale", 1.0),
        ("rope_dot_scale_linear", 1.0),
        ("rope_dot_scaling_dot_type", "none"),
        ("rope_dot_scaling_dot_original_context_length", 4096),
        ("expert_count", 0),
        ("tensor_data_layout", "Meta AI original pth"),
    ],
)
def test_a_key_that_says_nothing_new_is_let_through(tmp_path, key, value):
    assert len(opened(tmp_path, **{key: value}).tensors) == 21


def test_the_tokenizer_in_the_file_is_not_read_and_that_is_said(tmp_path):
    assert "the base's was used for both" in opened(tmp_path).tokenizer_note

    def bare(writer):
        for key in [key for key in writer.kv_data[0] if key.startswith("tokenizer.")]:
            writer.kv_data[0].pop(key)

    llama_to_gguf(tmp_path / "bare.gguf", alter=bare)
    assert GgufTensors(tmp_path / "bare.gguf", REF).tokenizer_note == ""


@pytest.mark.parametrize(
    "error", [TooManyModulesError, MemoryError], ids=lambda kind: kind.__name__
)
def test_a_model_that_is_too_large_to_build_is_refused(tmp_path, monkeypatch, error):
    def refuse(*_args):
        raise error

    monkeypatch.setattr(ours, "build_bounded", refuse)
    with pytest.raises(FormatError, match=f"can make no model of .*: {error.__name__}"):
        opened(tmp_path)


def test_a_library_is_silent_while_it_is_imported_and_not_for_longer(monkeypatch, caplog):
    logger = logging.getLogger("noisy")

    def noisy(_name):
        logging.getLogger("noisy.part").warning("kernels!")
        return logging

    monkeypatch.setattr(libraries, "import_module", noisy)
    logger.setLevel(logging.INFO)
    assert libraries.owner("noisy", "noisy", REF) is logging
    assert caplog.text == ""
    assert logger.level == logging.INFO
