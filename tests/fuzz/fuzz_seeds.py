"""Make the sound files that the fuzzer changes: models and adapters of a few thousand numbers."""

from __future__ import annotations

import json
import struct
import tempfile
import warnings
from functools import cache
from pathlib import Path

import torch
from checkpoint_files import INDEX
from safetensors.torch import save
from tiny_models import config_of, model_of

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
GGUF = "model.gguf"
Files = dict[str, bytes]

FAMILIES = (
    *("llama", "mistral", "phi", "phi3", "gemma2", "gemma3_text", "qwen2", "qwen3"),
    *("mixtral", "gpt2", "gpt_neox", "opt"),
)
# Every value of one bit pattern, so that what is kept of a finding compresses.
_SMALL = {"vocab_size": 48, "hidden_size": 16, "intermediate_size": 24}
_BLOCKS = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1}


def state_of(family: str, **changes: object) -> dict[str, torch.Tensor]:
    """Return a model's parameters as its file holds them: of tied ones the first."""
    model = model_of(family, **(_SMALL | changes))
    tied = dict(model.all_tied_weights_keys)
    return {name: t.clone().half() for name, t in model.state_dict().items() if name not in tied}


def plain_config(family: str, **changes: object) -> bytes:
    config = config_of(family, **(_SMALL | changes))
    head = {} if "architectures" in changes else {"architectures": [_class_of(family)]}
    return json.dumps(config.to_dict() | head).encode()


def _class_of(family: str) -> str:
    return type(model_of(family, **_SMALL)).__name__


