"""Read the Hub client's cache, and hold its files to the digests that were promised.

The layout is documented (https://huggingface.co/docs/huggingface_hub/guides/manage-cache)::

    models--org--name/
      refs/main                  the commit that a revision was last resolved to
      snapshots/COMMIT/FILE      a symbolic link to ../../blobs/DIGEST
      blobs/DIGEST               SHA-256 of a large file, git's SHA-1 of a small one
      sdi-gate-name              what the Hub calls org/name, where it is otherwise; ours
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.errors import IntegrityError
from sdi_gate.models.inspection import readable
from sdi_gate.models.ref import is_repo_name
from sdi_gate.models.snapshot import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sdi_gate.models.ref import ModelRef

COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA1_DIGITS = 40
DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")
_CHUNK_BYTES = 1 << 22
_NAME_FILE = "sdi-gate-name"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromisedFile:
    """Name a file and the digest that its content must have.

    Attributes:
        name: File name relative to the repository's root.
        size_bytes: Size.
        digest: SHA-256 (64 hex digits) or git's SHA-1 of the blob (40 hex digits).
    """

    name: str
    size_bytes: int
    digest: str


class CachedRepo:
    """Find the files of one repository in the cache.

    Args:
        cache_folder: The Hub client's cache.
        name: The repository, ``org/name``.
    """

    def __init__(self, cache_folder: Path, name: str) -> None:
        self._folder = cache_folder / f"models--{name.replace('/', '--')}"

    def snapshot_of(self, commit: str) -> Path:
        """Return the folder of a commit.

        Args:
            commit: Full commit.

        Returns:
            The folder, which need not exist.
        """
        return self._folder / "snapshots" / commit

    def commit_of(self, revision: str) -> str | None:
        """Return what a revision meant when the Hub was last asked.

        Args:
            revision: Branch, tag or full commit.

        Returns:
            The commit, or None if the cache does not know.
        """
        if COMMIT.fullmatch(revision):
            return revision
        try:
            commit = (self._folder / "refs" / revision).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
        return commit if COMMIT.fullmatch(commit) else None

    def remember(self, revision: str, commit: str) -> None:
        """Take note of what a revision means, so that `commit_of` knows it offline.

        Args:
            revision: Branch, tag or commit.
            commit: The commit it was resolved to.
        """
        if revision == commit:
            return
        _write_note(self._folder / "refs" / revision, commit)

    def called(self) -> str | None:
        """Return what the Hub called the repository when it was last asked.

        Returns:
            The name; None where it is the one that this repository was asked for by, or where
            nobody has asked.
        """
        try:
            name = (self._folder / _NAME_FILE).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
        return name if is_repo_name(name) else None

    def remember_name(self, name: str | None) -> None:
        """Take note of what the Hub calls the repository, so that `called` knows it offline.

        Args:
            name: The name; None where it is the one that was asked for.
        """
        if name is not None:
            _write_note(self._folder / _NAME_FILE, name)
            return
        with suppress(OSError):
            (self._folder / _NAME_FILE).unlink(missing_ok=True)

    def holds(self, commit: str, file: PromisedFile) -> bool:
        """Say whether a file needs no download.

        Args:
            commit: Full commit.
            file: The file.

        Returns:
            True if the file, or its content under another commit, is in the cache.
        """
        blob = self._folder / "blobs" / file.digest
        return (self.snapshot_of(commit) / file.name).exists() or blob.exists()

    def promises_of(
        self, commit: str, names: Iterable[str], ref: ModelRef
    ) -> tuple[PromisedFile, ...]:
        """Return the digests that the cache itself promises: those in its blobs' names.

        Args:
            commit: Full commit.
            names: Files of the snapshot.
            ref: The model, for messages.

        Returns:
            One promise for each file, or none at all where the cache has no links (Windows,
            HF_HUB_DISABLE_SYMLINKS).

        Raises:
            IntegrityError: If some files are links to blobs and others are something else: then
                somebody put them there.
        """
        paths = [self.snapshot_of(commit) / name for name in names]
        # Only the first link counts: a blob can itself be a link into the store that all
        # repositories share, and there it is named by Xet's hash, which is another one.
        blobs = {path: path.readlink().name for path in paths if path.is_symlink()}
        strange = [path.name for path in paths if not DIGEST.fullmatch(blobs.get(path, ""))]
        if blobs and strange:
            msg = f"{strange[0]!r} of {ref} in the cache is no link to a blob, as the others are"
            raise IntegrityError(msg, hint="remove the model from the cache and download it again")
        return tuple(
            PromisedFile(name=path.name, size_bytes=path.stat().st_size, digest=digest)
            for path, digest in blobs.items()
        )

    def check(self, commit: str, promised: Iterable[PromisedFile], ref: ModelRef) -> None:
        """Compare files with their promised digests; remove those that differ.

        Args:
            commit: Full commit.
            promised: The files, all of them in the cache.
            ref: The model, for messages.

        Raises:
            IntegrityError: If a file's content is not what was promised.
        """
        found: list[tuple[PromisedFile, str]] = []
        with readable(ref):
            for file in promised:
                digest = _digest_like(self.snapshot_of(commit) / file.name, file.digest)
                if digest != file.digest:
                    found.append((file, digest))
                    self._remove(self.snapshot_of(commit) / file.name)
        if found:
            file, digest = found[0]
            msg = (
                f"{file.name!r} of {ref} does not hold what was promised:"
                f" expected digest {file.digest}, got {digest}; damaged files: {len(found)}"
            )
            hint = "removed from the cache; run again to download it anew, without offline mode"
            raise IntegrityError(msg, hint=hint)

    def _remove(self, path: Path) -> None:
        # The link and the content behind it. Another commit's link to that content dangles
        # then, which the client takes for "not there". Nothing outside the cache is touched.
        cache = self._folder.parent.resolve()
        for victim in {path, path.resolve()}:
            if cache in victim.parents:
                victim.unlink(missing_ok=True)


def _write_note(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    # A cache that is read-only has served its purpose all the same.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(text, encoding="ascii")
        fresh.replace(path)


def _digest_like(path: Path, example: str) -> str:
    return git_blob_sha1_of(path) if len(example) == _SHA1_DIGITS else sha256_of(path)


def git_blob_sha1_of(path: Path) -> str:
    """Return the name that git gives to a file's content.

    Args:
        path: A readable file.

    Returns:
        SHA-1 of ``blob SIZE``, a null byte and the content, 40 lower-case hex digits.
    """
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
