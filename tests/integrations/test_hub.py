"""`HubSource` through the real client against a Hub on loopback."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from checkpoint_files import (
    INDEX,
    write_adapter,
    write_checkpoint,
    write_json,
    write_weights,
)
from hub_server import HubServer, git_sha1, sha256
from huggingface_hub import constants, snapshot_download
from huggingface_hub.utils import close_session

from sdi_gate.errors import (
    AccessError,
    ExitCode,
    FormatError,
    IntegrityError,
    NotFoundError,
    SourceError,
    StorageError,
    UnreachableError,
)
from sdi_gate.integrations.hub import HubSource
from sdi_gate.integrations.hub_cache import PromisedFile
from sdi_gate.integrations.hub_meter import Meter
from sdi_gate.models.ref import ModelRef
from sdi_gate.models.snapshot import SnapshotKind
from sdi_gate.progress import NullProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdi_gate.models.snapshot import ModelSnapshot

NAME = "org/model"
TOKEN = "hf_not_a_real_token"  # noqa: S105 a test's
MIB = 1 << 20


class Recorder:
    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int, str]] = []

    def advance(self, stage: str, done: int, total: int, detail: str = "") -> None:
        self.calls.append((stage, done, total, detail))

    def of(self, stage: str) -> list[tuple[int, int]]:
        return [(done, total) for name, done, total, _ in self.calls if name == stage]


@pytest.fixture(autouse=True)
def _client_knows_nothing_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[None]:
    # The client reads the environment when it is imported; telemetry would leave loopback.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield
    close_session()


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    # The client waits up to half a minute between its attempts.
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two shards, and next to them everything that must never be fetched."""
    folder = write_checkpoint(tmp_path / "model", shards=2)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "modeling_x.py").write_text("raise SystemExit", encoding="utf-8")
    (folder / "picture.png").write_bytes(b"png")
    (folder / "README.md").write_text("# A model", encoding="utf-8")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.fixture
def fetch(hub: HubServer, tmp_path: Path) -> Callable[..., ModelSnapshot]:
    """Fetch ``org/model`` with a fresh source, as a fresh process would."""

    def run(
        revision: str | None = None,
        *,
        token: str | None = None,
        endpoint: str | None = None,
        offline: bool = False,
        progress: Recorder | None = None,
        timeout_s: float = 5.0,
    ) -> ModelSnapshot:
        source = HubSource(
            token=token,
            endpoint=endpoint or hub.url,
            cache_folder=tmp_path / "cache",
            offline=offline,
            timeout_s=timeout_s,
        )
        suffix = f"@{revision}" if revision else ""
        return source.fetch(ModelRef.parse(f"hf:{NAME}{suffix}"), progress or NullProgress())

    return run


def blobs_in(tmp_path: Path) -> set[str]:
    folder = tmp_path / "cache" / "models--org--model" / "blobs"
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


# What a snapshot holds.


def test_a_snapshot_pins_every_wanted_file_at_the_commit(hub, model, fetch):
    commit = hub.commit(NAME, model)
    snapshot = fetch()
    assert snapshot.commit == commit
    assert str(snapshot.ref) == "hf:org/model"
    assert [(file.name, file.size_bytes, file.sha256) for file in snapshot.files] == [
        (name, len(data), sha256(data))
        for name, data in sorted(hub.repos[NAME].commits[commit].items())
        if name.endswith((".safetensors", ".json")) and "/" not in name
    ]
    for file in snapshot.files:
        assert (snapshot.folder / file.name).read_bytes() == (model / file.name).read_bytes()


def test_only_wanted_files_are_requested(hub, model, fetch):
    hub.commit(NAME, model)
    fetch()
    asked = {path.rsplit("/", 1)[1] for path in hub.paths("HEAD")}
    assert asked == {
        "config.json",
        "tokenizer_config.json",
        "tokenizer.json",
        INDEX,
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    }
    assert not any("onnx" in path for path in hub.paths())


def test_a_name_that_is_no_text_is_not_wanted(hub, model, fetch):
    hub.commit(NAME, model)
    hub.faults.info = lambda answer: answer["siblings"].append({"rfilename": 5})
    assert len(fetch().files) == 6


def test_configuration_and_index_come_first_and_weights_last(hub, model, fetch):
    hub.commit(NAME, model)
    fetch()
    asked = [path.rsplit("/", 1)[1] for path in hub.paths("HEAD")]
    assert set(asked[:3]) == {"config.json", "tokenizer_config.json", INDEX}
    assert all(name.endswith(".safetensors") for name in asked[-2:])


def test_every_request_after_resolving_uses_the_commit(hub, model, fetch):
    commit = hub.commit(NAME, model)
    fetch("main")
    resolving, *others = hub.paths()
    assert resolving == f"/api/models/{NAME}/revision/main?blobs=true"
    assert others
    assert all(path.startswith((f"/{NAME}/resolve/{commit}/", "/cdn/")) for path in others)


