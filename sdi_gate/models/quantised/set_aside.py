"""Refuse scales of activations and caches that would break a model where it is served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sdi_gate.errors import FormatError
from sdi_gate.models.quantised.dequantised import FLOATS, mismatch
from sdi_gate.models.quantised.libraries import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdi_gate.models.ref import ModelRef
    from sdi_gate.models.tensors import TensorInfo, TensorSource

# One number for a tensor, a channel or a stacked expert.
_MAX_NUMEL = 65_536
_SCALES = frozenset({*FLOATS, "F64", "F8_E8M0", "U8"})
_ZERO_POINTS = frozenset({*_SCALES, "I8", "I32", "I64", "F8_E4M3"})
_HINT = "get another copy of the model: it would compute nonsense where it is served"


def check_set_aside(source: TensorSource, names: Iterable[str], ref: ModelRef) -> None:
    """Refuse stored scales that no measurement uses, and that no model can be served with.

    Args:
        source: What is stored.
        names: The scales and zero points of activations and caches.
        ref: The model, for messages.

    Raises:
        FormatError: If one is large, or holds a number that is none; if a scale is not positive.
    """  # noqa: DOC502 - raised by what it calls
    for name in names:
        _check(source, source.tensors[name], ref)


def _check(source: TensorSource, info: TensorInfo, ref: ModelRef) -> None:
    is_scale = info.name.endswith("_scale")
    if info.dtype not in (_SCALES if is_scale else _ZERO_POINTS) or info.numel > _MAX_NUMEL:
        want = f"at most {_MAX_NUMEL:,} numbers of {', '.join(sorted(FLOATS))}"
        raise mismatch(info.name, want, f"{info.shape} {info.dtype}", ref)
    values = source.read(info).to(torch.float64)
    if info.dtype == "U8" and is_scale:
        # Exponents of two; the last stands for no number.
        values = torch.where(values == 255, torch.nan, torch.exp2(values - 127))
    good = values.isfinite() & (values > 0) if is_scale else values.isfinite()
    if not bool(good.all()):
        bad = float(values[~good].flatten()[0])
        msg = f"{shown(info.name)} of {ref}, which scales activations, holds {bad}"
        raise FormatError(f"{msg}; expected finite numbers above 0", hint=_HINT)
