import json
import os
import shutil
import sys
from functools import partial
from importlib import metadata

import pytest
from commands import assert_one_clear_error, environment, run_process
from hub_server import HubServer
from huggingface_hub import constants
from huggingface_hub.utils import close_session
from safetensors.torch import load_file

import sdi_gate.cli.doctor as doctor_module
from sdi_gate.cli.options import cpu_count
from sdi_gate.integrations import hub_config
from sdi_gate.integrations.hub_config import fetch_config

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


# How much memory a model takes.


def table(run_here, model):
    text, plain = (
        run_here("doctor", "--model", model),
        run_here("doctor", "--model", model, "--json"),
    )
    assert (text.code, text.err, plain.code) == (0, "", 0)
    return text.out, json.loads(plain.out)


@pytest.mark.parametrize(
    ("size", "parameters"), [("7B", 7e9), ("0.5b", 5e8), ("70 B", 7e10), ("1.5T", 1.5e12)]
)
def test_doctor_sizes_a_model_of_which_only_the_size_is_known(size, parameters, run_here):
    text, plain = table(run_here, size)
    assert plain["parameters"] == parameters
    assert text.startswith(f"a Llama of {size.replace(' ', '')}: ")
    tiers = {row["tier"] for row in plain["memory"]}
    assert {"weights", "probe", "full"} < tiers
    assert len(plain["memory"]) == 2 * len(tiers)
    assert all(row["tier"] in text for row in plain["memory"])


def test_doctor_says_which_gpu_is_large_enough_and_how_many_otherwise(run_here):
    _, small = table(run_here, "7B")
    _, large = table(run_here, "70B")
    rows = {(row["tier"], row["dtype"]): row for row in small["memory"]}
    assert rows["probe", "bfloat16"]["gpus_gb"] == [16, 24, 48, 80, 141]
    assert rows["full", "bfloat16"]["gpus_gb"] == [80, 141]
    assert rows["full", "float32"]["device_bytes"] > 3 * 28e9
    assert rows["full", "bfloat16"]["host_bytes"] < 16e9
    needs = {(row["tier"], row["dtype"]): row for row in large["memory"]}
    assert needs["full", "bfloat16"]["gpus_gb"] == []
    assert needs["full", "bfloat16"]["gpus_of_141_gb"] == 4
    assert needs["weights", "bfloat16"]["gpus_of_141_gb"] == 1


def test_doctor_reads_the_shape_of_a_model_from_its_configuration_alone(run_here, models, tmp_path):
    shutil.copy(models / "base" / "config.json", tmp_path)
    text, plain = table(run_here, f"file:{tmp_path}")
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert plain["model"] == f"file:{tmp_path}"
    assert (plain["layers"], plain["width"]) == (2, config["hidden_size"])
    assert plain["vocabulary"] == config["vocab_size"]
    held = safetensors_size(models / "base")
    assert plain["parameters"] == held
    assert "2 layers of width 16, 300 tokens" in text


def safetensors_size(folder):
    return sum(tensor.numel() for tensor in load_file(folder / "model.safetensors").values())


@pytest.mark.parametrize(
    ("model", "code", "words"),
    [
        ("nonsense", 2, "expected a size such as 7B or a reference"),
        ("0.1M", 2, "expected a size from 1M to 10T"),
        ("9999T", 2, "expected a size from 1M to 10T"),
        ("ftp:x", 2, "not a model reference"),
        ("\N{ARABIC-INDIC DIGIT THREE}B", 2, "expected a size such as 7B or a reference"),
    ],
)
def test_doctor_refuses_what_is_no_model(model, code, words, run_here):
    assert_one_clear_error(run_here("doctor", "--model", model), code, words)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "config.json"),
        ("[]", "config.json"),
        ('{"model_type": "unheard-of"}', "transformers cannot make a model of config.json"),
        ('{"model_type": "llama", "num_hidden_layers": 900000}', "cannot make a model"),
        ('{"model_type": "llama", "hidden_size": "wide"}', "'hidden_size' is 'wide'"),
        ('{"model_type": "llama", "hidden_act": "unheard-of"}', "cannot make a model"),
        pytest.param(
            '{"model_type": "llama", "hidden_size": 0, "head_dim": 0, "num_hidden_layers": 0}',
            "describes a model without parameters",
            marks=pytest.mark.filterwarnings("ignore:Initializing zero-element tensors"),
        ),
    ],
    ids=["absent", "no-object", "unknown", "endless", "nonsense", "odd", "empty"],
)
def test_doctor_refuses_a_configuration_of_which_nothing_can_be_made(
    config, words, run_here, tmp_path
):
    if config is not None:
        (tmp_path / "config.json").write_text(config, encoding="utf-8")
    ended = run_here("doctor", "--model", f"file:{tmp_path}")
    assert_one_clear_error(ended, 4, words)


@pytest.fixture
def online(monkeypatch):
    """The Hub may be asked, and the client tells nobody else of it."""
    for name in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET"):
        monkeypatch.setattr(constants, name, True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield
    close_session()


@pytest.mark.usefixtures("online")
def test_doctor_fetches_the_configuration_from_the_hub_and_no_weights(
    run_here, models, monkeypatch, tmp_path
):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with HubServer() as hub:
        hub.commit("org/model", models / "base")
        monkeypatch.setattr(hub_config, "fetch_config", partial(fetch_config, endpoint=hub.url))
        found = run_here("doctor", "--model", "hf:org/model", "--json")
        asked = [request.path for request in hub.requests]
    assert (found.code, found.err) == (0, ""), found.err
    assert json.loads(found.out)["parameters"] == safetensors_size(models / "base")
    assert any(path.endswith("config.json") for path in asked)
    assert not any("safetensors" in path for path in asked)


@pytest.mark.usefixtures("online")
def test_doctor_says_that_a_model_on_the_hub_has_no_configuration(run_here, monkeypatch, tmp_path):
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "README.md").write_text("nothing", encoding="utf-8")
    with HubServer() as hub:
        hub.commit("org/model", tmp_path / "repo")
        monkeypatch.setattr(hub_config, "fetch_config", partial(fetch_config, endpoint=hub.url))
        ended = run_here("doctor", "--model", "hf:org/model")
        missing = run_here("doctor", "--model", "hf:org/other")
    assert_one_clear_error(ended, 4, "hf:org/model has no config.json")
    assert_one_clear_error(missing, 4, "hf:org/other was not found")


def test_doctor_asks_no_hub_while_offline(run_here, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    ended = run_here("doctor", "--model", "hf:org/model")
    assert_one_clear_error(ended, 4, "hf:org/model")