def test_a_branch_that_moves_between_resolve_and_download_does_not_matter(
    hub, model, fetch, tmp_path
):
    commit = hub.commit(NAME, model)
    other = write_checkpoint(tmp_path / "other", shards=2, seed=7)
    hub.faults.after_info = lambda: hub.commit(NAME, other)
    snapshot = fetch("main")
    assert hub.repos[NAME].branches["main"] != commit
    assert snapshot.commit == commit
    shard = "model-00001-of-00002.safetensors"
    assert (snapshot.folder / shard).read_bytes() == (model / shard).read_bytes()


def test_a_second_fetch_downloads_nothing(hub, model, fetch):
    hub.commit(NAME, model)
    first = fetch()
    hub.requests.clear()
    assert fetch() == first
    assert hub.paths() == [f"/api/models/{NAME}?blobs=true"]


@pytest.mark.parametrize("revision", ["v1.0", "refs/pr/3"], ids=["tag", "pull-request"])
def test_a_revision_is_resolved_by_its_name(hub, model, fetch, revision):
    commit = hub.commit(NAME, model, branch=revision)
    assert fetch(revision).commit == commit
    assert fetch(commit).commit == commit


def test_files_that_another_commit_brought_are_not_downloaded_again(hub, model, fetch):
    hub.commit(NAME, model)
    fetch()
    write_json(model / "config.json", {"model_type": "llama", "hidden_size": 3})
    changed = hub.commit(NAME, model)
    hub.requests.clear()
    progress = Recorder()
    assert fetch(progress=progress).commit == changed
    assert hub.paths("GET") == [
        f"/api/models/{NAME}?blobs=true",
        f"/{NAME}/resolve/{changed}/config.json",
    ]
    assert progress.of("download")[-1] == (1, 1)


# The token.


def test_the_token_goes_to_the_hub_and_not_to_another_origin(hub, model, fetch):
    hub.commit(NAME, model)
    hub.repos[NAME].tokens = frozenset({TOKEN})
    fetch(token=TOKEN)
    to_hub = [request for request in hub.requests if request.host.startswith("127.0.0.1")]
    elsewhere = [request for request in hub.requests if request.host.startswith("localhost")]
    assert {request.token for request in to_hub} == {f"Bearer {TOKEN}"}
    assert len(elsewhere) == 2
    assert {request.token for request in elsewhere} == {None}


def test_a_source_does_not_show_its_token():
    source = HubSource(token=TOKEN, endpoint="https://user:secret@hub.example:8443/x")
    assert repr(source) == "HubSource(endpoint='hub.example:8443', offline=False)"


@pytest.mark.parametrize("token", ["hf_a\nb", "hf_ä", "hf a"], ids=repr)
def test_a_token_that_cannot_be_one_is_not_sent(hub, model, fetch, token):
    hub.commit(NAME, model)
    with pytest.raises(AccessError, match="another character that no token has"):
        fetch(token=token)
    assert hub.requests == []


def test_an_empty_token_is_no_token(hub, model, fetch):
    # What an Actions secret is where it is not set.
    hub.commit(NAME, model)
    fetch(token="")
    assert {request.token for request in hub.requests} == {None}


# Refusals by the server: one clear error each.


def test_an_unknown_repository_says_that_it_may_be_private(fetch):
    with pytest.raises(NotFoundError, match=r"hf:org/model was not found .* private") as caught:
        fetch()
    assert "HF_TOKEN" in caught.value.hint
    assert caught.value.exit_code is ExitCode.SOURCE


def test_a_private_repository_without_a_token_is_not_found(hub, model, fetch):
    hub.commit(NAME, model)
    hub.repos[NAME].tokens = frozenset({TOKEN})
    with pytest.raises(NotFoundError, match="or it is private") as caught:
        fetch(token="hf_wrong")  # noqa: S106 a test's
    assert "hf_wrong" not in f"{caught.value.message}{caught.value.hint}"


def test_a_gated_repository_says_how_to_ask_for_access(hub, model, fetch):
    hub.commit(NAME, model)
    hub.repos[NAME].tokens = frozenset()
    hub.repos[NAME].gated = True
    with pytest.raises(AccessError, match="hf:org/model is gated") as caught:
        fetch()
    assert "accept the terms" in caught.value.hint
    assert "HF_TOKEN" in caught.value.hint


def test_a_disabled_repository_says_so(hub, model, fetch):
    hub.commit(NAME, model)
    hub.repos[NAME].disabled = True
    with pytest.raises(AccessError, match="was disabled"):
        fetch()


def test_an_unknown_revision_is_named(hub, model, fetch):
    hub.commit(NAME, model)
    with pytest.raises(NotFoundError, match="no revision 'v9'"):
        fetch("v9")


