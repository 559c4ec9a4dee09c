"""Write models of a given shape with random weights, as safetensors, shard by shard."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from benchmarks.shapes import PEERS, SCALE, SEVEN_BILLION, TINY
from benchmarks.vocabulary import write_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.shapes import Dimensions, Shape

NOISE = 0.02
# One file up to here, as such models are published; one for each layer beyond, so that writing
# a 7B model needs the memory of one layer.
ONE_FILE_BYTES = 3_000_000_000
SHAPES = {shape.name: shape for shape in (PEERS, *SCALE, *SEVEN_BILLION, TINY)}


def write_model(folder: Path, shape: Shape, change: str = "") -> None:
    """Write one model.

    Two models of one shape have the same random weights; with a ``change``, each tensor has noise
    of two percent of its own scale added to it, another for another name.

    Args:
        folder: Where to; made if it is not there.
        shape: The architecture.
        change: Name of the change; empty for the base.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(shape.config(), indent=1), encoding="utf-8")
    shards = list(_shards(shape))
    if len(shards) == 1:
        save_file(_tensors(shards[0], change), folder / "model.safetensors", {"format": "pt"})
        return
    weight_map: dict[str, str] = {}
    for number, sizes in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(_tensors(sizes, change), folder / name, {"format": "pt"})
        weight_map.update(dict.fromkeys(sizes, name))
    index = {"metadata": {"total_size": 2 * shape.num_parameters}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def write_models(folder: Path, shape: Shape, candidates: int = 1) -> None:
    """Write a base and candidates that are the base with two percent of noise each.

    Args:
        folder: Where to; the models lie in ``base``, ``candidate`` and ``candidate-2`` below it.
        shape: The architecture.
        candidates: How many, one or two.
    """
    write_model(folder / "base", shape)
    for name in ("candidate", "candidate-2")[:candidates]:
        write_model(folder / name, shape, change=name)


def _shards(shape: Shape) -> Iterator[dict[str, Dimensions]]:
    if 2 * shape.num_parameters <= ONE_FILE_BYTES:
        yield shape.tensors()
    else:
        yield from shape.shards()


def _tensors(sizes: dict[str, Dimensions], change: str) -> dict[str, torch.Tensor]:
    return {name: _weights(name, size, change) for name, size in sizes.items()}


def _weights(name: str, size: Dimensions, change: str) -> torch.Tensor:
    # A scale that keeps activations at their size from layer to layer.
    scale = 0.02 if len(size) == 1 else size[-1] ** -0.5
    weights = _normal(name, size).mul_(scale)
    if name.endswith("norm.weight"):
        weights += 1.0
    if change:
        own = weights.square().mean().sqrt().item() if len(size) == 1 else scale
        weights += _normal(f"{change}/{name}", size).mul_(NOISE * own)
    return weights.to(torch.bfloat16).cpu()


def _normal(name: str, size: Dimensions) -> torch.Tensor:
    # Seven billion normal numbers take a CPU minutes, a GPU a second.
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device=device).manual_seed(_seed(name))
    return torch.randn(size, generator=generator, device=device)


def _seed(name: str) -> int:
    return int.from_bytes(name.encode(), "little") % (2**61 - 1)


def main(argv: list[str] | None = None) -> int:
    """Write models in a process of its own, whose memory is nobody else's."""
    parser = argparse.ArgumentParser(description="Write a random base and its candidates.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=sorted(SHAPES), required=True)
    parser.add_argument("--candidates", type=int, choices=(1, 2), default=1)
    parser.add_argument("--tokenizer", action="store_true", help="write one into each model")
    options = parser.parse_args(argv)
    torch.set_num_threads(os.cpu_count() or 1)
    shape = SHAPES[options.shape]
    write_models(options.folder, shape, options.candidates)
    if options.tokenizer:
        write_tokenizer(sorted(options.folder.iterdir()), shape.tokens)
    return 0


if __name__ == "__main__":
    sys.exit(main())
