"""Write tiny checkpoints: real safetensors, real JSON, a few bytes each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

if TYPE_CHECKING:
    from pathlib import Path

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