def test_a_bad_token_is_refused_without_being_quoted(hub, model, fetch):
    hub.commit(NAME, model)
    hub.faults.invalid_credentials = True
    with pytest.raises(AccessError, match=r"refused the token.*\(401\)") as caught:
        fetch(token=TOKEN)
    assert TOKEN not in f"{caught.value.message}{caught.value.hint}"


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (401, AccessError, r"refused the token, or asks for one"),
        (403, AccessError, r"forbids to read hf:org/model"),
        (404, NotFoundError, r"was not found"),
        (429, UnreachableError, r"limits requests"),
        (500, UnreachableError, r"could not answer for hf:org/model"),
        (503, UnreachableError, r"could not answer for hf:org/model"),
    ],
)
def test_a_status_of_the_model_becomes_one_error(hub, model, fetch, status, error, text):
    hub.commit(NAME, model)
    hub.faults.status = status
    with pytest.raises(error, match=rf"127\.0\.0\.1:{hub.port}.*\({status}\)") as caught:
        fetch()
    assert caught.match(text)
    assert caught.value.hint


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, AccessError),
        (403, AccessError),
        (404, NotFoundError),
        (429, UnreachableError),
        (503, UnreachableError),
    ],
)
def test_a_status_of_a_file_becomes_the_same_error(hub, model, fetch, status, error):
    hub.commit(NAME, model)
    hub.faults.file_status = status
    with pytest.raises(error, match=rf"\({status}\)"):
        fetch()


def test_a_file_that_is_listed_and_absent_is_not_found(hub, model, fetch):
    hub.commit(NAME, model)
    extra = {"rfilename": "vocab.json", "size": 1, "blobId": git_sha1(b"x")}
    hub.faults.info = lambda answer: answer["siblings"].append(extra)
    with pytest.raises(NotFoundError, match=r"a file that .* lists is not there"):
        fetch()


def test_a_server_that_is_down_is_unreachable(hub, model, fetch):
    hub.commit(NAME, model)
    hub.close()
    with pytest.raises(UnreachableError, match=r"no connection to 127\.0\.0\.1:\d+ for") as caught:
        fetch()
    assert "HF_HUB_OFFLINE=1" in caught.value.hint


@pytest.mark.usefixtures("no_waiting")
def test_a_server_that_goes_down_after_resolving_is_unreachable(hub, model, fetch):
    hub.commit(NAME, model)
    hub.faults.after_info = hub._server.socket.close
    with pytest.raises(UnreachableError, match="no connection to"):
        fetch()
    assert hub.paths() == [f"/api/models/{NAME}?blobs=true"]


def test_a_server_that_does_not_answer_in_time_is_unreachable(hub, model, fetch):
    hub.commit(NAME, model)
    hub.faults.wait = threading.Event()
    with pytest.raises(UnreachableError, match="did not answer in time"):
        fetch(timeout_s=0.2)


@pytest.mark.parametrize(
    "body",
    [b"<html>log in</html>", b"[]", b'{"siblings": [{}]}', b'{"id": 1, "siblings": 3}'],
    ids=["html", "list", "no-names", "no-list"],
)
def test_a_server_that_is_no_hub_is_unreachable(hub, fetch, body):
    hub.faults.body = body
    with pytest.raises(UnreachableError, match="did not answer like a Hub"):
        fetch()


@pytest.mark.usefixtures("no_waiting")
def test_a_server_that_hides_the_commit_of_a_file_is_no_hub(hub, model, fetch):
    hub.commit(NAME, model)
    hub.faults.no_metadata = True
    with pytest.raises(UnreachableError, match="did not answer like a Hub"):
        fetch()


@pytest.mark.parametrize(
    "endpoint", ["hub.example", "ftp://hub.example", "http://[::1"], ids=["bare", "ftp", "bracket"]
)
def test_an_endpoint_that_is_no_url_is_named(fetch, endpoint):
    with pytest.raises(UnreachableError, match="address of the Hub is not a URL") as caught:
        fetch(endpoint=endpoint)
    assert "HF_ENDPOINT" in caught.value.hint


def test_credentials_in_the_endpoint_are_not_shown(hub, fetch):
    with pytest.raises(SourceError, match=rf"on 127\.0\.0\.1:{hub.port}, or") as caught:
        fetch(endpoint=f"http://user:secret@127.0.0.1:{hub.port}")
    assert "secret" not in f"{caught.value.message}{caught.value.hint}"


@pytest.mark.parametrize("offline", [False, True], ids=["online", "offline"])
def test_a_name_that_the_hub_does_not_allow_is_not_asked_for(hub, tmp_path, offline):
    source = HubSource(endpoint=hub.url, cache_folder=tmp_path, offline=offline)
    with pytest.raises(NotFoundError, match="hf:org/a--b is not a name that the Hub allows"):
        source.fetch(ModelRef.parse("hf:org/a--b"), NullProgress())
    assert hub.requests == []


