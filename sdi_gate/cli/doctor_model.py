"""Say how much memory a scan of a model takes, tier by tier, and which GPUs have as much."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

# Before the Hub's client is imported, which reads it once: no request tells of us.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from sdi_gate.errors import FormatError, UsageError
from sdi_gate.gate.request import CurvatureMethod, Settings
from sdi_gate.gate.shape import ModelShape, llama_shape, shape_of
from sdi_gate.gate.workload import Workload
from sdi_gate.models.config import parse_config
from sdi_gate.models.inspection import read_json
from sdi_gate.models.listing import CONFIG
from sdi_gate.models.probe import load_default
from sdi_gate.models.ref import ModelRef, Scheme
from sdi_gate.models.skeleton import build_bounded, describe
from sdi_gate.policy.facts import Tier

if TYPE_CHECKING:
    from sdi_gate.gate.workload import Memory

_SIZE = re.compile(r"(\d{1,4}(?:\.\d{1,3})?) ?([MBT])", re.ASCII | re.IGNORECASE)
_UNITS = {"M": 10**6, "B": 10**9, "T": 10**12}
# As GPUs are sold, in GB. What a card has beyond its name is left to the driver.
GPUS = (16, 24, 48, 80, 141)
_BYTES = {"bfloat16": 2, "float32": 4}
_STEPS = (
    ("weights", Tier.WEIGHTS, None),
    ("probe", Tier.PROBE, None),
    ("full", Tier.FULL, CurvatureMethod.JOINT),
    ("probe, and curvature by blocks", Tier.FULL, CurvatureMethod.BLOCKS),
    ("probe, and Fisher", Tier.FULL, CurvatureMethod.FISHER),
)
# More tensors than any model that is sold has: what bounds the modules of a configuration when
# there are no files to count.
_MOST_TENSORS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Say what one tier takes.

    Attributes:
        tier: What is measured.
        dtype: Type in which the models run.
        device_bytes: On the GPU.
        host_bytes: On the host beside a GPU.
        gpus: Sizes in GB of the GPUs that have as much.
        num_largest: How many of the largest GPUs it takes; 1 if one is enough.
    """

    tier: str
    dtype: str
    device_bytes: float
    host_bytes: float
    gpus: tuple[int, ...]
    num_largest: int


def memory_table(shape: ModelShape) -> tuple[Row, ...]:
    """Size a scan of a model, with the shipped probe set and the usual settings.

    Args:
        shape: The model's shape.

    Returns:
        A row for each tier and type.
    """
    return tuple(
        _row(name, dtype, _memory(shape, tier, method, _BYTES[dtype]), shape)
        for dtype in _BYTES
        for name, tier, method in _STEPS
    )


def _memory(shape: ModelShape, tier: Tier, method: CurvatureMethod | None, size: int) -> Memory:
    probe, settings = load_default(), Settings()
    work = Workload(
        shape=shape,
        bytes_per_parameter=size,
        strata=probe.strata,
        probe_tokens=len(probe.samples) * settings.max_tokens,
        stored_bytes=shape.num_parameters * size,
        settings=settings if method is None else replace(settings, curvature_method=method),
    )
    return work.memory(tier)


def _row(tier: str, dtype: str, need: Memory, shape: ModelShape) -> Row:
    largest = GPUS[-1] * 1e9
    # Each card holds its layers, and the graph of what runs through them.
    layers_of_one = max(1, math.floor(shape.num_layers * min(1.0, largest / need.model_bytes)))
    return Row(
        tier=tier,
        dtype=dtype,
        device_bytes=need.model_bytes,
        host_bytes=need.host_bytes,
        gpus=tuple(size for size in GPUS if need.model_bytes <= size * 1e9),
        num_largest=math.ceil(shape.num_layers / layers_of_one),
    )


