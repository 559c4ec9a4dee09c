"""Which files a snapshot may hold, and what identifies it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.models.ref import ModelRef, Scheme
from sdi_gate.models.snapshot import (
    ModelSnapshot,
    SnapshotFile,
    SnapshotKind,
    is_pickle,
    is_wanted,
    kind_of,
    select_wanted,
    sha256_of,
)

REF = ModelRef(scheme=Scheme.FILE, location="model")


def snapshot_of(kind=SnapshotKind.FULL, carrier=None, **digests):
    files = tuple(
        SnapshotFile(name=name.replace("_dot_", "."), size_bytes=1, sha256=digest)
        for name, digest in sorted(digests.items())
    )
    return ModelSnapshot(
        ref=REF, commit=None, folder=Path("model"), files=files, kind=kind, carrier=carrier
    )


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "merges.txt",
        "chat_template.jinja",
        "adapter_config.json",
        "adapter_model.safetensors",
        "model-Q4_K_M.gguf",
    ],
)
def test_configurations_tokenizer_and_weights_are_wanted(name):
    assert is_wanted(name)
    assert not is_pickle(name)


@pytest.mark.parametrize(
    "name",
    [
        "modeling_x.py",
        "pytorch_model.bin",
        "README.md",
        "onnx/config.json",
        "../config.json",
        "a/model.safetensors",
        ".safetensors.exe",
        "config.json\n",
        "Config.json",
        "adapter_model.bin",
        "sub/model.gguf",
        "",
    ],
    ids=repr,
)
def test_code_pickles_pictures_and_subfolders_are_not_wanted(name):
    assert not is_wanted(name)


OWN = ["model.safetensors", "model-00001-of-00002.safetensors"]
FOREIGN = ["consolidated.safetensors", "model_fp8.safetensors", "extra.safetensors"]
INDICES = ["model.safetensors.index.json", "consolidated.safetensors.index.json"]


@pytest.mark.parametrize("own", OWN)
def test_beside_weights_for_transformers_no_others_are_fetched(own):
    names = [*FOREIGN, "config.json", own, "README.md"]
    assert select_wanted(names) == ("config.json", own)


def test_where_there_are_no_weights_for_transformers_all_are_fetched():
    names = [*FOREIGN, "config.json", "modeling_x.py"]
    assert select_wanted(names) == (*FOREIGN, "config.json")


@given(st.lists(st.sampled_from([*OWN, *FOREIGN, *INDICES, "config.json", "x.bin"]), unique=True))
def test_selecting_drops_nothing_but_unwanted_files_and_foreign_weights(names):
    selected = select_wanted(names)
    assert list(selected) == [name for name in names if name in selected]
    dropped = {name for name in names if is_wanted(name)} - set(selected)
    assert dropped == (set(FOREIGN) & set(names) if set(OWN) & set(names) else set())
    assert select_wanted(selected) == selected


ADAPTER = ["adapter_config.json", "adapter_model.safetensors"]
TOKENIZER = ["tokenizer.json", "tokenizer_config.json"]


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ([], "full"),
        (["config.json"], "full"),
        (["config.json", "model.safetensors"], "full"),
        (["config.json", "model.safetensors", "model.gguf"], "full"),
        (["config.json", "model.safetensors", "adapter_config.json"], "full"),
        (ADAPTER, "adapter"),
        ([*ADAPTER, "config.json", "x.gguf"], "adapter"),
        (["x.gguf"], "gguf"),
        (["config.json", "x.gguf"], "gguf"),
        (["sub/x.gguf"], "full"),
    ],
    ids=str,
)
def test_the_kind_of_a_model_follows_from_its_names(names, kind):
    assert kind_of(names) is SnapshotKind(kind)


def test_of_an_adapter_its_two_files_and_its_tokenizer_are_fetched():
    names = [*ADAPTER, *TOKENIZER, "config.json", "generation_config.json", "x.gguf", "a.py"]
    assert select_wanted(names) == (*ADAPTER, *TOKENIZER)


def test_of_a_gguf_model_configuration_and_tokenizer_are_fetched_too():
    names = ["config.json", "x.gguf", *TOKENIZER, INDICES[0], "README.md"]
    assert select_wanted(names) == ("config.json", "x.gguf", *TOKENIZER)


def test_beside_safetensors_no_gguf_is_fetched():
    assert select_wanted(["config.json", OWN[0], "x.gguf"]) == ("config.json", OWN[0])


@given(st.lists(st.sampled_from([*OWN, *FOREIGN, *ADAPTER, "x.gguf", "config.json"]), unique=True))
def test_what_is_selected_is_of_the_kind_it_was_selected_for(names):
    selected = select_wanted(names)
    assert kind_of(selected) is kind_of(names)
    assert select_wanted(selected) == selected


@pytest.mark.parametrize("ending", ["bin", "pt", "pth", "ckpt", "pkl", "pickle", "msgpack", "h5"])
def test_formats_that_can_run_code_are_known_by_their_ending(ending):
    assert is_pickle(f"model.{ending}")
    assert is_pickle(f"sub/model.{ending}")
    assert not is_wanted(f"model.{ending}")


@given(st.text())
def test_nothing_is_wanted_and_a_pickle(name):
    assert not (is_wanted(name) and is_pickle(name))


def test_the_digest_names_the_weights_and_nothing_else():
    one = snapshot_of(a_dot_safetensors="1" * 64, config_dot_json="2" * 64)
    assert [file.name for file in one.weight_files] == ["a.safetensors"]
    line = f"{'1' * 64}  a.safetensors\n"
    assert one.digest == "sha256:" + hashlib.sha256(line.encode()).hexdigest()
    other_config = snapshot_of(a_dot_safetensors="1" * 64, config_dot_json="3" * 64)
    assert other_config.digest == one.digest


@pytest.mark.parametrize(
    "digests",
    [
        {"a_dot_safetensors": "3" * 64},
        {"b_dot_safetensors": "1" * 64},
        {"a_dot_safetensors": "1" * 64, "b_dot_safetensors": "1" * 64},
        {},
    ],
    ids=["content", "name", "more", "none"],
)
def test_other_weights_have_another_digest(digests):
    assert snapshot_of(**digests).digest != snapshot_of(a_dot_safetensors="1" * 64).digest


def test_the_digest_of_an_adapter_names_its_configuration_too():
    # The scale is there and nowhere else.
    names = {"adapter_config_dot_json": "1" * 64, "adapter_model_dot_safetensors": "2" * 64}
    one = snapshot_of(SnapshotKind.ADAPTER, **names)
    lines = f"{'1' * 64}  adapter_config.json\n{'2' * 64}  adapter_model.safetensors\n"
    assert one.digest == "sha256:" + hashlib.sha256(lines.encode()).hexdigest()
    other = snapshot_of(SnapshotKind.ADAPTER, **(names | {"adapter_config_dot_json": "3" * 64}))
    assert other.digest != one.digest
    assert snapshot_of(SnapshotKind.ADAPTER, config_dot_json="4" * 64, **names).digest == one.digest


def test_the_digest_of_an_adapter_names_the_model_that_carries_it():
    names = {"adapter_config_dot_json": "1" * 64, "adapter_model_dot_safetensors": "2" * 64}
    carriers = [snapshot_of(model_dot_safetensors=digit * 64) for digit in "34"]
    digests = {
        snapshot_of(SnapshotKind.ADAPTER, carrier, **names).digest for carrier in (*carriers, None)
    }
    assert len(digests) == 3


def test_the_digest_of_a_gguf_model_names_its_file():
    one, other = (snapshot_of(SnapshotKind.GGUF, x_dot_gguf=digit * 64) for digit in "12")
    assert [file.name for file in one.weight_files] == ["x.gguf"]
    assert one.digest != other.digest


@pytest.mark.parametrize("size", [0, 1, (1 << 22) - 1, 1 << 22, (1 << 22) + 1])
def test_a_file_is_hashed_whole_whatever_its_size(tmp_path, size):
    content = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "file").write_bytes(content[:size])
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content[:size]).hexdigest()