def test_a_token_exchange_that_fails_is_said_to_have_failed(hub, fetch, monkeypatch):
    monkeypatch.setenv("HF_OIDC_RESOURCE", "org/model")
    for name in ("HF_OIDC_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(AccessError, match="the exchange that HF_OIDC_RESOURCE asks for failed"):
        fetch()
    assert hub.requests == []


# Models that must not be read are refused before their weights are downloaded.


def test_a_repository_without_weights_is_refused_before_any_download(hub, fetch, tmp_path):
    folder = write_checkpoint(tmp_path / "bare")
    (folder / "model.safetensors").unlink()
    hub.commit(NAME, folder)
    with pytest.raises(FormatError, match=r"holds config\.json but no weights"):
        fetch()
    assert hub.paths("HEAD") == []


def test_an_empty_repository_is_refused(hub, fetch, tmp_path):
    (tmp_path / "empty").mkdir()
    hub.commit(NAME, tmp_path / "empty")
    with pytest.raises(FormatError, match="hf:org/model holds no files"):
        fetch()


def test_remote_code_is_refused_before_weights_are_downloaded(hub, model, fetch):
    write_json(model / "config.json", {"auto_map": {"AutoModel": "modeling_x.X"}})
    hub.commit(NAME, model)
    with pytest.raises(FormatError, match="wants to run code"):
        fetch()
    assert not any(path.endswith(".safetensors") for path in hub.paths())


def test_an_index_with_a_missing_shard_is_refused_before_weights_are_downloaded(hub, model, fetch):
    (model / "model-00002-of-00002.safetensors").unlink()
    hub.commit(NAME, model)
    with pytest.raises(FormatError, match=r"lacks 'model-00002-of-00002\.safetensors'"):
        fetch()
    assert not any(path.endswith(".safetensors") for path in hub.paths())


def test_a_huge_configuration_is_refused_before_it_is_downloaded(hub, model, fetch):
    (model / "config.json").write_bytes(b" " * 10_000_001)
    hub.commit(NAME, model)
    with pytest.raises(FormatError, match="expected at most 10,000,000 bytes"):
        fetch()
    assert hub.paths("HEAD") == []


def test_a_giant_tokenizer_is_refused_before_it_is_downloaded(hub, model, fetch):
    hub.commit(NAME, model)

    def inflate(answer: dict) -> None:
        for sibling in answer["siblings"]:
            if sibling["rfilename"] == "tokenizer.json":
                sibling["size"] = 1 << 40

    hub.faults.info = inflate
    with pytest.raises(FormatError, match=r"'tokenizer\.json' of .* at most 200,000,000 bytes"):
        fetch()
    assert hub.paths("HEAD") == []


def test_a_shard_whose_header_is_damaged_is_refused(hub, model, fetch):
    (model / "model-00001-of-00002.safetensors").write_bytes(b"\xff" * 64)
    hub.commit(NAME, model)
    with pytest.raises(
        FormatError, match=r"'model-00001-.*' of hf:org/model announces a header of"
    ):
        fetch()


# Adapters and GGUF.


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """An adapter as it is uploaded: with a tokenizer, a pickle and a model's configuration."""
    folder = write_adapter(tmp_path / "adapter")
    write_json(folder / "tokenizer_config.json", {"model_max_length": 8})
    write_json(folder / "tokenizer.json", {"version": "1.0"})
    write_json(folder / "config.json", {"model_type": "llama"})
    (folder / "training_args.bin").write_bytes(b"pickle")
    return folder


ADAPTER_FILES = [
    "adapter_config.json",
    "adapter_model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
]


def test_an_adapter_is_fetched_with_its_configuration_first_and_its_weights_last(
    hub, adapter, fetch
):
    commit = hub.commit(NAME, adapter)
    snapshot = fetch()
    assert (snapshot.kind, snapshot.commit) == (SnapshotKind.ADAPTER, commit)
    assert [file.name for file in snapshot.files] == ADAPTER_FILES
    asked = [path.rsplit("/", 1)[1] for path in hub.paths("HEAD")]
    assert sorted(asked) == ADAPTER_FILES
    assert set(asked[:2]) == {"adapter_config.json", "tokenizer_config.json"}
    assert asked[-1] == "adapter_model.safetensors"


def test_offline_an_adapter_is_what_it_is_online(hub, adapter, fetch):
    hub.commit(NAME, adapter)
    online = fetch()
    hub.requests.clear()
    assert fetch(offline=True) == online
    assert hub.requests == []


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_offline_refuses_a_partial_adapter(hub, adapter, fetch, name):
    hub.commit(NAME, adapter)
    (fetch().folder / name).unlink()
    with pytest.raises(UnreachableError, match=f"offline, and .* only a part .* '{name}'"):
        fetch(offline=True)


def test_an_adapter_beside_a_full_model_is_refused_before_any_download(hub, model, fetch):
    write_adapter(model)
    hub.commit(NAME, model)
    with pytest.raises(FormatError, match="other weights than adapter_model"):
        fetch()
    assert hub.paths("HEAD") == []


def test_offline_an_adapter_beside_a_full_model_is_refused_too(hub, model, fetch, tmp_path):
    write_adapter(model)
    hub.commit(NAME, model)
    snapshot_download(NAME, endpoint=hub.url, cache_dir=tmp_path / "cache")
    with pytest.raises(FormatError, match="other weights than adapter_model"):
        fetch(offline=True)


def test_an_adapter_that_wants_remote_code_is_refused_before_its_weights(hub, adapter, fetch):
    write_json(adapter / "adapter_config.json", {"auto_map": {"AutoModel": "x.X"}})
    hub.commit(NAME, adapter)
    with pytest.raises(FormatError, match="wants to run code"):
        fetch()
    assert not any(path.endswith(".safetensors") for path in hub.paths())


def test_a_gguf_model_is_fetched_with_its_weights_last(hub, fetch, tmp_path):
    folder = write_checkpoint(tmp_path / "gguf")
    (folder / "model.safetensors").unlink()
    (folder / "model-Q8_0.gguf").write_bytes(b"GGUF and more")
    hub.commit(NAME, folder)
    online = fetch()
    assert online.kind is SnapshotKind.GGUF
    assert [path.rsplit("/", 1)[1] for path in hub.paths("HEAD")][-1] == "model-Q8_0.gguf"
    assert fetch(offline=True) == online


def test_a_gguf_model_needs_no_configuration(hub, fetch, tmp_path):
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf" / "x.gguf").write_bytes(b"GGUF and more")
    hub.commit(NAME, tmp_path / "gguf")
    online = fetch()
    assert [file.name for file in online.files] == ["x.gguf"]
    assert fetch(offline=True) == online


def test_beside_safetensors_no_gguf_is_fetched(hub, model, fetch):
    for name in ("a.gguf", "b.gguf"):
        (model / name).write_bytes(b"GGUF and more")
    hub.commit(NAME, model)
    assert fetch().kind is SnapshotKind.FULL
    assert not any(path.endswith(".gguf") for path in hub.paths())


def test_several_gguf_files_are_refused_before_any_download(hub, fetch, tmp_path):
    (tmp_path / "gguf").mkdir()
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / "gguf" / name).write_bytes(b"GGUF and more")
    hub.commit(NAME, tmp_path / "gguf")
    with pytest.raises(FormatError, match="holds 2 GGUF files"):
        fetch()
    assert hub.paths("HEAD") == []


