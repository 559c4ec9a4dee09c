"""Give a case's files to the readers; they may refuse them, and nothing else may happen."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import torch
from adapter_files import Base, DictTensors, base_of
from fuzz_cases import EXTRA
from fuzz_seeds import CONFIG, WEIGHTS, state_of
from safetensors import safe_open
from tiny_models import model_of

from sdi_gate.errors import SdiGateError
from sdi_gate.models import skeleton as skeletons
from sdi_gate.models.adapted import AdaptedTensors
from sdi_gate.models.adapters.config import base_reference
from sdi_gate.models.adapters.opening import open_adapter
from sdi_gate.models.config import parse_config
from sdi_gate.models.fit import refuse_unfit
from sdi_gate.models.folder import FolderSource
from sdi_gate.models.header import read_header
from sdi_gate.models.layout import CanonicalTensors
from sdi_gate.models.opening import open_model
from sdi_gate.models.ref import ModelRef
from sdi_gate.models.skeleton import build_skeleton
from sdi_gate.models.snapshot import SnapshotKind
from sdi_gate.models.strict_json import parse_object
from sdi_gate.models.weights import Checkpoint
from sdi_gate.progress import NullProgress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fuzz_cases import Case

    from sdi_gate.models.snapshot import ModelSnapshot
    from sdi_gate.models.tensors import TensorSource

REF = ModelRef.parse("file:/fuzzed")
# Types that this version of the library does not have, though the format does.
_UNKNOWN_THERE = ("F8_E4M3FNUZ", "F8_E5M2FNUZ")


class AllocationError(AssertionError):
    """Say that memory was asked for by a number in a file, and that somebody hid the failure."""


def _snapshot(folder: Path) -> ModelSnapshot:
    return FolderSource().fetch(ModelRef.parse(f"file:{folder}"), NullProgress())


def read_header_case(_case: Case, folder: Path) -> str:
    stored = read_header(folder / WEIGHTS, f"{WEIGHTS} of {REF}")
    # What we take, the library takes, and reads the same names and shapes.
    if not any(tensor.info.dtype in _UNKNOWN_THERE for tensor in stored):
        with safe_open(folder / WEIGHTS, "numpy") as theirs:
            names = [*theirs.keys()]
            shapes = {name: tuple(theirs.get_slice(name).get_shape()) for name in names}
        assert shapes == {tensor.info.name: tensor.info.shape for tensor in stored}
    return "read"


def read_index_case(_case: Case, folder: Path) -> str:
    _read_all(Checkpoint(_snapshot(folder)))
    return "read"


def read_config_case(case: Case, folder: Path) -> str:
    plain = parse_object((folder / CONFIG).read_bytes(), f"{CONFIG} of {REF}")
    config = parse_config(plain, REF)
    source = _source(case.seed.removeprefix("config-"), int(case.files.get(EXTRA, b"0")))
    with _allocations_seen():
        skeleton = build_skeleton(config, source.tensors)
    if skeleton is None:
        return "no skeleton"
    canonical = CanonicalTensors(source, skeleton, str(REF))
    refuse_unfit(skeleton, canonical.tensors, str(REF))
    _read_all(canonical)
    return "built"


@lru_cache(maxsize=4)
def _source(family: str, extra: int) -> DictTensors:
    nothing = torch.empty(0)
    return DictTensors(state_of(family) | {f"extra.{i}": nothing for i in range(extra)})


def read_adapter_case(case: Case, folder: Path) -> str:
    adapter = open_adapter(_snapshot(folder))
    base = _base(case.seed.split("-")[1])
    changes = adapter.changes(base.source, base.tied, base.transposed, base.vocabulary)
    adapted = AdaptedTensors(base.source, changes)
    assert len(adapted.description) < 1000
    _read_all(adapted)
    for name in adapted.tensors:
        update = adapted.update(name)
        assert update is None or (update.left @ update.right).shape == adapted.tensors[name].shape
    try:
        base_reference(adapter.config)
    except SdiGateError:
        return "read, no base named"
    return "read"


@cache
def _base(family: str) -> Base:
    return base_of(model_of(family, vocab_size=48, hidden_size=16, intermediate_size=24))


def read_folder_case(_case: Case, folder: Path) -> str:
    snapshot = _snapshot(folder)
    if snapshot.kind is SnapshotKind.ADAPTER:
        open_adapter(snapshot)
        return "adapter"
    with _allocations_seen():
        opened = open_model(snapshot)
    if opened.skeleton is not None:
        refuse_unfit(opened.skeleton, opened.tensors, str(REF))
    _read_all(opened.source)
    return "opened" if opened.skeleton is not None else "opened without skeleton"


def _read_all(source: TensorSource) -> None:
    for info in source.tensors.values():
        assert source.read(info).shape == info.shape, f"{info.name!r} is of another shape"


@contextmanager
def _allocations_seen() -> Iterator[None]:
    """Uncover what `build_skeleton` makes None of: it must not be memory that ran out."""
    seen: list[Exception] = []
    build, configure = skeletons.build_meta, skeletons.causal_lm_config

    def watched(function):
        def call(argument):
            try:
                return function(argument)
            except Exception as exc:
                if isinstance(exc, MemoryError) or "allocate memory" in str(exc):
                    seen.append(exc)
                raise

        return call

    skeletons.build_meta, skeletons.causal_lm_config = watched(build), watched(configure)
    try:
        yield
    finally:
        skeletons.build_meta, skeletons.causal_lm_config = build, configure
        if seen:
            raise AllocationError(repr(seen[0])[:200]) from seen[0]


READERS = {
    "header": read_header_case,
    "index": read_index_case,
    "config": read_config_case,
    "adapter": read_adapter_case,
    "folder": read_folder_case,
}
