"""Write tiny checkpoints: real safetensors, real JSON, a few bytes each."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from sdi_gate.models.folder import FolderSource
from sdi_gate.models.ref import ModelRef
from sdi_gate.progress import NullProgress

if TYPE_CHECKING:
    from pathlib import Path

    from sdi_gate.models.snapshot import ModelSnapshot

INDEX = "model.safetensors.index.json"
CONFIG = {"model_type": "llama", "hidden_size": 2}


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def write_weights(path: Path, *, seed: int = 0, elements: int = 4) -> None:
    generator = torch.Generator().manual_seed(seed)
    save_file({f"weight.{seed}": torch.randn(elements, generator=generator)}, path)


def write_checkpoint(folder: Path, *, shards: int = 1, seed: int = 0, elements: int = 4) -> Path:
    """Write config, tokenizer and weights; with an index if there are several shards."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "tokenizer_config.json", {"model_max_length": 8})
    write_json(folder / "tokenizer.json", {"version": "1.0"})
    if shards == 1:
        write_weights(folder / "model.safetensors", seed=seed, elements=elements)
        return folder
    weight_map = {}
    for shard in range(shards):
        name = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        write_weights(folder / name, seed=seed + shard, elements=elements)
        weight_map[f"weight.{seed + shard}"] = name
    write_json(folder / INDEX, {"metadata": {}, "weight_map": weight_map})
    return folder


def write_adapter(folder: Path, *, seed: int = 0, alpha: int = 4) -> Path:
    """Write an adapter as PEFT saves it, of one module."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = {"peft_type": "LORA", "r": 2, "lora_alpha": alpha, "target_modules": ["q_proj"]}
    write_json(folder / "adapter_config.json", plain)
    generator = torch.Generator().manual_seed(seed)
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {
        f"{name}.lora_A.weight": torch.randn(2, 4, generator=generator),
        f"{name}.lora_B.weight": torch.randn(4, 2, generator=generator),
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def write_raw(path: Path, header: object, data: bytes = b"") -> None:
    """Write a safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def cached_copy(folder: Path, cache: Path, *, name: str = "org--model") -> Path:
    """Link the files of a folder as the Hub's cache does; return the snapshot's folder."""
    repository = cache / f"models--{name}"
    links = repository / "snapshots" / ("c" * 40)
    links.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        blob = repository / "blobs" / f"{number:064x}"
        blob.write_bytes(path.read_bytes())
        (links / path.name).symlink_to(f"../../blobs/{blob.name}")
    return links


def pinned(folder: Path) -> ModelSnapshot:
    """Check and hash a folder, as every scan does."""
    return FolderSource().fetch(ModelRef.parse(f"file:{folder}"), NullProgress())