def join(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def header_seed(kind: str) -> Files:
    if kind == "header-llama":
        return {WEIGHTS: save(state_of("llama"), metadata={"format": "pt"})}
    sizes = {"BOOL": 1, "U8": 1, "F8_E4M3": 1, "BF16": 2, "F16": 2, "I32": 4, "F64": 8, "C64": 8}
    header, end = {}, 0
    for number, (dtype, size) in enumerate(sizes.items()):
        shape = ([], [3], [2, 2], [0], [1, 0, 5], [4, 1])[number % 6]
        begin, end = end, end + size * int(torch.Size(shape).numel())
        header[f"t{number}"] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    return {WEIGHTS: join(json.dumps(header).encode(), bytes(end))}


def index_seed(_kind: str) -> Files:
    files: Files = {CONFIG: plain_config("llama"), "tokenizer_config.json": b"{}"}
    tensors = {f"model.layers.{i}.mlp.up_proj.weight": torch.ones(2, 2) * i for i in range(6)}
    shards = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    weight_map = {name: shards[i // 2] for i, name in enumerate(tensors)}
    for shard in shards:
        held = {name: t for name, t in tensors.items() if weight_map[name] == shard}
        files[shard] = save(held, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 96}, "weight_map": weight_map}
    return files | {INDEX: json.dumps(index).encode()}


def config_seed(kind: str) -> Files:
    return {CONFIG: plain_config(kind.removeprefix("config-"))}


def adapter_seed(kind: str) -> Files:
    """Let PEFT put an adapter on a tiny model and save it."""
    from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model  # noqa: PLC0415 - slow

    family, method = kind.split("-")[1:]
    mlp = ["q_proj", "up_proj"]
    config = {
        "lora": lambda: LoraConfig(
            r=2,
            target_modules=mlp,
            rank_pattern={"up_proj": 3},
            alpha_pattern={"q_proj": 5},
        ),
        "dora": lambda: LoraConfig(r=2, target_modules=r".*\.(q|v)_proj", use_dora=True),
        "saved": lambda: LoraConfig(
            r=2, target_modules=["v_proj"], modules_to_save=["lm_head"], use_rslora=True
        ),
        "embedding": lambda: LoraConfig(r=2, target_modules=["wte", "c_attn"], fan_in_fan_out=True),
        "loha": lambda: LoHaConfig(r=2, target_modules=mlp),
        "lokr": lambda: LoKrConfig(r=2, target_modules=mlp),
    }[method]()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(0)
            model = model_of(family, **_SMALL)
            model.name_or_path = "org/name"
            get_peft_model(model, config).save_pretrained(folder)
        return {
            name: (Path(folder) / name).read_bytes() for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
        }


def folder_seed(kind: str) -> Files:
    method = kind.removeprefix("folder-")
    if method in FAMILIES:
        state = save(state_of(method), metadata={"format": "pt"})
        return {CONFIG: plain_config(method), WEIGHTS: state, "tokenizer_config.json": b"{}"}
    if method == "gguf":
        return {GGUF: gguf_bytes_of_llama()}
    state, quantization = quantised(method)
    config = json.loads(plain_config("llama", **_BLOCKS)) | {"quantization_config": quantization}
    return {CONFIG: json.dumps(config).encode(), WEIGHTS: save(state, metadata={"format": "pt"})}


def gguf_bytes_of_llama() -> bytes:
    from gguf_files import llama_to_gguf  # noqa: PLC0415 - asks for an optional library

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / GGUF
        llama_to_gguf(path, "Q8_0", **_BLOCKS)
        return path.read_bytes()


def quantised(method: str) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Quantise every matrix of the layer of a tiny Llama; the rest stays."""
    from quantised_files import (  # noqa: PLC0415 - asks for optional libraries
        compressed_config,
        compressed_module,
        eight_bit,
        four_bit,
        fp8_blocks,
    )

    packed = compressed_config("pack-quantized", num_bits=4, strategy="group", group_size=32)

    def fp8(weight: torch.Tensor, name: str) -> dict[str, torch.Tensor]:
        data, scale, _ = fp8_blocks(weight, (32, 32))
        return {name: data, f"{name}_scale_inv": scale}

    makers = {
        "nf4": lambda weight, name: four_bit(weight, name=name)[0],
        "nested": lambda weight, name: four_bit(weight, "fp4", nested=True, name=name)[0],
        "int8": lambda weight, name: eight_bit(weight, name.removesuffix(".weight")),
        "fp8": fp8,
        "packed": lambda weight, name: compressed_module(
            weight, packed, torch.full((len(weight), 2), 0.25), module=name.removesuffix(".weight")
        )[0],
        "gptq": lambda weight, name: {name: weight},
    }
    configs: dict[str, dict[str, object]] = {
        "nf4": {"quant_method": "bitsandbytes", "load_in_4bit": True},
        "nested": {"quant_method": "bitsandbytes", "load_in_4bit": True},
        "int8": {"quant_method": "bitsandbytes", "load_in_8bit": True},
        "fp8": {"quant_method": "fp8", "weight_block_size": [32, 32], "fmt": "e4m3"},
        "packed": packed,
        "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128},
    }
    state: dict[str, torch.Tensor] = {}
    for name, weight in state_of("llama", **_BLOCKS).items():
        inside = "layers" in name and weight.ndim == 2
        state |= makers[method](weight.float(), name) if inside else {name: weight}
    return state, configs[method]


_METHODS = ("nf4", "nested", "int8", "fp8", "packed", "gptq", "gguf")
_WHOLE = ("llama", "gpt2", "mixtral", "phi3", "opt")
_ADAPTERS = (
    "llama-lora",
    "llama-dora",
    "llama-saved",
    "gpt2-embedding",
    "llama-loha",
    "llama-lokr",
)
SEEDS = {
    "header": ("header-llama", "header-types"),
    "index": ("index-three",),
    "config": tuple(f"config-{family}" for family in FAMILIES),
    "adapter": tuple(f"adapter-{kind}" for kind in _ADAPTERS),
    "folder": tuple(f"folder-{kind}" for kind in (*_WHOLE, *_METHODS)),
}
_MAKERS = {
    "header": header_seed,
    "index": index_seed,
    "config": config_seed,
    "adapter": adapter_seed,
    "folder": folder_seed,
}


@cache
def sound(seed: str) -> Files:
    """Return the files of a seed by name; do not change them."""
    return _MAKERS[seed.partition("-")[0]](seed)


@cache
def parsed(seed: str, name: str) -> object:
    """Return a JSON file of a seed, or the header of a safetensors file."""
    content = sound(seed)[name]
    if name.endswith(".safetensors"):
        content = content[8 : 8 + struct.unpack("<Q", content[:8])[0]]
    return json.loads(content)
