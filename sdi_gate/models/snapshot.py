"""Hold a model at rest: which files, with which digests, pinned to which commit."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sdi_gate.models.ref import ModelRef
    from sdi_gate.progress import Progress

# What a snapshot may hold. Everything else in a repository is never fetched: no code, no
# pickle, no pictures.
_WANTED = re.compile(
    r"""
    config\.json | generation_config\.json
    | [^/]+\.safetensors | [^/]+\.safetensors\.index\.json
    | tokenizer\.json | tokenizer_config\.json | special_tokens_map\.json | added_tokens\.json
    | vocab\.json | vocab\.txt | merges\.txt | tokenizer\.model | spiece\.model
    | chat_template\.jinja | chat_template\.json
    """,
    re.VERBOSE,
)
_OWN_WEIGHTS = re.compile(r"model(-[^/]+)?\.safetensors")
_PICKLE = re.compile(r".*\.(bin|pt|pth|ckpt|pkl|pickle|msgpack|h5)")
_CHUNK_BYTES = 1 << 22


def is_wanted(name: str) -> bool:
    """Say whether a file of a repository belongs into a snapshot.

    Args:
        name: File name relative to the repository's root, with forward slashes.

    Returns:
        True for config, tokenizer, safetensors and index files in the root.
    """
    return _WANTED.fullmatch(name) is not None


def select_wanted(names: Iterable[str]) -> tuple[str, ...]:
    """Choose the files of a repository that belong into its snapshot.

    Some repositories hold their weights twice, for transformers and in the trainer's own layout
    (``consolidated.safetensors``). Where there are weights under transformers' names, which are
    those that it loads, no others are fetched.

    Args:
        names: File names relative to the repository's root.

    Returns:
        The wanted names, in the order given.
    """
    wanted = [name for name in names if is_wanted(name)]
    own = [name for name in wanted if _OWN_WEIGHTS.fullmatch(name)]
    return tuple(
        name for name in wanted if not own or name in own or not name.endswith(".safetensors")
    )


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
    """

    ref: ModelRef
    commit: str | None
    folder: Path
    files: tuple[SnapshotFile, ...]

    @property
    def weight_files(self) -> tuple[SnapshotFile, ...]:
        """Return the safetensors files."""
        return tuple(file for file in self.files if file.name.endswith(".safetensors"))

    @property
    def digest(self) -> str:
        """Return ``sha256:…`` over the weight files' names and digests: the model's identity."""
        lines = (f"{file.sha256}  {file.name}\n" for file in self.weight_files)
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
    stat = path.stat()
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content.

    Args:
        path: A readable file.

    Returns:
        64 lower-case hex digits.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