# Integrity.


@pytest.mark.parametrize(
    "name", ["model-00002-of-00002.safetensors", "tokenizer.json", "config.json"]
)
def test_wrong_bytes_of_the_right_size_are_refused_and_a_healed_server_is_believed(
    hub, model, fetch, tmp_path, name
):
    commit = hub.commit(NAME, model)
    data = (model / name).read_bytes()
    rotten = bytes([data[0] ^ 1]) + data[1:]
    digest_of = sha256 if name.endswith(".safetensors") else git_sha1
    hub.faults.rotten = {name}
    with pytest.raises(IntegrityError, match=f"'{name}' of hf:org/model") as caught:
        fetch()
    assert f"expected digest {digest_of(data)}, got {digest_of(rotten)}" in caught.value.message
    assert "damaged files: 1" in caught.value.message
    assert digest_of(data) not in blobs_in(tmp_path)
    hub.faults.rotten = set()
    snapshot = fetch()
    assert snapshot.commit == commit
    assert (snapshot.folder / name).read_bytes() == data


def test_a_blob_that_rots_in_the_cache_is_removed_and_downloaded_again(hub, model, fetch):
    hub.commit(NAME, model)
    first = fetch()
    shard = first.folder / "model-00001-of-00002.safetensors"
    shard.resolve().write_bytes(b"rotten")
    with pytest.raises(IntegrityError, match="expected digest"):
        fetch()
    assert not shard.exists()
    assert fetch() == first


def test_a_cache_without_links_is_checked_too(hub, model, fetch):
    hub.commit(NAME, model)
    shard = fetch().folder / "model-00001-of-00002.safetensors"
    blob = shard.resolve()
    shard.unlink()
    shard.write_bytes(b"rotten")
    with pytest.raises(IntegrityError, match="expected digest"):
        fetch()
    assert not shard.exists()
    assert blob.exists()


def test_nothing_outside_the_cache_is_removed(hub, model, fetch, tmp_path):
    hub.commit(NAME, model)
    shard = fetch().folder / "model-00001-of-00002.safetensors"
    outside = tmp_path / "precious"
    outside.write_bytes(b"not a shard")
    shard.unlink()
    shard.symlink_to(outside)
    with pytest.raises(IntegrityError, match="expected digest"):
        fetch()
    assert outside.read_bytes() == b"not a shard"
    assert not shard.is_symlink()


@pytest.mark.usefixtures("no_waiting")
def test_a_file_of_another_size_than_announced_is_refused(hub, model, fetch):
    hub.commit(NAME, model)
    hub.faults.short = {"model-00001-of-00002.safetensors"}
    with pytest.raises(IntegrityError, match="another size than it announced"):
        fetch()


@pytest.mark.parametrize(
    "change",
    [
        {"blobId": None},
        {"size": None},
        {"blobId": "ABC"},
        {"size": "9"},
    ],
    ids=["no-digest", "no-size", "odd-digest", "odd-size"],
)
def test_a_server_that_promises_nothing_is_refused(hub, model, fetch, change):
    hub.commit(NAME, model)

    def withhold(answer: dict) -> None:
        for sibling in answer["siblings"]:
            if sibling["rfilename"] == "config.json":
                sibling.update(change)

    hub.faults.info = withhold
    with pytest.raises(IntegrityError, match=r"promises no size or no digest for 'config.json'"):
        fetch()


@pytest.mark.parametrize("sha", [None, "main", "../../x"], ids=repr)
def test_a_server_that_names_no_commit_is_refused(hub, model, fetch, sha):
    hub.commit(NAME, model)
    hub.faults.info = lambda answer: answer.update(sha=sha)
    with pytest.raises(IntegrityError, match="named no commit for hf:org/model"):
        fetch()


