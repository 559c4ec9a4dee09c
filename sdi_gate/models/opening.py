"""Open a model: whatever its files hold, its tensors under the names by which it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdi_gate.errors import FormatError
from sdi_gate.models.adapted import AdaptedTensors
from sdi_gate.models.adapters.opening import open_adapter
from sdi_gate.models.adapters.wrapped import UnwrappedTensors
from sdi_gate.models.alignment import NO_NAMES, Names
from sdi_gate.models.config import parse_config, read_config
from sdi_gate.models.layout import CanonicalTensors
from sdi_gate.models.quantised.gguf import GgufTensors
from sdi_gate.models.quantised.method import open_quantised
from sdi_gate.models.quantised.turned import turn_conv1d
from sdi_gate.models.skeleton import build_skeleton
from sdi_gate.models.snapshot import SnapshotKind
from sdi_gate.models.weights import Checkpoint, refuse_quantised_types

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdi_gate.models.adapters.config import AdapterConfig
    from sdi_gate.models.config import ModelConfig
    from sdi_gate.models.quantised.method import Quantisation
    from sdi_gate.models.skeleton import Skeleton
    from sdi_gate.models.snapshot import ModelSnapshot
    from sdi_gate.models.tensors import TensorInfo, TensorSource


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenModel:
    """Hold a model whose tensors can be read.

    Attributes:
        snapshot: Its pinned files; of an adapter, the adapter's.
        config: Its configuration; of an adapter, that of the base it was put on.
        source: Its tensors.
        skeleton: The model without weights; None if transformers cannot build it.
        stored_types: Storage types of its tensors, sorted.
        quantisation: How its weights were quantised; None if they were not.
        adapted: The source again, if an adapter was put on the very base it is compared with.
        adapter: One sentence about the adapter; None if there is none.
        tokenizer_note: What a reader must know of a tokenizer that is not read; empty if nothing.
        named_base: What an adapter says it was trained on; None if it does not say.
        ignored: Stored buffers that are not compared, for transformers computes them anew.
        tied_copies: Stored copies of tensors that are tied to them, counted once.
    """

    snapshot: ModelSnapshot
    config: ModelConfig
    source: TensorSource
    skeleton: Skeleton | None
    stored_types: tuple[str, ...]
    quantisation: Quantisation | None = None
    adapted: AdaptedTensors | None = None
    adapter: str | None = None
    named_base: str | None = None
    tokenizer_note: str = ""
    ignored: tuple[TensorInfo, ...] = ()
    tied_copies: tuple[TensorInfo, ...] = ()

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Return every tensor by name, in the order in which reading costs least."""
        return self.source.tensors

    @property
    def num_parameters(self) -> int:
        """Return the number of parameters, tied ones counted once."""
        return sum(info.numel for info in self.tensors.values())

    @property
    def names(self) -> Names:
        """Return what is known of the tensors beside names and shapes."""
        if self.skeleton is None:
            return NO_NAMES
        return Names(
            tied=self.skeleton.tied,
            vocabulary=self.skeleton.vocabulary,
            transposed=self.skeleton.transposed,
            roles=self.skeleton.roles,
        )


def open_model(snapshot: ModelSnapshot) -> OpenModel:
    """Open a model that has weights of its own.

    Args:
        snapshot: The model; no adapter.

    Returns:
        The open model.

    Raises:
        FormatError: If its files are damaged or do not fit each other.
        IncomparableError: If its weights are quantised in a way that cannot be undone here.
    """  # noqa: DOC502 - raised by the functions called
    if snapshot.kind is SnapshotKind.GGUF:
        return _open_gguf(snapshot)
    return _open(snapshot, Checkpoint(snapshot))


def open_candidate(snapshot: ModelSnapshot, base: OpenModel) -> OpenModel:
    """Open a candidate: a model, or an adapter put on a base.

    Args:
        snapshot: The candidate.
        base: The base that it is compared with.

    Returns:
        The open model. An adapter is put on the base that was stored with it, if there is one
        (MLflow does so), else on the base that it is compared with.

    Raises:
        FormatError: If its files are damaged or do not fit each other.
        IncomparableError: If it cannot be compared with this base.
    """  # noqa: DOC502 - raised by the functions called
    if snapshot.kind is not SnapshotKind.ADAPTER:
        return open_model(snapshot)
    if snapshot.carrier is None:
        return _put_on(snapshot, base)
    carrier = _open(snapshot.carrier, UnwrappedTensors(Checkpoint(snapshot.carrier)))
    # Its own base need not be the one it is compared with: no short cut through the update.
    return replace(_put_on(snapshot, carrier), adapted=None)


