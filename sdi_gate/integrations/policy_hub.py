"""Read policies from the Hugging Face Hub, at a commit and checked against its digests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huggingface_hub import hf_hub_url
from huggingface_hub.errors import RemoteEntryNotFoundError

# It is in this module's documentation, yet it does not mark what it exports.
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from sdi_gate.errors import IntegrityError, NotFoundError, PolicyError, SourceError
from sdi_gate.integrations.hub_cache import DIGEST, CachedRepo, PromisedFile
from sdi_gate.integrations.hub_client import HubClient
from sdi_gate.integrations.hub_errors import translated
from sdi_gate.integrations.hub_meter import Meter
from sdi_gate.models.ref import ModelRef, Scheme
from sdi_gate.policy.format.reading import MAX_SIZE_BYTES
from sdi_gate.progress import NullProgress

if TYPE_CHECKING:
    from huggingface_hub.file_download import HfFileMetadata

    from sdi_gate.policy.chain.references import PolicyRef


class HubPolicies(HubClient):
    """Read policies from the Hub (``hf:``); see `HubClient` for what it is given."""

    def read(self, ref: PolicyRef) -> bytes:
        """See `PolicySources.read`.

        Args:
            ref: A reference with scheme ``hf``.

        Returns:
            Content of the file, with the digest that the Hub promised for it at the commit.

        Raises:
            PolicyError: If it cannot be had.
        """
        model = ModelRef(scheme=Scheme.HUB, location=ref.repository, revision=ref.commit)
        try:
            with translated(model, self._endpoint):
                validate_repo_id(ref.repository)
            repo = CachedRepo(self._cache_folder, ref.repository)
            if self._offline:
                return _read_cached(repo, ref, model)
            # 1. Ask what the file is at that commit, even if the cache has it: whoever can write
            #    to the cache shall not write the policy.
            promised = self._promise(ref, model)
            # 2. Fetch it, unless the cache has it.
            self._download(ref, model, promised)
            # 3. Compare it with the promise.
            repo.check(ref.commit, [promised], model)
            return _content(repo, ref)
        except SourceError as exc:
            msg = f"{ref}: the policy cannot be had: {exc.message}"
            raise PolicyError(msg, hint=exc.hint) from exc

    def _promise(self, ref: PolicyRef, model: ModelRef) -> PromisedFile:
        self._check_token(model)
        url = hf_hub_url(ref.repository, ref.path, revision=ref.commit, endpoint=self._endpoint)
        with translated(model, self._endpoint):
            try:
                found = self._api.get_hf_file_metadata(url=url, timeout=self._timeout_s)
            except RemoteEntryNotFoundError as exc:
                msg = f"{model} has no file {ref.path!r}"
                raise NotFoundError(msg, hint="check the path and the commit") from exc
        return _checked(found, ref)

    def _download(self, ref: PolicyRef, model: ModelRef, promised: PromisedFile) -> None:
        # The meter ends the transfer of a server that sends far more than it promised.
        meter = Meter([promised], NullProgress(), model)
        with translated(model, self._endpoint):
            self._api.hf_hub_download(
                ref.repository,
                ref.path,
                revision=ref.commit,
                cache_dir=self._cache_folder,
                etag_timeout=self._timeout_s,
                tqdm_class=meter.bar_for(ref.path),
            )


def _checked(found: HfFileMetadata, ref: PolicyRef) -> PromisedFile:
    hint = "do not trust this server; check HF_ENDPOINT"
    if found.commit_hash != ref.commit:
        msg = f"the Hub answered for another commit: {str(found.commit_hash)[:40]!r}"
        raise IntegrityError(msg, hint=hint)
    if found.size is None or not DIGEST.fullmatch(str(found.etag)):
        msg = "the Hub promises no size or no digest for the file"
        raise IntegrityError(msg, hint="check HF_ENDPOINT: a mirror must pass digests on")
    if found.size > MAX_SIZE_BYTES:
        msg = f"the file is larger than {MAX_SIZE_BYTES:,} bytes"
        raise SourceError(msg, hint="name the file of a policy")
    return PromisedFile(name=ref.path, size_bytes=found.size, digest=str(found.etag))


def _read_cached(repo: CachedRepo, ref: PolicyRef, model: ModelRef) -> bytes:
    path = repo.snapshot_of(ref.commit) / ref.path
    if not path.is_file():
        msg = f"offline, and {ref.path!r} of {model} is not in the cache"
        raise NotFoundError(msg, hint="run once without HF_HUB_OFFLINE")
    # The cache's own promise is the name of the blob; where it has no links it makes none.
    digest = path.readlink().name if path.is_symlink() else ""
    if DIGEST.fullmatch(digest):
        size_bytes = path.stat().st_size
        promised = PromisedFile(name=ref.path, size_bytes=size_bytes, digest=digest)
        repo.check(ref.commit, [promised], model)
    return _content(repo, ref)


def _content(repo: CachedRepo, ref: PolicyRef) -> bytes:
    path = repo.snapshot_of(ref.commit) / ref.path
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SIZE_BYTES + 1)
    except OSError as exc:
        msg = f"the cache cannot be read: {exc.strerror}"
        raise SourceError(msg, hint="check its permissions, or set HF_HOME") from exc
    if len(content) > MAX_SIZE_BYTES:
        msg = f"the file is larger than {MAX_SIZE_BYTES:,} bytes"
        raise SourceError(msg, hint="name the file of a policy")
    return content