def test_a_server_that_answers_with_another_commit_is_refused(hub, model, fetch):
    commit = hub.commit(NAME, model)
    hub.faults.info = lambda answer: answer.update(sha="0" * 40)
    with pytest.raises(IntegrityError, match="to another commit: 0000"):
        fetch(commit)


# Room.


def test_a_model_that_does_not_fit_is_refused_with_both_figures(hub, model, fetch):
    hub.commit(NAME, model)

    def inflate(answer: dict) -> None:
        for sibling in answer["siblings"]:
            if sibling["rfilename"].endswith(".safetensors"):
                sibling["lfs"]["size"] = 1 << 41

    hub.faults.info = inflate
    with pytest.raises(StorageError, match=r"needed 4,194,304\.0 MiB, free [\d,]+\.\d MiB"):
        fetch()
    assert hub.paths("HEAD") == []


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOSPC, "the disk became full while hf:org/model was downloaded"),
        (errno.EDQUOT, "the disk became full"),
        (errno.EROFS, "the cache cannot be written for hf:org/model: Read-only file system"),
    ],
    ids=["full", "quota", "read-only"],
)
def test_a_disk_that_refuses_while_downloading_is_said_to(
    hub, model, fetch, monkeypatch, number, text
):
    hub.commit(NAME, model)

    def write(*_args: object, **_kwargs: object) -> None:
        raise OSError(number, os.strerror(number), "blob")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", write)
    with pytest.raises(StorageError, match=text):
        fetch()


@pytest.mark.parametrize("raised", [ConnectionError("xet"), RuntimeError("xet")], ids=repr)
def test_a_download_that_fails_in_xet_is_unreachable(hub, model, fetch, monkeypatch, raised):
    hub.commit(NAME, model)

    def download(*_args: object, **_kwargs: object) -> None:
        raise raised

    monkeypatch.setattr("huggingface_hub.file_download.http_get", download)
    with pytest.raises(UnreachableError, match=rf"hf:org/model.*\({type(raised).__name__}\)"):
        fetch()


# Progress.


def test_progress_counts_mebibytes_and_ends_each_stage_once(hub, tmp_path, fetch, capfd):
    folder = write_checkpoint(tmp_path / "large", elements=3 * MIB)  # 12 MiB
    hub.commit(NAME, folder)
    progress = Recorder()
    fetch(progress=progress)
    downloads, digests = progress.of("download"), progress.of("digest")
    assert downloads[-1] == (13, 13)
    assert digests == [(done, 4) for done in range(5)]
    assert [done for done, _ in downloads] == sorted(done for done, _ in downloads)
    assert sum(done == total for done, total in downloads) == 1
    assert any(0 < done < total for done, total in downloads)
    assert {name for stage, _, _, name in progress.calls if stage == "download"} == {
        "config.json",
        "tokenizer_config.json",
        "tokenizer.json",
        "model.safetensors",
        "",
    }
    assert capfd.readouterr() == ("", "")


def test_a_cached_model_shows_no_download(hub, model, fetch):
    hub.commit(NAME, model)
    fetch()
    progress = Recorder()
    fetch(progress=progress)
    assert {stage for stage, *_ in progress.calls} == {"digest"}


def test_bars_take_what_xet_does_to_them(hub, model, fetch, monkeypatch):
    # What huggingface_hub.utils._xet_progress_reporting calls on an aggregated bar.
    hub.commit(NAME, model)
    bars = []

    def download(url: str, _file: object, *, tqdm_class: type, **_kwargs: object) -> None:
        bar = tqdm_class(desc=url, total=1, unit="B", position=1, leave=True)
        bar.update_transfer(5)
        bar.set_transfer_postfix_str("1 B/s", refresh=False)
        bar.set_postfix_str("1 B/s", refresh=False)
        bar.update(1)
        bar.total = 2
        bar.close()
        bars.append(bar)

    monkeypatch.setattr("huggingface_hub.file_download.http_get", download)
    progress = Recorder()
    with pytest.raises(IntegrityError, match="damaged files: 3"):
        fetch(progress=progress)
    assert len(bars) == 3
    assert all(bar.disable for bar in bars)
    assert progress.of("download") == [(0, 1)] * 3


# What the Hub calls a model.

NOTE = "cache/models--org--model/sdi-gate-name"


def test_a_model_is_named_as_the_hub_calls_it_and_referred_to_as_it_was_typed(hub, model, fetch):
    hub.commit("Org/Renamed", model)
    hub.answer_to(NAME, "Org/Renamed")
    snapshot = fetch()
    assert (snapshot.hub_name, str(snapshot.ref)) == ("Org/Renamed", "hf:org/model")
    hub.requests.clear()
    assert fetch(offline=True) == snapshot
    assert hub.requests == []


def test_a_model_that_is_called_what_was_typed_leaves_no_note(hub, model, fetch, tmp_path):
    hub.commit(NAME, model)
    snapshot = fetch()
    assert (snapshot.hub_name, snapshot.name) == (NAME, None)
    assert not (tmp_path / NOTE).exists()


