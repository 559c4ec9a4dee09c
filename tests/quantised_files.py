"""Build quantised checkpoints: by the libraries that own the formats where they run here."""

from __future__ import annotations

import pytest
import torch
from gguf_files import llama_to_gguf  # noqa: F401 - tests of scans take it from here
from tiny_models import build_base, snapshot
from transformers import AutoModelForCausalLM

from sdi_gate.models.ref import ModelRef
from sdi_gate.models.tensors import TensorInfo
from sdi_gate.models.weights import Checkpoint

REF = ModelRef.parse("file:/models/quantised")
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e8m0fnu: "F8_E8M0",
}


class MemorySource:
    """Hold tensors in memory, and count what is read of them."""

    def __init__(self, tensors):
        self.held = tensors
        self.read_names = []
        self.tensors = {
            name: TensorInfo(
                name=name, dtype=DTYPES[tensor.dtype], shape=tuple(tensor.shape), shard="memory"
            )
            for name, tensor in tensors.items()
        }

    @classmethod
    def of(cls, folder):
        """Read a saved checkpoint whole."""
        checkpoint = Checkpoint(snapshot(folder))
        return cls({name: checkpoint.read(info) for name, info in checkpoint.tensors.items()})

    def read(self, info):
        self.read_names.append(info.name)
        return self.held[info.name].clone()

    def changed(self, **changes):
        """Return a copy with other tensors; ``_dot_`` stands for a dot, None removes one."""
        held = dict(self.held)
        for key, value in changes.items():
            name = key.replace("_dot_", ".")
            held.pop(name, None)
            if value is not None:
                held[name] = value
        return MemorySource(held)


def random_matrix(rows, columns, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator)


def bitsandbytes_model(folder, family="llama", *, n_embd=None, **options):
    """Let transformers quantise a tiny model with bitsandbytes on this CPU, and save it.

    This is the real thing: `from_pretrained(quantization_config=…)` and `save_pretrained`.
    """
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("accelerate")
    from transformers import BitsAndBytesConfig  # noqa: PLC0415 - asks for bitsandbytes

    sizes = {"n_embd": n_embd} if n_embd else {"hidden_size": 64, "intermediate_size": 128}
    plain = build_base(folder / "plain", family=family, **sizes)
    model = AutoModelForCausalLM.from_pretrained(
        plain, quantization_config=BitsAndBytesConfig(**options), device_map="cpu"
    )
    model.save_pretrained(folder / "quantised")
    return model, folder / "quantised"


def four_bit(weight, kind="nf4", *, nested=False, blocksize=64, name="x.weight"):
    """Quantise one weight with bitsandbytes, in the layout that transformers writes.

    Also what it means: by the library where its kernel for CPUs can be trusted, in whole blocks.
    """
    functional = pytest.importorskip("bitsandbytes.functional")
    data, state = functional.quantize_4bit(
        weight, blocksize=blocksize, compress_statistics=nested, quant_type=kind
    )
    parts = {f"{name}.{key}": value for key, value in state.as_dict(packed=True).items()}
    return {name: data, **parts}, functional.dequantize_4bit(data, state)


def eight_bit(weight, module="x"):
    """Quantise one weight to int8 row by row, as bitsandbytes does on saving."""
    functional = pytest.importorskip("bitsandbytes.functional")
    data, scale, _ = functional.int8_vectorwise_quant(weight.half())
    held = {f"{module}.weight": data, f"{module}.SCB": scale}
    return held | {f"{module}.weight_format": torch.tensor(0, dtype=torch.uint8)}


def fp8_blocks(weight, block):
    """Quantise one weight to FP8 with a scale for each block; also what it means, by hand."""
    rows, columns = weight.shape
    grid = (-(-rows // block[0]), -(-columns // block[1]))
    scale = torch.zeros(grid)
    data = torch.zeros_like(weight).to(torch.float8_e4m3fn)
    means = torch.zeros_like(weight)
    for i in range(grid[0]):
        for j in range(grid[1]):
            place = (
                slice(i * block[0], (i + 1) * block[0]),
                slice(j * block[1], (j + 1) * block[1]),
            )
            scale[i, j] = weight[place].abs().max() / 448
            data[place] = (weight[place] / scale[i, j]).to(torch.float8_e4m3fn)
            means[place] = data[place].float() * scale[i, j]
    return data, scale, means


def compressed_config(form, **weights):
    """Return what compressed-tensors writes as ``quantization_config``."""
    plain = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
    group = {"targets": ["Linear"], "weights": plain | weights}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "config_groups": {"group_0": group},
        "quantization_status": "compressed",
    }


def compressed_module(weight, config, scale, zero_point=None, module="x"):
    """Compress one weight with the library's own compressor."""
    compressors = pytest.importorskip("compressed_tensors.compressors")
    from compressed_tensors.quantization import QuantizationScheme  # noqa: PLC0415 - optional

    group = config["config_groups"]["group_0"] | {"format": config["format"]}
    scheme = QuantizationScheme.model_validate(group)
    compressor = compressors.BaseCompressor.get_value_from_registry(config["format"])
    state = {"weight": weight, "weight_scale": scale}
    if zero_point is not None:
        state["weight_zero_point"] = zero_point
    made = compressor.compress(state, scheme)
    plain = compressor.decompress(made, scheme)["weight"]
    return {f"{module}.{key}": value for key, value in made.items()}, plain
