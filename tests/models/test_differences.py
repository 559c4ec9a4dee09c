"""Which settings count as a difference between two configurations."""

import json
from dataclasses import dataclass

import pytest
from checkpoint_files import write_checkpoint, write_json
from tiny_models import config_of, snapshot

from sdi_gate.models import differences
from sdi_gate.models.config import read_config


@dataclass(frozen=True)
class Described:
    """What is compared of an open model."""

    snapshot: object
    config: object


def find_differences(base, candidate):
    return differences.find_differences(
        *(Described(snapshot=s, config=read_config(s)) for s in (base, candidate))
    )


def changed_settings(base, candidate):
    return find_differences(base, candidate).settings


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
    assert changed_settings(model("base"), model("candidate")) == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [("rms_norm_eps", 0.1), ("hidden_act", "relu"), ("num_attention_heads", 1), ("novel", 1)],
    ids=str,
)
def test_a_setting_that_changes_what_is_computed_is_named(model, key, value):
    assert key in changed_settings(model("base"), model("candidate", **{key: value}))
    assert key in changed_settings(model("other", **{key: value}), model("base"))


@pytest.mark.parametrize(
    ("key", "value"),
    [("use_cache", False), ("transformers_version", "1"), ("vocab_size", 9), ("novel", False)],
    ids=str,
)
def test_a_setting_that_changes_nothing_is_not_named(model, key, value):
    assert changed_settings(model("base"), model("candidate", **{key: value})) == ()


def test_another_base_of_the_rotary_embedding_is_seen_however_it_is_written(model):
    rope = {"rope_type": "default", "rope_theta": 5.0}
    found = find_differences(model("base"), model("candidate", rope_parameters=rope))
    assert found.settings == found.unseen == ("rope_parameters",)


def test_a_family_that_transformers_does_not_know_is_compared_as_it_is_written(tmp_path):
    folders = [write_checkpoint(tmp_path / name) for name in "ab"]
    for folder, depth in zip(folders, (1, 2), strict=True):
        write_json(folder / "config.json", {"model_type": "nobody-knows", "depth": depth})
    assert changed_settings(*map(snapshot, folders)) == ("depth",)


def test_another_storage_type_is_no_difference_unless_it_is_none_that_a_model_is_run_in(model):
    base, half = model("base", dtype="float32"), model("half", dtype="bfloat16")
    assert find_differences(base, half).settings == ()
    odd = find_differences(base, model("odd", dtype="float8_e4m3fn"))
    assert odd.settings == odd.unseen == ("dtype",)


def test_another_way_to_compute_attention_is_named_though_the_probe_does_not_take_it(model):
    found = find_differences(model("base"), model("candidate", attn_implementation="hub/kernel"))
    assert found.unseen == ("attn_implementation",)


def test_what_is_said_about_a_window_that_is_not_used_counts_for_nothing(tmp_path):
    folders = [write_checkpoint(tmp_path / name) for name in "ab"]
    for folder, window in zip(folders, (21, 24), strict=True):
        config_of("qwen2").save_pretrained(folder)
        plain = json.loads((folder / "config.json").read_text())
        idle = {"use_sliding_window": False, "max_window_layers": window, "use_mrope": False}
        write_json(folder / "config.json", {**plain, **idle})
    assert changed_settings(*map(snapshot, folders)) == ()


def test_settings_of_generation_are_listed_apart(model):
    base, candidate = model("base"), model("candidate", eos_token_id=7)
    write_json(candidate.folder / "generation_config.json", {"repetition_penalty": 0.01})
    found = find_differences(base, snapshot(candidate.folder))
    assert found.settings == ()
    assert found.generation == ("eos_token_id", "generation_config.json repetition_penalty")


def test_a_size_that_transformers_refuses_is_compared_as_it_is_written(model):
    found = changed_settings(model("base"), model("candidate", hidden_size=17))
    assert "hidden_size" in found


def test_a_window_counts_where_the_family_does_not_heed_the_flag_against_it(tmp_path):
    folders = [write_checkpoint(tmp_path / name) for name in "ab"]
    for folder, window in zip(folders, (None, 4), strict=True):
        config_of("mistral", sliding_window=window).save_pretrained(folder)
        plain = json.loads((folder / "config.json").read_text())
        write_json(folder / "config.json", {**plain, "use_sliding_window": False})
    found = find_differences(*map(snapshot, folders))
    assert found.settings == found.unseen == ("sliding_window",)


def test_a_setting_that_nobody_knows_to_act_on_short_texts_is_unseen(model):
    found = find_differences(model("base"), model("candidate", novel=1, rms_norm_eps=0.1))
    assert found.settings == ("novel", "rms_norm_eps")
    assert found.unseen == ("novel",)


def test_settings_of_generation_inside_the_configuration_count_too(model):
    changed = model("candidate", repetition_penalty=5.0, do_sample=True)
    found = find_differences(model("base"), changed)
    assert found.settings == ()
    assert found.generation == ("do_sample", "repetition_penalty")


def test_what_a_forward_pass_returns_is_no_difference(model):
    changed = model("candidate", return_dict=False, output_hidden_states="auto", use_cache="x")
    assert changed_settings(model("base"), changed) == ()
