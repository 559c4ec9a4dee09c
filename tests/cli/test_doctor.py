import json
import os
import sys
from importlib import metadata

import pytest
from commands import environment, run_process
from huggingface_hub import constants

import sdi_gate.cli.doctor as doctor_module
from sdi_gate.cli.options import cpu_count

CANARY = "hf_canaryCANARYcanaryCANARYcanary"


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_doctor_says_that_there_is_a_token_and_never_which(options, tmp_path):
    env = environment(
        tmp_path,
        HF_TOKEN=CANARY,
        HF_ENDPOINT=f"https://user:{CANARY}@hub.example.org/{CANARY}?token={CANARY}",
    )
    ended = run_process("--verbose", "doctor", *options, env=env)
    assert (ended.code, ended.err) == (0, "")
    assert CANARY not in ended.out
    assert "hub.example.org" in ended.out
    assert "present" in ended.out


def test_doctor_gives_json_with_the_same_findings(run_here):
    text, plain = run_here("doctor"), run_here("doctor", "--json")
    found = json.loads(plain.out)
    assert (text.code, plain.code) == (0, 0)
    assert [line.split("  ")[0] for line in text.out.splitlines()] == list(found)
    assert {"device", "free memory", "Hub cache", "Hub token", "Hub offline"} <= found.keys()
    assert all(isinstance(value, str) for value in found.values())


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("https://hub.example.org:8443/x", "hub.example.org"),
        ("http://[", "not a URL"),
        ("x", "not a URL"),
    ],
)
def test_doctor_shows_the_host_of_the_endpoint_if_it_has_one(
    endpoint, shown, run_here, monkeypatch
):
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    assert json.loads(run_here("doctor", "--json").out)["Hub endpoint"] == shown


@pytest.mark.parametrize("offline", [True, False])
def test_doctor_says_whether_the_hub_may_be_asked(offline, run_here, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    found = json.loads(run_here("doctor", "--json").out)
    assert found["Hub offline"] == ("yes" if offline else "no")


@pytest.mark.parametrize(
    ("token", "shown"), [(None, "absent"), ("", "absent"), (CANARY, "present")]
)
def test_doctor_says_whether_there_is_a_token(token, shown, run_here, monkeypatch):
    monkeypatch.setattr(doctor_module, "get_token", lambda: token)
    assert json.loads(run_here("doctor", "--json").out)["Hub token"] == shown


def test_doctor_survives_a_token_file_that_cannot_be_read(run_here, monkeypatch):
    def refuse():
        raise IsADirectoryError

    monkeypatch.setattr(doctor_module, "get_token", refuse)
    found = json.loads(run_here("doctor", "--json").out)
    assert found["Hub token"] == "in a file that cannot be read"


def test_doctor_looks_for_room_above_a_cache_that_is_not_there_yet(run_here, monkeypatch, tmp_path):
    cache = tmp_path / "\x1b[31mnot" / "yet"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    ended = run_here("doctor")
    assert ended.code == 0
    assert "\x1b" not in ended.out
    assert "GB free)" in ended.out
    assert not cache.exists()


def test_doctor_says_which_formats_of_quantised_checkpoints_it_can_read(run_here, monkeypatch):
    versions = {"bitsandbytes": "0.50.2", "gguf": "0.19.0"}
    version = metadata.version

    def of(name):
        if name == "compressed-tensors":
            raise metadata.PackageNotFoundError(name)
        return versions.get(name) or version(name)

    monkeypatch.setattr(metadata, "version", of)
    for name in ("bitsandbytes", "compressed_tensors", "gguf"):
        monkeypatch.setitem(sys.modules, name, None)  # An import of it would fail.
    found = json.loads(run_here("doctor", "--json").out)
    assert found["bitsandbytes"] == "0.50.2"
    assert found["compressed-tensors"] == "absent; checkpoints of its format are refused"
    assert found["gguf"] == "0.19.0"


def test_where_a_process_does_not_know_its_processors_those_of_the_machine_count(monkeypatch):
    assert cpu_count() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cpu_count() == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpu_count() == 1
