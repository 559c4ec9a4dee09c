"""Show a GGUF file as the plain tensors that transformers would load from it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sdi_gate.errors import FormatError, IncomparableError
from sdi_gate.models.bounds import TooManyModulesError
from sdi_gate.models.config import parse_config
from sdi_gate.models.quantised.dequantised import FLOATS, Quantisation
from sdi_gate.models.quantised.gguf_config import LOADER, config_of, gguf_config, header_of
from sdi_gate.models.quantised.libraries import (
    AGAIN,
    REMEDY,
    library_errors,
    owner,
    shown,
    version_of,
)
from sdi_gate.models.skeleton import build_bounded
from sdi_gate.models.tensors import TensorInfo

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from sdi_gate.models.quantised.gguf_header import Header, StoredTensor
    from sdi_gate.models.ref import ModelRef

__all__ = ["GgufTensors", "gguf_config"]

_LIBRARY = "gguf"
_UNREAD_TOKENIZER = "the tokenizer inside the GGUF file is not read; the base's was used for both"
_WHOLE = {"F32": "F32", "F16": "F16", "BF16": "BF16"}


class GgufTensors:
    """Show a GGUF file under the names of transformers.

    A tensor is read and dequantised only when it is asked for. Its peak of memory is some four
    times its size in float32: the values, the rearranged copy, and what gguf joins them from.

    Args:
        path: The file.
        ref: The model, for messages.

    Attributes:
        tensors: Every tensor by transformers' name, in the order of the file.
        config: What a ``config.json`` would hold.
        quantisation: What is dequantised; without names if all tensors are plain.
        stored_types: Types of the stored tensors, sorted.
        tokenizer_note: What to know of the tokenizer in the file; empty if it holds none.

    Raises:
        FormatError: If the file is damaged, or holds a tensor that the model does not have.
        IncomparableError: If gguf is not installed, or cannot dequantise a tensor.
    """

    def __init__(self, path: Path, ref: ModelRef) -> None:
        self._path = path
        self._ref = ref
        self._gguf = owner("gguf", _LIBRARY, ref)
        self._loader = owner(LOADER, "transformers", ref)
        header = header_of(path, ref)
        self.config = config_of(header, ref)
        self._kinds = {t.kind: self._checked_kind(t.kind) for t in header.tensors}
        architecture = header.values["general.architecture"]
        processor = self._loader.TENSOR_PROCESSORS.get(architecture, self._loader.TensorProcessor)
        self._processor = processor(config=self.config)
        self._mapping, shapes = self._names(len(header.tensors))
        self._parts = self._sorted(header)
        self.tensors = {name: self._info(name, shapes) for name in self._parts}
        self.quantisation = self._described()
        held = any(key.startswith("tokenizer.") for key in header.values)
        self.tokenizer_note = _UNREAD_TOKENIZER if held else ""
        self.stored_types = tuple(
            sorted({self._kinds[p.kind].name for parts in self._parts.values() for p in parts})
        )

    def _checked_kind(self, kind: int) -> Any:  # noqa: ANN401 - the library's own
        quantisation = self._gguf.GGMLQuantizationType(kind)
        block = np.zeros((1, self._gguf.GGML_QUANT_SIZES[quantisation][1]), dtype=np.uint8)
        try:
            self._gguf.dequantize(block, quantisation)
        except NotImplementedError as exc:
            msg = f"{self._ref} stores tensors as {quantisation.name}, which gguf cannot dequantise"
            raise IncomparableError(msg, hint=REMEDY) from exc
        return quantisation

    def _names(self, num_tensors: int) -> tuple[Mapping[str, str], Mapping[str, tuple[int, ...]]]:
        what = f"transformers can make no model of {self._ref}"
        # On torch's device without memory, and bounded: nothing is allocated by the file's sizes.
        with library_errors(what), warnings.catch_warnings():
            # Sizes of 0 make torch warn; those who read the shapes refuse them.
            warnings.simplefilter("ignore")
            try:
                model = build_bounded(parse_config(self.config, self._ref), num_tensors)
            except (TooManyModulesError, MemoryError) as exc:
                raise FormatError(f"{what}: {type(exc).__name__}", hint=AGAIN) from exc
            with torch.device("meta"):
                shallow = _Shallow(model, depth=1)
                mapping = self._loader.get_gguf_hf_weights_map(shallow, self._processor)
        shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        return mapping, shapes

    def _sorted(self, header: Header) -> dict[str, list[StoredTensor]]:
        parts: dict[str, list[StoredTensor]] = {}
        for tensor in header.tensors:
            # Experts are parameters of their module, and so have no '.weight' to their name.
            stem = tensor.name.removesuffix(".weight")
            name = self._mapping.get(tensor.name) or self._mapping.get(stem)
            if name is None:
                msg = f"{self._ref} holds {shown(tensor.name)}, which its model does not have"
                raise FormatError(msg, hint=AGAIN)
            parts.setdefault(name, []).append(tensor)
        return parts

    def _info(self, name: str, shapes: Mapping[str, tuple[int, ...]]) -> TensorInfo:
        parts = self._parts[name]
        shape = shapes.get(name, ())
        info = TensorInfo(name=name, dtype=self._dtype_of(name), shape=shape, shard=self._path.name)
        numel = sum(_numel(part) for part in parts)
        if numel != info.numel:
            want = f"{info.numel:,} numbers for {shape}"
            msg = f"{shown(name)} of {self._ref} does not fit its model: expected {want}"
            raise FormatError(f"{msg}, got {numel:,}", hint=AGAIN)
        return info

    def _dtype_of(self, name: str) -> str:
        kinds = {self._kinds[part.kind].name for part in self._parts[name]}
        # Norms are stored plus one in some families, and matrices only rearranged.
        if len(kinds) > 1 or self._parts[name][0].name.endswith("norm.weight"):
            return "F32"
        return _WHOLE.get(kinds.pop(), "F32")

    def _described(self) -> Quantisation:
        used = {
            name: {self._kinds[part.kind].name for part in parts} - _WHOLE.keys()
            for name, parts in self._parts.items()
        }
        kinds = sorted(set().union(*used.values()))
        return Quantisation(
            method=f"gguf {', '.join(kinds)}" if kinds else "gguf",
            library=_LIBRARY,
            version=version_of(_LIBRARY),
            names=frozenset(name for name, found in used.items() if found),
        )

    def read(self, info: TensorInfo) -> Tensor:
        """Read one tensor, and dequantise it if it is quantised.

        Args:
            info: Which; from ``tensors``.

        Returns:
            The tensor on the CPU, of the shape and type that ``info`` names.

        Raises:
            FormatError: If it cannot be read, or does not fit the model.
        """
        made: dict[str, Any] = {"tensors": {}}
        what = f"{shown(info.name)} of {self._ref} cannot be dequantised"
        with library_errors(what):
            tensors = [self._converted(part, made) for part in self._parts[info.name]]
        tensor = made["tensors"].get(info.name, tensors[0])
        if tensor is None or tuple(tensor.shape) != info.shape:
            got = None if tensor is None else tuple(tensor.shape)
            msg = f"{what}: expected the shape {info.shape}, got {got}"
            raise FormatError(msg, hint=AGAIN)
        plain: Tensor = tensor.to(FLOATS[info.dtype])
        return plain

    def _converted(self, part: StoredTensor, made: dict[str, Any]) -> Tensor | None:
        # Infinite scales are refused above, as every number that is none.
        with np.errstate(all="ignore"):
            values = self._gguf.dequantize(self._bytes_of(part), self._kinds[part.kind])
            result = self._processor.process(
                weights=values,
                name=part.name,
                tensor_key_mapping=self._mapping,
                parsed_parameters=made,
            )
        # Without a name, it was put among the made ones, beside other parts of its tensor.
        return None if result.name is None else torch.from_numpy(np.copy(result.weights))

    def _bytes_of(self, part: StoredTensor) -> Any:  # noqa: ANN401 - numpy's, of changing type
        try:
            data = np.fromfile(
                self._path, dtype=np.uint8, count=part.size_bytes, offset=part.offset
            )
        except OSError as exc:
            msg = f"{self._path.name!r} of {self._ref} cannot be read: {type(exc).__name__}"
            raise FormatError(msg, hint=AGAIN) from exc
        return data.reshape(*part.shape[:-1], -1)


@dataclass(frozen=True, slots=True)
class _Shallow:
    """Show a model without the modules inside its modules.

    transformers asks every module of a model for its part of the map, and makes a table of all
    layers' names for each: 80 layers take a minute. The model and the one without its head know
    all names there are.
    """

    model: Any
    depth: int

    @property
    def config(self) -> Any:  # noqa: ANN401 - as the model has it
        return self.model.config

    def state_dict(self) -> Any:  # noqa: ANN401 - as the model has it
        return self.model.state_dict()

    def named_children(self) -> list[tuple[str, _Shallow]]:
        if not self.depth:
            return []
        return [
            (name, _Shallow(part, self.depth - 1)) for name, part in self.model.named_children()
        ]


def _numel(part: StoredTensor) -> int:
    numel = 1
    for size in part.shape:
        numel *= size
    return numel