def _open(snapshot: ModelSnapshot, stored: TensorSource) -> OpenModel:
    config = read_config(snapshot)
    types = tuple(sorted({info.dtype for info in stored.tensors.values()}))
    quantisation = None
    if config.quantization is not None:
        stored, quantisation = open_quantised(stored, config.quantization, snapshot.ref)
    refuse_quantised_types(stored, snapshot.ref)
    opened = _canonical(snapshot, config, stored, quantisation)
    return replace(opened, stored_types=types, quantisation=quantisation)


def _open_gguf(snapshot: ModelSnapshot) -> OpenModel:
    path = snapshot.folder / snapshot.weight_files[0].name
    stored = GgufTensors(path, snapshot.ref)
    config = parse_config(stored.config, snapshot.ref)
    opened = _canonical(snapshot, config, stored, None)
    # A GGUF file of plain types is no quantised one.
    quantised = stored.quantisation if stored.quantisation.num_tensors else None
    return replace(
        opened,
        quantisation=quantised,
        stored_types=stored.stored_types,
        tokenizer_note=stored.tokenizer_note,
    )


def _canonical(
    snapshot: ModelSnapshot,
    config: ModelConfig,
    stored: TensorSource,
    quantisation: Quantisation | None,
) -> OpenModel:
    types = tuple(sorted({info.dtype for info in stored.tensors.values()}))
    skeleton = build_skeleton(config, stored.tensors)
    if skeleton is not None and quantisation is not None:
        stored = turn_conv1d(stored, quantisation, skeleton.transposed)
    if skeleton is None:
        return OpenModel(
            snapshot=snapshot, config=config, source=stored, skeleton=None, stored_types=types
        )
    source = CanonicalTensors(stored, skeleton, str(snapshot.ref))
    for name in sorted(source.untied):
        skeleton = skeleton.untied(name)
    return OpenModel(
        snapshot=snapshot,
        config=config,
        source=source,
        skeleton=skeleton,
        stored_types=types,
        ignored=tuple(source.ignored),
        tied_copies=tuple(source.tied_copies),
    )


def _put_on(snapshot: ModelSnapshot, base: OpenModel) -> OpenModel:
    if base.skeleton is None:
        msg = (
            f"{snapshot.ref} is an adapter, and transformers cannot build its base"
            f" {base.snapshot.ref}, a {base.config.model_type}"
        )
        raise FormatError(msg, hint="merge the adapter into its base and give the merged model")
    adapter = open_adapter(snapshot)
    known = base.skeleton
    changes = adapter.changes(base.source, known.tied, known.transposed, known.vocabulary)
    adapted = AdaptedTensors(base.source, changes)
    config, skeleton = _fitted(base.config, base.skeleton, adapted)
    return replace(
        base,
        snapshot=snapshot,
        config=config,
        source=adapted,
        skeleton=skeleton,
        adapted=adapted,
        adapter=_described(adapted, adapter.config),
        stored_types=tuple(sorted({info.dtype for info in adapter.weights.tensors.values()})),
        named_base=adapter.config.base_model_name_or_path,
    )


def _described(adapted: AdaptedTensors, config: AdapterConfig) -> str:
    scaled = "rsLoRA: " if config.use_rslora else ""
    named = config.base_model_name_or_path
    base = f"{named[:120]!r} as its base" if named else "no base"
    return f"{scaled}{adapted.description}; it names {base}"


def _fitted(
    config: ModelConfig, skeleton: Skeleton, adapted: AdaptedTensors
) -> tuple[ModelConfig, Skeleton | None]:
    # An adapter that brings whole embeddings can bring more rows than its base has, and a head of
    # its own where the base ties it.
    fitted: Skeleton | None = skeleton
    rows = [
        adapted.tensors[name].shape[0]
        for name in sorted(skeleton.vocabulary & adapted.tensors.keys() & skeleton.shapes.keys())
        if adapted.tensors[name].shape != skeleton.shapes[name]
    ]
    if rows:
        config = replace(config, plain={**config.plain, "vocab_size": rows[0]})
        fitted = build_skeleton(config, adapted.tensors)
    for name in sorted(adapted.untied):
        fitted = fitted.untied(name) if fitted is not None and name in fitted.tied else fitted
    return config, fitted
