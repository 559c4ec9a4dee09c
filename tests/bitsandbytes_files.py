"""Open and change weights in bitsandbytes' layout."""

from __future__ import annotations

import json

import torch
from quantised_files import REF, MemorySource

from sdi_gate.models.quantised.method import open_quantised

CONFIG = {"quant_method": "bitsandbytes"}
NF4, FP4 = (f"x.weight.quant_state.bitsandbytes__{kind}" for kind in ("nf4", "fp4"))


def opened(held):
    return open_quantised(MemorySource(held), CONFIG, REF)


def read(held, name="x.weight"):
    tensors, _ = opened(held)
    return tensors.read(tensors.tensors[name])


def changed_state(held, key=NF4, **changes):
    plain = json.loads(bytes(held[key].tolist())) | changes
    content = json.dumps({k: v for k, v in plain.items() if v is not ...}).encode()
    return held | {key: torch.frombuffer(bytearray(content), dtype=torch.uint8)}