def test_a_name_that_is_given_back_is_forgotten_offline(hub, model, fetch, tmp_path):
    hub.commit("org/renamed", model)
    hub.answer_to(NAME, "org/renamed")
    fetch()
    assert (tmp_path / NOTE).exists()
    hub.called.clear()
    fetch()
    assert fetch(offline=True).hub_name == NAME


@pytest.mark.parametrize(
    "content", [b"", b"../../etc", b"\xff", b"a b"], ids=["empty", "path", "bytes", "space"]
)
def test_a_damaged_note_of_a_name_is_none(hub, model, fetch, tmp_path, content):
    hub.commit(NAME, model)
    fetch()
    (tmp_path / NOTE).write_bytes(content)
    assert fetch(offline=True).hub_name == NAME


@pytest.mark.parametrize("name", [None, 5, "", "org/a/b", "org/\x1b[31m", "../org"], ids=str)
def test_a_hub_that_names_no_repository_is_not_believed(hub, model, fetch, name):
    hub.commit(NAME, model)
    hub.faults.info = lambda answer: answer.update(id=name)
    with pytest.raises(IntegrityError, match="no name of a repository"):
        fetch()


# Offline.


@pytest.mark.parametrize("revision", [None, "main", "v1"], ids=["default", "branch", "tag"])
def test_offline_uses_what_the_revision_last_meant(hub, model, fetch, revision):
    hub.commit(NAME, model, branch=revision or "main")
    online = fetch(revision)
    hub.requests.clear()
    assert fetch(revision, offline=True) == online
    assert hub.requests == []


def test_offline_takes_a_full_commit(hub, model, fetch):
    commit = hub.commit(NAME, model)
    online = fetch(commit)
    assert fetch(commit, offline=True) == online
    with pytest.raises(UnreachableError, match="offline, and hf:org/model is not in the cache"):
        fetch(offline=True)


def test_offline_reads_what_another_client_has_cached(hub, model, fetch, tmp_path):
    commit = hub.commit(NAME, model)
    folder = snapshot_download(NAME, endpoint=hub.url, cache_dir=tmp_path / "cache")
    snapshot = fetch(offline=True)
    assert (snapshot.commit, str(snapshot.folder)) == (commit, folder)
    assert (snapshot.folder / "pytorch_model.bin").exists()
    assert len(snapshot.files) == 6


def test_offline_without_a_cache_says_offline(hub, fetch):
    with pytest.raises(UnreachableError, match="offline, and hf:org/model is not") as caught:
        fetch(offline=True)
    assert "HF_HUB_OFFLINE" in caught.value.hint
    assert hub.requests == []


@pytest.mark.parametrize("content", [b"", b"../../etc", b"\xff"], ids=["empty", "path", "bytes"])
def test_offline_does_not_follow_a_damaged_note_of_a_revision(hub, model, fetch, tmp_path, content):
    hub.commit(NAME, model)
    fetch()
    (tmp_path / "cache/models--org--model/refs/main").write_bytes(content)
    with pytest.raises(UnreachableError, match="is not in the cache"):
        fetch(offline=True)


@pytest.mark.parametrize(
    "name", ["config.json", "model-00001-of-00002.safetensors"], ids=["config", "shard"]
)
def test_offline_refuses_a_partial_snapshot(hub, model, fetch, name):
    hub.commit(NAME, model)
    (fetch().folder / name).unlink()
    with pytest.raises(UnreachableError, match=f"offline, and .* only a part .* '{name}'"):
        fetch(offline=True)


def test_offline_refuses_a_snapshot_without_weights(hub, fetch, tmp_path):
    hub.commit(NAME, write_checkpoint(tmp_path / "single"))
    (fetch().folder / "model.safetensors").unlink()
    with pytest.raises(UnreachableError, match=r"only a part .*'\*\.safetensors' is missing"):
        fetch(offline=True)


@pytest.mark.parametrize("name", [INDEX, "model-00001-of-00002.safetensors"])
def test_offline_holds_files_to_their_names_in_the_cache(hub, model, fetch, name):
    hub.commit(NAME, model)
    path = fetch().folder / name
    path.resolve().write_bytes(b"rotten")
    with pytest.raises(IntegrityError, match=f"'{name}' of hf:org/model"):
        fetch(offline=True)
    assert not path.is_symlink()


def test_offline_does_not_take_a_shared_blobs_name_for_the_files_digest(
    hub, model, fetch, tmp_path
):
    # With Xet, blobs/<sha256> is itself a link, to a file named by another hash.
    hub.commit(NAME, model)
    online = fetch()
    blob = (online.folder / "model-00001-of-00002.safetensors").resolve()
    shared = tmp_path / "cache" / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(shared)
    assert fetch(offline=True) == online


def test_offline_reads_a_cache_without_links(hub, model, fetch):
    hub.commit(NAME, model)
    online = fetch()
    for file in online.files:
        path = online.folder / file.name
        path.resolve().replace(path)
    assert fetch(offline=True) == online


