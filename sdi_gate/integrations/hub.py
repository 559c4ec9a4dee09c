"""Fetch models from the Hugging Face Hub, pinned to a commit and checked against its digests."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

# It is in this module's documentation, yet it does not mark what it exports.
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from sdi_gate.errors import IntegrityError, StorageError, UnreachableError
from sdi_gate.integrations.hub_cache import COMMIT, DIGEST, CachedRepo, PromisedFile
from sdi_gate.integrations.hub_client import HubClient
from sdi_gate.integrations.hub_errors import translated
from sdi_gate.integrations.hub_meter import Meter
from sdi_gate.models.inspection import (
    check_contents,
    pin_files,
    readable,
    regular_files,
    shards_of,
)
from sdi_gate.models.links import check_links
from sdi_gate.models.listing import (
    CONFIG,
    check_listing,
    check_size,
    is_index,
    is_inspected,
    is_large,
)
from sdi_gate.models.ref import is_repo_name
from sdi_gate.models.shards import read_headers
from sdi_gate.models.snapshot import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    ModelSnapshot,
    kind_of,
    select_wanted,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from huggingface_hub.hf_api import ModelInfo, RepoSibling

    from sdi_gate.models.ref import ModelRef
    from sdi_gate.progress import Progress

_DEFAULT_REVISION = "main"
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listing:
    commit: str
    names: tuple[str, ...]
    wanted: tuple[PromisedFile, ...]
    called: str | None


class HubSource(HubClient):
    """Fetch models from the Hub (``hf:``); see `HubClient` for what it is given."""

    def fetch(self, ref: ModelRef, progress: Progress) -> ModelSnapshot:
        """See `ModelSource.fetch`.

        Args:
            ref: A reference with scheme ``hf``.
            progress: Told of every MiB downloaded and of every file hashed.

        Returns:
            The snapshot, with the commit; every file has the digest that the Hub promised.
        """
        with translated(ref, self._endpoint):
            validate_repo_id(ref.location)
        repo = CachedRepo(self._cache_folder, ref.location)
        if self._offline:
            return self._fetch_cached(ref, repo, progress)
        # 1. Resolve the revision, once.
        listing = self._resolve(ref)
        # 2. Refuse what names and sizes give away.
        check_listing(listing.names, ref)
        for file in listing.wanted:
            check_size(file.name, file.size_bytes, ref)
        # 3. Make sure that there is room.
        missing = [file for file in listing.wanted if not repo.holds(listing.commit, file)]
        _check_room(self._cache_folder, sum(file.size_bytes for file in missing), ref)
        # 4. Download and inspect the small files, then download the large ones.
        self._download(ref, repo, listing, Meter(missing, progress, ref))
        # 5. Compare every file with its promise, and pin it.
        snapshot = _pin(ref, repo, listing, progress)
        # 6. Remember what the revision meant and what the Hub calls the model, for offline mode.
        repo.remember(ref.revision or _DEFAULT_REVISION, listing.commit)
        repo.remember_name(listing.called)
        return snapshot

    def _resolve(self, ref: ModelRef) -> _Listing:
        self._check_token(ref)
        with translated(ref, self._endpoint):
            info = self._api.model_info(
                ref.location,
                revision=ref.revision,
                files_metadata=True,
                timeout=self._timeout_s,
            )
            siblings = {str(sibling.rfilename): sibling for sibling in info.siblings or ()}
        return _Listing(
            commit=_commit_of(info, ref),
            names=tuple(siblings),
            wanted=tuple(_promise(siblings[name], ref) for name in select_wanted(siblings)),
            called=_name_of(info, ref),
        )

    def _download(self, ref: ModelRef, repo: CachedRepo, listing: _Listing, meter: Meter) -> None:
        small = [file for file in listing.wanted if is_inspected(file.name)]
        self._download_files(ref, listing.commit, small, meter)
        repo.check(listing.commit, small, ref)
        check_contents(repo.snapshot_of(listing.commit), listing.names, ref)
        # Weights last: where they are in the cache, all the rest is.
        large = sorted(
            (file for file in listing.wanted if not is_inspected(file.name)),
            key=lambda file: (is_large(file.name), file.name),
        )
        self._download_files(ref, listing.commit, large, meter)
        meter.finish()

    def _download_files(
        self, ref: ModelRef, commit: str, files: Iterable[PromisedFile], meter: Meter
    ) -> None:
        for file in files:
            with translated(ref, self._endpoint):
                self._api.hf_hub_download(
                    ref.location,
                    file.name,
                    revision=commit,
                    cache_dir=self._cache_folder,
                    etag_timeout=self._timeout_s,
                    tqdm_class=meter.bar_for(file.name),
                )

    def _fetch_cached(self, ref: ModelRef, repo: CachedRepo, progress: Progress) -> ModelSnapshot:
        commit = repo.commit_of(ref.revision or _DEFAULT_REVISION)
        if commit is None or not repo.snapshot_of(commit).is_dir():
            msg = f"offline, and {ref} is not in the cache {str(self._cache_folder)!r}"
            hint = "run once without HF_HUB_OFFLINE, or name a full commit that is in the cache"
            raise UnreachableError(msg, hint=hint)
        folder = repo.snapshot_of(commit)
        with readable(ref):
            names = regular_files(folder)
            promised = repo.promises_of(commit, select_wanted(names), ref)
        repo.check(commit, (file for file in promised if is_inspected(file.name)), ref)
        _check_complete(folder, names, ref)
        check_listing(names, ref)
        check_contents(folder, names, ref)
        listing = _Listing(commit=commit, names=names, wanted=promised, called=repo.called())
        return _pin(ref, repo, listing, progress)


def _commit_of(info: ModelInfo, ref: ModelRef) -> str:
    commit = str(info.sha)
    if not COMMIT.fullmatch(commit):
        msg = f"the Hub named no commit for {ref}; expected 40 hex digits, got {commit!r}"
        raise IntegrityError(msg, hint="check HF_ENDPOINT: this server does not speak as the Hub")
    if COMMIT.fullmatch(ref.revision or "") and commit != ref.revision:
        msg = f"the Hub resolved {ref} to another commit: {commit}"
        raise IntegrityError(msg, hint="do not trust this server; check HF_ENDPOINT")
    return commit


def _name_of(info: ModelInfo, ref: ModelRef) -> str | None:
    # None where it is what was typed. Policies go by it: where a server gives no name, or nonsense,
    # what was typed shall not be taken for one.
    name: object = info.id
    if not isinstance(name, str) or not is_repo_name(name):
        msg = f"the Hub calls {ref} {str(name)[:100]!r}, which is no name of a repository"
        raise IntegrityError(msg, hint="check HF_ENDPOINT: this server does not speak as the Hub")
    return None if name == ref.location else name


def _promise(sibling: RepoSibling, ref: ModelRef) -> PromisedFile:
    name = sibling.rfilename
    size_bytes = sibling.size if sibling.lfs is None else sibling.lfs.size
    digest = sibling.blob_id if sibling.lfs is None else sibling.lfs.sha256
    if not isinstance(size_bytes, int) or not DIGEST.fullmatch(str(digest)):
        msg = f"the Hub promises no size or no digest for {name!r} of {ref}"
        raise IntegrityError(msg, hint="check HF_ENDPOINT: a mirror must pass digests on")
    return PromisedFile(name=name, size_bytes=size_bytes, digest=str(digest))


def _check_room(folder: Path, needed_bytes: int, ref: ModelRef) -> None:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_bytes = shutil.disk_usage(existing).free
    if needed_bytes > free_bytes:
        msg = (
            f"no room for {ref} in {str(folder)!r}: needed {needed_bytes / _MIB:,.1f} MiB,"
            f" free {free_bytes / _MIB:,.1f} MiB"
        )
        raise StorageError(msg, hint="free some room, or set HF_HOME to a larger disk")


def _check_complete(folder: Path, names: tuple[str, ...], ref: ModelRef) -> None:
    others = any(is_large(name) and name != ADAPTER_WEIGHTS for name in names)
    if not others and {ADAPTER_CONFIG, ADAPTER_WEIGHTS} & set(names):
        expected = {ADAPTER_CONFIG, ADAPTER_WEIGHTS}
    else:
        expected = {CONFIG} if not any(name.endswith(".gguf") for name in names) else set()
        for name in filter(is_index, names):
            expected |= shards_of(folder / name, ref)
    missing = sorted(expected - set(names))
    if not missing and not any(map(is_large, names)):
        missing = ["*.safetensors"]
    if missing:
        msg = f"offline, and the cache holds only a part of {ref}: {missing[0]!r} is missing"
        raise UnreachableError(msg, hint="run once without HF_HUB_OFFLINE")


def _pin(ref: ModelRef, repo: CachedRepo, listing: _Listing, progress: Progress) -> ModelSnapshot:
    folder = repo.snapshot_of(listing.commit)
    wanted = select_wanted(listing.names)
    repo.check(listing.commit, listing.wanted, ref)
    check_links(folder, wanted, ref)
    read_headers(folder, wanted, ref)
    files = pin_files(folder, wanted, ref, progress)
    return ModelSnapshot(
        ref=ref,
        commit=listing.commit,
        folder=folder,
        files=files,
        kind=kind_of(wanted),
        name=listing.called,
    )
