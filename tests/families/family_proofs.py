"""Prove that a family works, from a tiny instance of it, and write down what was found."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from tiny_models import (
    CPU,
    WEIGHTS,
    add_noise,
    batch_of,
    build_base,
    model_of,
    perturb,
    rewrite,
    scan,
    snapshot,
)

from sdi_gate.models.causal_lm import load_model
from sdi_gate.models.matrices import read_tokens
from sdi_gate.models.opening import open_model
from sdi_gate.models.roles import role_label
from sdi_gate.policy.facts import Tier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdi_gate.gate.result import ScanResult


@dataclass(frozen=True, kw_only=True)
class Row:
    """Hold what was found about the tensors of one pattern of names."""

    pattern: str
    role: str
    shape: tuple[int, ...]
    is_transposed: bool
    is_on_outputs: bool


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Hold the scans of one family and what its skeleton says."""

    class_name: str
    num_layers: int
    noisy: Mapping[Tier, ScanResult]
    identical: ScanResult
    without_prefix: ScanResult
    stored: tuple[str, ...]
    shown: tuple[str, ...]
    rows: tuple[Row, ...]


def pattern_of(name: str) -> str:
    """Replace the numbers of layers and experts."""
    return re.sub(r"\.\d+(?=\.)", ".N", name)


def patterns_in(folder: Path) -> tuple[str, ...]:
    return tuple(dict.fromkeys(pattern_of(name) for name in sorted(load_file(folder / WEIGHTS))))


@cache
def prove(family: str) -> Proof:
    """Scan a tiny model of a family against a noisy copy, and against itself in other layouts."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        base = build_base(folder / "base", family=family)
        noisy = perturb(base, folder / "noisy", add_noise(0.05))
        renamed = save_as_run(base, folder / "renamed", family)
        bare = perturb(base, folder / "bare")
        prefix = f"{model_of(family).base_model_prefix}."
        rewrite(bare, lambda tensors: rename(tensors, lambda name: name.removeprefix(prefix)))
        opened = open_model(snapshot(base))
        loaded = load_model(opened, CPU, torch.float32)
        return Proof(
            class_name=type(loaded.model).__name__,
            num_layers=len(loaded.layers),
            noisy={tier: scan(base, noisy, tier.value) for tier in Tier},
            identical=scan(base, renamed),
            without_prefix=scan(base, bare, "weights"),
            stored=patterns_in(base),
            shown=patterns_in(renamed),
            rows=_rows(opened, loaded),
        )


def save_as_run(base: Path, folder: Path, family: str) -> Path:
    """Save a family's model under the names by which transformers runs it."""
    shutil.copytree(base, folder)
    model_of(family).save_pretrained(folder, save_original_format=False)
    return folder


def rename(tensors: dict[str, torch.Tensor], new_name) -> None:
    """Give tensors other names, in place."""
    changed = {new_name(name): tensor for name, tensor in tensors.items()}
    tensors.clear()
    tensors.update(changed)


def _rows(opened, loaded) -> tuple[Row, ...]:
    batch = batch_of(5, 7)
    uniforms = torch.rand(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    on_outputs = read_tokens(loaded, batch, batch.mask.bool(), uniforms).keys()
    found = {}
    for name, shape in opened.skeleton.shapes.items():
        row = Row(
            pattern=pattern_of(name),
            role=role_label(opened.skeleton.roles[name]),
            shape=shape,
            is_transposed=name in opened.skeleton.transposed,
            is_on_outputs=name in on_outputs,
        )
        assert found.setdefault(row.pattern, row) == row, "layers of one model are alike"
    return tuple(found.values())