def shape_of_model(text: str) -> tuple[ModelShape, str]:
    """Find the shape of a model, without a look at its weights.

    Args:
        text: A size such as ``7B``, or a reference, of which only the configuration is read.

    Returns:
        The shape, and what it is the shape of.

    Raises:
        UsageError: If the text is neither.
        SourceError: If the configuration cannot be had.
        FormatError: If transformers cannot make a model of it.
    """  # noqa: DOC502 - raised by the functions called
    if match := _SIZE.fullmatch(text):
        num_parameters = round(float(match[1]) * _UNITS[match[2].upper()])
        if not 10**6 <= num_parameters <= 10**13:
            msg = f"--model: expected a size from 1M to 10T; got {text!r}"
            raise UsageError(msg, hint="write 7B, or give a model: hf:org/name, file:path")
        return llama_shape(num_parameters), f"a Llama of {text.replace(' ', '')}"
    if ":" not in text:
        msg = f"--model: expected a size such as 7B or a reference to a model; got {text[:80]!r}"
        raise UsageError(msg, hint="write 7B, hf:org/name or file:path/to/folder")
    ref = ModelRef.parse(text)
    return _shape_of_config(ref, _folder_of(ref)), str(ref)


def _folder_of(ref: ModelRef) -> Path:
    if ref.scheme is Scheme.FILE:
        return Path(ref.location)
    from sdi_gate.integrations.hub_config import fetch_config  # noqa: PLC0415 - folders need no Hub

    return fetch_config(ref)


def _shape_of_config(ref: ModelRef, folder: Path) -> ModelShape:
    config = parse_config(read_json(folder, CONFIG, ref), ref)
    try:
        skeleton = describe(build_bounded(config, _MOST_TENSORS))
    except Exception as exc:
        # A hostile configuration can fail anywhere in transformers.
        msg = f"transformers cannot make a model of {CONFIG} of {ref}: {type(exc).__name__}: {exc}"
        hint = "give its size instead, such as --model 7B"
        raise FormatError(msg[:400], hint=hint) from exc
    shape = shape_of(skeleton.shapes, skeleton.vocabulary)
    if not shape.num_parameters > 0:
        msg = f"{CONFIG} of {ref} describes a model without parameters"
        raise FormatError(msg, hint="give its size instead, such as --model 7B")
    return shape


def rows_of(text: str) -> dict[str, object]:
    """Say how much memory a scan of a model takes, for a program.

    Args:
        text: A size or a reference; see `shape_of_model`.

    Returns:
        What can be written as JSON.

    Raises:
        SdiGateError: See `shape_of_model`.
    """  # noqa: DOC502 - raised by shape_of_model()
    shape, name = shape_of_model(text)
    return {
        "model": name,
        "parameters": shape.num_parameters,
        "layers": shape.num_layers,
        "width": shape.width,
        "vocabulary": shape.num_tokens,
        "memory": [
            {
                "tier": row.tier,
                "dtype": row.dtype,
                "device_bytes": round(row.device_bytes),
                "host_bytes": round(row.host_bytes),
                "gpus_gb": [*row.gpus],
                f"gpus_of_{GPUS[-1]}_gb": row.num_largest,
            }
            for row in memory_table(shape)
        ],
    }


def text_of(text: str) -> str:
    """Say how much memory a scan of a model takes, for a person.

    Args:
        text: A size or a reference; see `shape_of_model`.

    Returns:
        A table.

    Raises:
        SdiGateError: See `shape_of_model`.
    """  # noqa: DOC502 - raised by shape_of_model()
    shape, name = shape_of_model(text)
    head = (
        f"{name}: {shape.num_parameters / 1e9:.3g} B parameters, {shape.num_layers} layers of width"
        f" {shape.width:,}, {shape.num_tokens:,} tokens\n"
        "Base and candidate run one after the other. Estimates, in GB.\n\n"
    )
    titles = ("tier", "dtype", "GPU", "host", "without a GPU", "fits a GPU of")
    lines = [titles, *(_cells(row) for row in memory_table(shape))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return head + "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    fits = f"{row.gpus[0]} GB" if row.gpus else f"{row.num_largest} x {GPUS[-1]} GB"
    sizes = (row.device_bytes, row.host_bytes, row.device_bytes + row.host_bytes)
    return (row.tier, row.dtype, *(f"{size / 1e9:.1f}" for size in sizes), fits)
