"""Whole scans of quantised candidates: quantisation is part of what is measured, and is said."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from gguf_files import llama_to_gguf
from quantised_files import bitsandbytes_model
from test_adapter_scan import VARIANTS, adapt, numbers
from tiny_models import build_base, build_tokenizer, edit_json, scan

from sdi_gate.errors import IncomparableError
from sdi_gate.gate.models import open_pair
from sdi_gate.models.folder import FolderSource
from sdi_gate.models.ref import ModelRef
from sdi_gate.policy.facts import Tier
from sdi_gate.progress import NullProgress

pytestmark = pytest.mark.filterwarnings("ignore")


def fetch(folder):
    return FolderSource().fetch(ModelRef.parse(f"file:{folder}"), NullProgress())


@pytest.fixture
def pair(tmp_path):
    """A plain model and what bitsandbytes makes of it in 4 bits."""
    _, quantised = bitsandbytes_model(tmp_path, load_in_4bit=True, bnb_4bit_quant_type="nf4")
    build_tokenizer().save_pretrained(quantised)
    return tmp_path / "plain", quantised


def test_a_quantised_candidate_is_measured_and_the_report_knows_it(pair):
    base, quantised = pair
    result = scan(base, quantised)
    assert result.alignment.coverage == 1.0
    assert result.tier.ran is Tier.FULL
    assert "nf4" in result.candidate.quantisation
    assert result.base.quantisation is None
    geometry = result.signals[0].estimate.value
    assert 0.01 < geometry < 0.2  # 4 bits of a normal distribution
    assert result.config_differences == ()


def test_what_is_measured_is_what_the_library_dequantises(pair):
    found = open_pair(*map(fetch, pair))
    name = "model.layers.0.self_attn.q_proj.weight"
    ours = found.candidate.source.read(found.candidate.tensors[name])
    original = found.base.source.read(found.base.tensors[name])
    assert ours.shape == original.shape
    assert 0.0 < float((ours.float() - original).abs().max()) < float(original.abs().max())


def test_a_quantised_model_beside_itself_scores_exactly_zero(pair, tmp_path):
    one = pair[1]
    two = tmp_path / "two"
    shutil.copytree(one, two)
    result = scan(one, two)
    assert all(signal.estimate.value == 0.0 for signal in result.signals)


def test_a_qlora_adapter_is_compared_with_the_quantised_base_it_was_trained_on(pair, tmp_path):
    pytest.importorskip("peft")
    plain, quantised = pair
    adapter, _ = adapt(plain, tmp_path, **VARIANTS["lora"])
    found = scan(quantised, adapter, "weights")
    assert found.candidate.quantisation == found.base.quantisation
    rows = {
        row.tensor: row.estimate.value
        for row in found.signals[0].measurements
        if row.metric == "relative-distance" and row.tensor
    }
    # The error of quantisation is in both, so that only what the adapter adds is left.
    assert {name for name, value in rows.items() if value > 0.0} == {
        f"model.layers.{i}.{part}.weight"
        for i in range(2)
        for part in ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")
    }
    same = numbers(scan(quantised, adapter, "weights"))
    assert same == numbers(found)


def test_a_gguf_candidate_is_measured(tmp_path):
    pytest.importorskip("gguf")
    base = build_base(tmp_path / "base", hidden_size=64, intermediate_size=96)
    folder = tmp_path / "gguf"
    folder.mkdir()
    llama_to_gguf(folder / "model.gguf", "F32")
    result = scan(base, folder)
    assert result.alignment.coverage == 1.0
    assert result.signals[0].estimate.value == 0.0
    assert result.candidate.snapshot.kind == "gguf"


@pytest.mark.parametrize("method", ["gptq", "awq", "hqq"])
def test_what_cannot_be_dequantised_here_is_refused_with_the_remedy(tmp_path, method):
    base, other = build_base(tmp_path / "base"), build_base(tmp_path / "other")
    edit_json(other / "config.json", quantization_config={"quant_method": method, "bits": 4})
    with pytest.raises(IncomparableError, match=method) as caught:
        scan(base, other)
    assert "before it" in caught.value.hint or "dequanti" in caught.value.hint


def test_a_quantised_type_without_a_configuration_is_refused(tmp_path):
    base = build_base(tmp_path / "base")
    other = tmp_path / "other"
    shutil.copytree(base, other)
    from tiny_models import rewrite  # noqa: PLC0415

    rewrite(other, lambda t: t.update({n: v.to(torch.float8_e4m3fn) for n, v in t.items()}))
    with pytest.raises(IncomparableError, match="F8_E4M3, a quantised type"):
        scan(base, other)
    assert "quantization_config" not in json.loads((other / "config.json").read_text())
