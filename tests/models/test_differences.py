"""Which settings count as a difference between two configurations."""

import json

import pytest
from checkpoint_files import write_checkpoint, write_json
from tiny_models import config_of, snapshot

from sdi_gate.models.differences import config_differences


@pytest.fixture
def model(tmp_path):
    def make(name, **settings):
        folder = write_checkpoint(tmp_path / name)
        config_of("llama").save_pretrained(folder)
        plain = json.loads((folder / "config.json").read_text())
        write_json(folder / "config.json", {**plain, **settings})
        return snapshot(folder)

    return make


def test_a_configuration_differs_from_itself_in_nothing(model):
    assert config_differences(model("base"), model("candidate")) == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [("rms_norm_eps", 0.1), ("hidden_act", "relu"), ("num_attention_heads", 1), ("novel", 1)],
    ids=str,
)
def test_a_setting_that_changes_what_is_computed_is_named(model, key, value):
    assert key in config_differences(model("base"), model("candidate", **{key: value}))
    assert key in config_differences(model("other", **{key: value}), model("base"))


@pytest.mark.parametrize(
    ("key", "value"),
    [("use_cache", False), ("transformers_version", "1"), ("eos_token_id", 7), ("vocab_size", 9)],
    ids=str,
)
def test_a_setting_that_changes_nothing_is_not_named(model, key, value):
    assert config_differences(model("base"), model("candidate", **{key: value})) == ()


def test_another_base_of_the_rotary_embedding_is_seen_however_it_is_written(model):
    rope = {"rope_type": "default", "rope_theta": 5.0}
    changed = config_differences(model("base"), model("candidate", rope_parameters=rope))
    assert changed == ("rope_parameters",)


def test_a_family_that_transformers_does_not_know_is_compared_as_it_is_written(tmp_path):
    folders = [write_checkpoint(tmp_path / name) for name in "ab"]
    for folder, depth in zip(folders, (1, 2), strict=True):
        write_json(folder / "config.json", {"model_type": "nobody-knows", "depth": depth})
    assert config_differences(*map(snapshot, folders)) == ("depth",)