def test_offline_refuses_remote_code_too(hub, model, fetch):
    hub.commit(NAME, model)
    folder = fetch().folder
    (folder / "tokenizer_config.json").unlink()
    write_json(folder / "tokenizer_config.json", {"auto_map": {"AutoTokenizer": "x.X"}})
    with pytest.raises(IntegrityError, match="is no link to a blob"):
        fetch(offline=True)
    for link in [path for path in folder.iterdir() if path.is_symlink()]:
        content = link.read_bytes()
        link.unlink()
        link.write_bytes(content)
    with pytest.raises(FormatError, match="wants to run code"):
        fetch(offline=True)


def test_a_link_to_something_that_is_no_blob_is_refused_offline(hub, model, fetch):
    hub.commit(NAME, model)
    folder = fetch().folder
    weights = next(folder.glob("*.safetensors"))
    other = folder.parent / "evil"
    other.write_bytes(weights.read_bytes())
    weights.unlink()
    weights.symlink_to(other)
    with pytest.raises(IntegrityError, match=r"\.safetensors' of .* is no link to a blob"):
        fetch(offline=True)


def test_a_link_out_of_the_cache_is_refused_even_if_its_content_is_right(
    hub, model, fetch, tmp_path
):
    hub.commit(NAME, model)
    shard = fetch().folder / "model-00001-of-00002.safetensors"
    outside = tmp_path / "outside"
    outside.write_bytes(shard.read_bytes())
    shard.unlink()
    shard.symlink_to(outside)
    with pytest.raises(
        FormatError, match=r"'model-00001-.*' of hf:org/model is a link that leaves"
    ):
        fetch()


@pytest.mark.parametrize("offline", [False, True], ids=["online", "offline"])
def test_a_blob_that_links_out_of_the_cache_is_refused(hub, model, fetch, tmp_path, offline):
    hub.commit(NAME, model)
    blob = (fetch().folder / "model-00001-of-00002.safetensors").resolve()
    blob.rename(tmp_path / "outside")
    blob.symlink_to(tmp_path / "outside")
    with pytest.raises(FormatError, match="is a link that leaves the model's folder"):
        fetch(offline=offline)


def test_a_server_that_sends_more_than_it_promised_is_stopped():
    file = PromisedFile(name="model.safetensors", size_bytes=10, digest="0" * 64)
    meter = Meter([file], NullProgress(), ModelRef.parse(f"hf:{NAME}"))
    bar = meter.bar_for(file.name)(total=10)
    bar.update(10)
    with pytest.raises(
        IntegrityError, match=r"sends more of 'model\.safetensors' of .* 10 bytes it"
    ):
        bar.update(2 * 1024 * 1024)


def test_a_note_that_cannot_be_written_does_not_matter(hub, model, fetch, tmp_path):
    hub.commit(NAME, model)
    repo = tmp_path / "cache" / "models--org--model"
    repo.mkdir(parents=True)
    (repo / "refs").write_text("in the way", encoding="utf-8")
    assert len(fetch().files) == 6
    with pytest.raises(UnreachableError, match="is not in the cache"):
        fetch(offline=True)


def test_the_clients_own_offline_mode_wins_over_ours(hub, model, fetch, monkeypatch):
    hub.commit(NAME, model)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UnreachableError, match=r"offline: 127\.0\.0\.1:\d+ may not be asked"):
        fetch(offline=False)
    assert hub.requests == []


# The environment, which the client reads when it is imported: hence a process of its own.

PROGRAM = """
import json, sys
from sdi_gate.errors import SdiGateError
from sdi_gate.integrations.hub import HubSource
from sdi_gate.models.ref import ModelRef
from sdi_gate.models.snapshot import SnapshotKind
from sdi_gate.progress import NullProgress
try:
    snapshot = HubSource().fetch(ModelRef.parse("hf:org/model"), NullProgress())
except SdiGateError as error:
    sys.exit(f"{type(error).__name__}: {error.message}")
print(json.dumps([snapshot.commit, str(snapshot.folder)]))
"""


def run_program(**environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGG"))}
    return subprocess.run(  # noqa: S603 our own interpreter and program
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_environment_alone_is_honoured(hub, model, tmp_path):
    commit = hub.commit(NAME, model)
    hub.repos[NAME].tokens = frozenset({TOKEN})
    place = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}

    without_token = run_program(**place)
    assert "NotFoundError: hf:org/model was not found on 127.0.0.1" in without_token.stderr

    online = run_program(**place, HF_TOKEN=TOKEN)
    assert online.stderr == ""
    found, folder = json.loads(online.stdout)
    assert found == commit
    assert Path(folder).is_relative_to(tmp_path / "home")

    hub.requests.clear()
    offline = run_program(**place, HF_HUB_OFFLINE="1")
    assert json.loads(offline.stdout) == [commit, folder]
    assert hub.requests == []


def test_a_single_file_model_needs_no_index_and_no_other_weights(hub, fetch, tmp_path):
    folder = write_checkpoint(tmp_path / "single")
    write_weights(folder / "extra.safetensors", seed=3)
    hub.commit(NAME, folder)
    assert [file.name for file in fetch().weight_files] == ["model.safetensors"]
    assert not any("extra" in path for path in hub.paths())
