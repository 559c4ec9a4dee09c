"""Models that must not pass: each gives one clear error or an inconclusive verdict."""

import json
import pickle
import shutil

import pytest
import torch
from commands import POLICIES, assert_one_clear_error, references, result_of
from safetensors.torch import load_file, save_file
from tiny_models import WEIGHTS, build_base, build_tokenizer, edit_json, rewrite


def copy_of(models, tmp_path):
    return shutil.copytree(models / "base", tmp_path / "candidate")


def no_folder(folder):
    shutil.rmtree(folder)


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def without_weights(folder):
    (folder / WEIGHTS).unlink()


def truncated(folder):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d7a' * 16}\nsize 4976\n"


def pointer(folder):
    (folder / WEIGHTS).write_text(POINTER, encoding="ascii")


def pointer_as_shard(folder):
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    tensors = load_file(folder / WEIGHTS)
    last = "model.norm.weight"
    save_file({name: t for name, t in tensors.items() if name != last}, folder / names[0])
    (folder / names[1]).write_text(POINTER, encoding="ascii")
    (folder / WEIGHTS).unlink()
    places = {name: names[name == last] for name in tensors}
    index = {"metadata": {}, "weight_map": places}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index), encoding="utf-8")


def pickled(folder):
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))


def listed(folder):
    (folder / "config.json").write_text("[]", encoding="utf-8")


def no_json(folder):
    (folder / "config.json").write_text("{", encoding="utf-8")


def a_file(folder):
    shutil.rmtree(folder)
    folder.write_text("", encoding="utf-8")


SOURCE_ERRORS = {
    "missing-folder": (no_folder, "no such folder"),
    "a-file": (a_file, "is a file; expected the folder"),
    "empty-folder": (empty, "holds no files"),
    "config-without-weights": (without_weights, "but no weights"),
    "truncated": (truncated, "not a whole safetensors file"),
    "git-lfs": (pointer, "is a Git LFS pointer, not the weights"),
    "git-lfs-shard": (pointer_as_shard, "is a Git LFS pointer, not the weights"),
    "pickle-only": (pickled, "can run code when it is loaded"),
    "config-is-a-list": (listed, "is not a JSON object"),
    "config-is-no-json": (no_json, "is not JSON"),
}


@pytest.mark.parametrize("which", ["base", "candidate"])
@pytest.mark.parametrize(("damage", "words"), SOURCE_ERRORS.values(), ids=SOURCE_ERRORS)
def test_a_model_that_cannot_be_had_is_one_clear_error(
    damage, words, which, check_here, models, tmp_path
):
    folder = copy_of(models, tmp_path)
    damage(folder)
    pair = (folder, models / "base") if which == "candidate" else (models / "base", folder)
    ended = check_here(pair[0], base=pair[1])
    assert_one_clear_error(ended, 4, words, str(folder))
    assert not any((tmp_path / "out").iterdir())


@pytest.mark.parametrize("config", ["config.json", "tokenizer_config.json"])
def test_code_of_a_model_is_refused_and_never_run(config, check_here, models, tmp_path):
    folder = copy_of(models, tmp_path)
    canary = tmp_path / "canary"
    code = f"open({str(canary)!r}, 'w').close()\nclass Own: pass\n"
    for name in ("own.py", "modeling_own.py", "__init__.py"):
        (folder / name).write_text(code, encoding="utf-8")
    names = ("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer")
    edit_json(folder / config, auto_map=dict.fromkeys(names, "own.Own"))
    assert_one_clear_error(check_here(folder), 4, "wants to run code", "auto_map")
    assert not canary.exists()


