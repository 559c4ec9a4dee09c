"""Keys, parts and forged files for the tests of the store."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING

import torch

from sdi_gate.profiles.documents import Document, dump
from sdi_gate.profiles.parts import Part, PartKey
from sdi_gate.profiles.store import FolderStore

if TYPE_CHECKING:
    from pathlib import Path

BASE = "sha256:" + "a" * 64
OTHER_BASE = "sha256:" + "b" * 64
LIMIT = 1 << 30
KEY = PartKey(base=BASE, part="spectra", parameters=(("dtype", "float32"), ("seed", "0")))
OTHER_KEY = PartKey(base=BASE, part="spectra", parameters=(("dtype", "float32"), ("seed", "1")))
DTYPES = (
    torch.float64,
    torch.float32,
    torch.bfloat16,
    torch.float16,
    torch.int64,
    torch.int32,
    torch.bool,
)


def a_part(value: float = 1.0) -> Part:
    return Part(
        tensors={
            "layer.0/s": torch.full((3,), value, dtype=torch.float64),
            "layer.0/V": torch.full((2, 3), value, dtype=torch.bfloat16),
            "counts": torch.tensor(7),
        },
        facts={"value": value, "rows": [1, 2, None, True], "name": "q\u00e4\n"},
    )


def store_in(folder: Path) -> FolderStore:
    return FolderStore(folder, LIMIT)


def description_of(folder: Path, key: PartKey = KEY) -> Path:
    return folder / key.folder / key.file


def tensors_of(folder: Path, key: PartKey = KEY) -> Path:
    path = description_of(folder, key)
    sha256 = json.loads(path.read_bytes())["tensors"]["sha256"]
    return path.with_name(f"{sha256}.safetensors")


def forge(folder: Path, content: bytes, key: PartKey = KEY) -> None:
    """Put any content under a key, with every digest as it should be."""
    sha256 = hashlib.sha256(content).hexdigest()
    document = Document(key=key, sha256=sha256, size_bytes=len(content), facts={})
    (folder / key.folder).mkdir(parents=True, exist_ok=True)
    (folder / key.folder / document.tensors_file).write_bytes(content)
    (folder / key.folder / key.file).write_bytes(dump(document))


def bits_of(tensor: torch.Tensor) -> tuple:
    content = tensor.contiguous().reshape(-1).view(torch.uint8)
    return tensor.dtype, tuple(tensor.shape), bytes(content.numpy())


def assert_same(found: Part | None, expected: Part) -> None:
    assert found is not None
    assert found.facts == expected.facts
    assert found.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        assert bits_of(found.tensors[name]) == bits_of(tensor), name


def warnings_of(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
