"""Hold a model at rest: which files, with which digests, pinned to which commit."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Protocol

from sdi_gate.models.ref import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from sdi_gate.models.ref import ModelRef
    from sdi_gate.progress import Progress

# What a snapshot may hold. Everything else in a repository is never fetched: no code, no
# pickle, no pictures.
_WANTED = re.compile(
    r"""
    config\.json | generation_config\.json | adapter_config\.json
    | [^/]+\.safetensors | [^/]+\.safetensors\.index\.json | [^/]+\.gguf
    | tokenizer\.json | tokenizer_config\.json | special_tokens_map\.json | added_tokens\.json
    | vocab\.json | vocab\.txt | merges\.txt | tokenizer\.model | spiece\.model
    | chat_template\.jinja | chat_template\.json
    """,
    re.VERBOSE,
)
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_CONFIGS = frozenset({"config.json", "generation_config.json"})
_OWN_WEIGHTS = re.compile(r"model(-[^/]+)?\.safetensors")
_PICKLE = re.compile(r".*\.(bin|pt|pth|ckpt|pkl|pickle|msgpack|h5)")
_CHUNK_BYTES = 1 << 22


class SnapshotKind(StrEnum):
    """Name what the weights of a snapshot are."""

    FULL = "full"
    ADAPTER = "adapter"
    GGUF = "gguf"


def is_wanted(name: str) -> bool:
    """Say whether a file of a repository belongs into a snapshot of some kind.

    Args:
        name: File name relative to the repository's root, with forward slashes.

    Returns:
        True for config, tokenizer, safetensors, GGUF and index files in the root.
    """
    return _WANTED.fullmatch(name) is not None


def kind_of(names: Iterable[str]) -> SnapshotKind:
    """Say what the weights are that a repository holds.

    Args:
        names: File names relative to the repository's root.

    Returns:
        ADAPTER where an adapter's weights and configuration are; GGUF where no safetensors are;
        else FULL, also where there are no weights at all.
    """
    wanted = {name for name in names if is_wanted(name)}
    if {ADAPTER_CONFIG, ADAPTER_WEIGHTS} <= wanted:
        return SnapshotKind.ADAPTER
    if any(name.endswith(".safetensors") for name in wanted):
        return SnapshotKind.FULL
    if any(name.endswith(".gguf") for name in wanted):
        return SnapshotKind.GGUF
    return SnapshotKind.FULL


def select_wanted(names: Iterable[str]) -> tuple[str, ...]:
    """Choose the files of a repository that belong into its snapshot.

    Some repositories hold their weights twice, for transformers and in the trainer's own layout
    (``consolidated.safetensors``). Where there are weights under transformers' names, which are
    those that it loads, no others are fetched. Beside safetensors, no GGUF is fetched; beside an
    adapter, no configuration of a model.

    Args:
        names: File names relative to the repository's root.

    Returns:
        The wanted names, in the order given.
    """
    wanted = [name for name in names if is_wanted(name)]
    kind = kind_of(wanted)
    own = any(_OWN_WEIGHTS.fullmatch(name) for name in wanted)
    return tuple(name for name in wanted if _belongs(name, kind, own=own))


def _belongs(name: str, kind: SnapshotKind, *, own: bool) -> bool:
    safetensors = name.endswith((".safetensors", ".safetensors.index.json"))
    gguf = name.endswith(".gguf")
    if kind is SnapshotKind.ADAPTER:
        foreign = (safetensors and name != ADAPTER_WEIGHTS) or gguf or name in _CONFIGS
        return not foreign
    if kind is SnapshotKind.GGUF:
        return not safetensors and name != ADAPTER_CONFIG
    stray = own and name.endswith(".safetensors") and not _OWN_WEIGHTS.fullmatch(name)
    return not (stray or gguf or name == ADAPTER_CONFIG)


def is_pickle(name: str) -> bool:
    """Say whether a file name is that of a checkpoint which can run code when it is loaded.

    Args:
        name: File name relative to the repository's root.

    Returns:
        True for the endings of pickled and other non-safetensors checkpoints.
    """
    return _PICKLE.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFile:
    """Name one file of a snapshot and pin its content.

    Attributes:
        name: File name relative to the snapshot's folder.
        size_bytes: Size.
        sha256: SHA-256 of the content, 64 lower-case hex digits.
        stamp: What the file system said of the file while it was hashed; see `stamp_of`.
    """

    name: str
    size_bytes: int
    sha256: str
    stamp: tuple[int, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSnapshot:
    """Pin a model: a folder of files whose digests are known.

    Law: it holds a commit or content digests, never a branch or an alias alone.

    Attributes:
        ref: The reference as the user gave it.
        commit: Commit that the revision was resolved to; None for a folder.
        folder: Where the files lie.
        files: Every wanted file, sorted by name.
        kind: What the weights are.
        carrier: The model that is stored around an adapter, as MLflow stores it: the base with
            the adapter's modules in it. None for all others.
        name: What the Hub calls the repository, where it is not what the user typed: the Hub
            answers to names in another case, and to those of before a repository was renamed.
            None where it is.
    """

    ref: ModelRef
    commit: str | None
    folder: Path
    files: tuple[SnapshotFile, ...]
    kind: SnapshotKind = SnapshotKind.FULL
    carrier: ModelSnapshot | None = None
    name: str | None = None

    @property
    def hub_name(self) -> str | None:
        """Return the name on the Hub, by which policies know the model; None for a folder."""
        return (self.name or self.ref.location) if self.ref.scheme is Scheme.HUB else None

    @property
    def weight_files(self) -> tuple[SnapshotFile, ...]:
        """Return the files that hold weights."""
        return tuple(file for file in self.files if file.name.endswith((".safetensors", ".gguf")))

    @property
    def digest(self) -> str:
        """Return ``sha256:…`` over what identifies the model.

        That is the names and digests of the weight files; for an adapter also its configuration,
        which holds the scale, and the digest of the model that carries it.
        """
        identity = self.weight_files
        if self.kind is SnapshotKind.ADAPTER:
            identity = tuple(f for f in self.files if f.name == ADAPTER_CONFIG) + identity
        lines = [f"{file.sha256}  {file.name}\n" for file in identity]
        if self.carrier is not None:
            lines.append(f"{self.carrier.digest}  carrier\n")
        return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


class ModelSource(Protocol):
    """Fetch models of one scheme."""

    def fetch(self, ref: ModelRef, progress: Progress) -> ModelSnapshot:
        """Bring a model's files to this machine and pin them.

        Args:
            ref: Which model; its scheme is the source's.
            progress: Told of every file.

        Returns:
            The snapshot.

        Raises:
            SourceError: If the model cannot be had; each cause has its own subclass and message.
        """


def stamp_of(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is written to or another is put in its place.

    Args:
        path: A file.

    Returns:
        Device, inode, size, and the times of the last change of content and of state.
    """
    return _stamp(path.stat())


def stamp_of_open(file: IO[bytes]) -> tuple[int, ...]:
    """Return the stamp of the file that is open, whatever its name means by now.

    Args:
        file: An open file.

    Returns:
        See `stamp_of`.
    """
    return _stamp(os.fstat(file.fileno()))


def _stamp(stat: os.stat_result) -> tuple[int, ...]:
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def sha256_of(path: Path, is_stopped: Callable[[], bool] = lambda: False) -> str:
    """Return the SHA-256 of a file's content.

    Args:
        path: A readable file.
        is_stopped: Whether nobody waits for the result any more; asked after every piece.

    Returns:
        64 lower-case hex digits; of no use once it was stopped.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while not is_stopped() and (chunk := file.read(_CHUNK_BYTES)):
            digest.update(chunk)
    return digest.hexdigest()