@pytest.mark.parametrize("policy", ["default", "observe"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
def test_weights_that_are_not_numbers_are_inconclusive_and_never_pass(
    value, policy, check_here, models, tmp_path
):
    def damage(tensors):
        tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = value

    folder = rewrite(copy_of(models, tmp_path), damage)
    ended = check_here(folder, policy=POLICIES / f"{policy}.yml")
    assert ended.code == {"default": 11, "observe": 0}[policy], ended.err
    assert "INCONCLUSIVE" in ended.out.splitlines()[0]
    assert "PASS" not in ended.out.splitlines()[0]
    assert "NaN or infinity" in ended.out
    result = result_of(tmp_path / "out")
    assert result["verdict"]["status"] == "inconclusive"
    assert result["sdi"]["estimate"] is None
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "INCONCLUSIVE" in "".join(report.splitlines()[:3])


@pytest.mark.parametrize("tier", ["probe", "full"])
def test_weights_too_large_to_compute_with_never_pass(tier, check_here, models, tmp_path):
    def enlarge(tensors):
        tensors["lm_head.weight"].mul_(1e38)

    ended = check_here(rewrite(copy_of(models, tmp_path), enlarge), tier=tier)
    assert ended.code in {10, 11}, f"{ended.code}\n{ended.out}\n{ended.err}"
    assert not ended.out.startswith(("PASS", "WARN"))


def test_a_base_with_nan_is_inconclusive_too(check_here, models, tmp_path):
    def damage(tensors):
        tensors["model.norm.weight"][0] = torch.nan

    folder = rewrite(copy_of(models, tmp_path), damage)
    ended = check_here(models / "base", base=folder)
    assert ended.code == 11, ended.err


def test_nan_in_both_models_is_no_identity(check_here, models, tmp_path):
    def damage(tensors):
        tensors["model.norm.weight"][0] = torch.nan

    folder = rewrite(copy_of(models, tmp_path), damage)
    assert check_here(folder, base=folder).code == 11


def test_different_architectures_are_not_compared(check_here, tmp_path):
    other = build_base(tmp_path / "other", family="qwen2")
    ended = check_here(other)
    assert_one_clear_error(ended, 5, "different architectures", "LlamaFor", "Qwen2For")


def test_a_quantised_model_is_not_compared(check_here, models, tmp_path):
    folder = copy_of(models, tmp_path)
    edit_json(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    assert_one_clear_error(check_here(folder), 5, "is quantised")


@pytest.mark.parametrize(("policy", "code"), [("default", 11), ("observe", 0)])
def test_a_tokenizer_that_differs_leaves_the_weights_only(
    policy, code, check_here, models, tmp_path
):
    folder = copy_of(models, tmp_path)
    texts = ("zebra quartz jigsaw vexing", "nymphs blitz quick vex")
    build_tokenizer(texts=texts, vocabulary=280).save_pretrained(folder)
    ended = check_here(folder, policy=POLICIES / f"{policy}.yml")
    assert ended.code == code, ended.err
    assert "INCONCLUSIVE" in ended.out.splitlines()[0]
    assert "the tokenizers differ" in " ".join(ended.out.split())
    result = result_of(tmp_path / "out")
    assert (result["tier"]["ran"], result["tokenizer"]["same"]) == ("weights", False)
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "the tokenizers differ" in report


MISFITS = {
    "more-layers": {"num_hidden_layers": 3},
    "wider": {"hidden_size": 32},
    "larger-vocabulary": {"vocab_size": 400},
    "no-heads": {"num_attention_heads": 0},
    "text-for-a-number": {"hidden_size": "wide"},
    "unknown-type": {"model_type": "llama-from-nowhere"},
}


@pytest.mark.parametrize("tier", ["probe", "full"])
@pytest.mark.parametrize("changes", MISFITS.values(), ids=MISFITS)
def test_a_configuration_that_does_not_fit_the_tensors_never_passes(
    changes, tier, check_here, models, tmp_path
):
    base, candidate = copy_of(models, tmp_path), models / "near"
    edit_json(base / "config.json", **changes)
    for pair in ((base, candidate), (candidate, base), (base, base)):
        ended = check_here(pair[1], base=pair[0], tier=tier)
        shown = f"{pair} gave {ended.code}\n{ended.out}\n{ended.err}"
        assert ended.code in {4, 5, 11}, shown
        assert "internal error" not in ended.err, shown
        assert "Traceback" not in ended.err, shown


@pytest.mark.parametrize("which", ["base", "candidate", "both"])
def test_weights_that_the_configuration_leaves_out_never_pass(which, check_here, models, tmp_path):
    base = shutil.copytree(models / "base", tmp_path / "one")
    candidate = shutil.copytree(models / "near", tmp_path / "other")
    for folder, names in ((base, {"base", "both"}), (candidate, {"candidate", "both"})):
        if which in names:
            edit_json(folder / "config.json", num_hidden_layers=1)
    ended = check_here(candidate, base=base, tier="probe")
    assert ended.code in {4, 5, 11}, f"{ended.code}\n{ended.out}\n{ended.err}"


@pytest.mark.parametrize("text", ["\ud800", "\x1b[31mred", "a\nb", "x" * 5000], ids=ascii)
def test_an_architecture_with_a_hostile_name_is_reported_and_harmless(
    text, run_here, models, tmp_path
):
    folder = copy_of(models, tmp_path)
    plain = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    plain["architectures"] = [text]
    (folder / "config.json").write_text(json.dumps(plain), encoding="utf-8")
    both = references(folder, folder)
    ended = run_here("scan", *both, "--tier", "weights", "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert "\x1b" not in ended.out
