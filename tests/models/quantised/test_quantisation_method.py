"""Which method quantised a model, and what is said of those that are not read."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from quantised_files import REF, MemorySource

from sdi_gate.errors import ExitCode, FormatError, IncomparableError
from sdi_gate.models.quantised import libraries
from sdi_gate.models.quantised.dequantised import DequantisedTensors, Packed, Quantisation
from sdi_gate.models.quantised.gguf import gguf_config
from sdi_gate.models.quantised.method import open_quantised

METHODS = ("gptq", "awq", "hqq", "aqlm", "quanto", "torchao", "eetq", "vptq", "spqr", "higgs")
METHODS += ("mxfp4", "bitnet", "fbgemm_fp8", "fp_quant")
SOURCE = MemorySource({"x.weight": torch.zeros(2, 2)})


@pytest.mark.parametrize("method", [*METHODS, "Modelopt", "auto-round"])
def test_a_method_we_do_not_read_is_refused_with_the_remedy(method):
    with pytest.raises(IncomparableError, match=repr(method)) as caught:
        open_quantised(SOURCE, {"quant_method": method}, REF)
    assert caught.value.exit_code is ExitCode.INCOMPARABLE
    assert "before it was quantised" in caught.value.hint


def test_a_long_name_of_a_method_is_cut():
    with pytest.raises(IncomparableError, match="…") as caught:
        open_quantised(SOURCE, {"quant_method": "\x1b[31m" + "y" * 10_000}, REF)
    assert len(caught.value.message) < 250
    assert "\x1b" not in caught.value.message


@pytest.mark.parametrize("config", [{}, {"quant_method": 4}, {"load_in_4bit": "yes"}], ids=str)
def test_a_configuration_without_a_method_is_refused(config):
    with pytest.raises(FormatError, match="names no method"):
        open_quantised(SOURCE, config, REF)


@pytest.mark.parametrize(
    ("config", "package"),
    [
        ({"quant_method": "bitsandbytes"}, "bitsandbytes"),
        (
            {
                "quant_method": "compressed-tensors",
                "format": "int-quantized",
                "config_groups": {"a": {"weights": {"num_bits": 8}}},
            },
            "compressed-tensors",
        ),
    ],
    ids=["bitsandbytes", "compressed-tensors"],
)
def test_a_missing_library_is_named_with_what_installs_it(monkeypatch, config, package):
    def missing(_name):
        raise ImportError

    monkeypatch.setattr(libraries, "import_module", missing)
    with pytest.raises(IncomparableError, match=f"'{package}', which reads its format") as caught:
        open_quantised(SOURCE, config, REF)
    assert "pip install 'sdi-gate[quantised]'" in caught.value.hint


def test_gguf_without_its_library_is_refused(monkeypatch, tmp_path):
    def missing(_name):
        raise ImportError

    monkeypatch.setattr(libraries, "import_module", missing)
    with pytest.raises(IncomparableError, match="'gguf', which reads its format"):
        gguf_config(tmp_path / "m.gguf", REF)


@pytest.mark.parametrize(
    "config", [{"quant_method": "fp8"}, {"quant_method": "compressed-tensors"}]
)
def test_a_plain_checkpoint_that_says_it_is_quantised_is_refused(config):
    group = {"targets": ["Linear"], "weights": {"num_bits": 8, "strategy": "tensor"}}
    groups = {"config_groups": {"a": group}, "format": "int-quantized"}
    with pytest.raises(FormatError, match="holds no scale of") as caught:
        open_quantised(SOURCE, config | groups, REF)
    assert "if the weights are plain" in caught.value.hint


def test_nothing_optional_is_imported_with_the_modules():
    code = (
        "import sys, sdi_gate.models.quantised.method, sdi_gate.models.quantised.gguf;"
        "sys.exit(bool({'bitsandbytes', 'compressed_tensors', 'gguf'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own interpreter


def test_a_tensor_that_is_stored_quantised_and_plain_is_refused():
    source = MemorySource({"x.packed": torch.zeros(2), "x.weight": torch.zeros(2)})
    stored = source.tensors["x.packed"]
    packed = Packed(info=source.tensors["x.weight"], parts={"packed": stored}, anchor="x.packed")
    with pytest.raises(FormatError, match="quantised and plain"):
        DequantisedTensors(source, [packed], (), lambda *_: torch.zeros(2), REF)


@pytest.mark.parametrize(
    "result",
    [torch.zeros(3), torch.zeros(2, dtype=torch.float16), ZeroDivisionError(), KeyError("a")],
    ids=["shape", "type", "division", "key"],
)
def test_what_a_library_makes_wrong_or_refuses_is_said(result):
    def decode(_packed, _parts):
        if isinstance(result, Exception):
            raise result
        return result

    source = MemorySource({"x.weight": torch.zeros(2)})
    info = source.tensors["x.weight"]
    packed = Packed(info=info, parts={"weight": info}, anchor="x.weight")
    tensors = DequantisedTensors(source, [packed], (), decode, REF)
    with pytest.raises(FormatError, match=r"'x.weight' of .* cannot be dequantised"):
        tensors.read(info)


def test_the_version_of_a_library_that_is_not_installed_is_unknown():
    assert libraries.version_of("no-such-package-anywhere") == "unknown"


KEYS = {
    "bitsandbytes-nf4": "bitsandbytes-nf4",
    "bitsandbytes-fp4 and bitsandbytes-nf4": "bitsandbytes-fp4+bitsandbytes-nf4",
    "fp8-tensor": "fp8-tensor",
    "fp8-block 128 by 128": "fp8-block-128-by-128",
    "compressed-tensors (pack-quantized)": "compressed-tensors-pack-quantized",
    "gguf Q4_K, Q8_0": "gguf-q4_k+q8_0",
}


@pytest.mark.parametrize(("method", "key"), KEYS.items(), ids=KEYS)
def test_a_policy_knows_a_method_by_one_word_that_starts_with_its_format(method, key):
    found = Quantisation(method=method, library="a", version="1", names=frozenset({"w"}))
    assert found.key == key
