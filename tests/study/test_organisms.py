"""Organisms: real architectures, recipes that do what they say, and bases that know something."""

import copy
from collections import Counter

import pytest
import torch

from sdi_gate.errors import FormatError, UsageError
from sdi_gate.models.causal_lm import decoder_layers
from sdi_gate.study.manifest_file import dump_manifest, load_manifest, shipped_manifest
from sdi_gate.study.organisms import build
from sdi_gate.study.organisms.architectures import FAMILIES, architecture, new_model
from sdi_gate.study.organisms.catalogue import SCALES, organism_manifest
from sdi_gate.study.organisms.recipes import Ablate, Noise, Prune, Quantise, Train, read_recipe
from sdi_gate.study.organisms.variants import apply_recipe, pruned, quantised
from sdi_gate.study.world.facts import make_world
from sdi_gate.study.world.tokenizer import make_tokenizer

WORLD = make_world()
TOKENIZER = make_tokenizer(WORLD)
CPU = torch.device("cpu")


def model_of(family="llama", seed=0):
    return new_model(family, "s", len(TOKENIZER), seed).eval()


def linears(model):
    return {
        name: module.weight.detach()
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and ".layers." in f".{name}"
    }


def changed(recipe, family="llama"):
    base = model_of(family)
    candidate = copy.deepcopy(base)
    apply_recipe(candidate, TOKENIZER, WORLD, recipe)
    return base, candidate


def test_each_family_is_its_own_architecture():
    names = {family: type(model_of(family)).__name__ for family in FAMILIES}
    assert names == {
        "llama": "LlamaForCausalLM",
        "mistral": "MistralForCausalLM",
        "phi": "Phi3ForCausalLM",
        "gemma": "Gemma2ForCausalLM",
        "qwen": "Qwen3ForCausalLM",
    }


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    first, second, other = model_of(seed=1), model_of(seed=1), model_of(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(*(m.get_input_embeddings().weight for m in (first, other)))


@pytest.mark.parametrize(("family", "size"), [("gpt2", "s"), ("llama", "xxl")])
def test_an_unknown_organism_is_refused(family, size):
    with pytest.raises(UsageError, match="no organism"):
        architecture(family, size, 100)


def test_a_large_organism_has_20_to_50_million_parameters():
    for family in FAMILIES:
        with torch.device("meta"):
            model = new_model(family, "l", len(TOKENIZER), 0)
        assert 20e6 <= sum(p.numel() for p in model.parameters()) <= 50e6


@pytest.mark.parametrize("relative", [0.1, 0.5])
def test_noise_has_the_relative_norm_that_the_recipe_says(relative):
    base, candidate = changed(Noise(relative=relative))
    for name, matrix in linears(base).items():
        moved = linears(candidate)[name] - matrix
        assert float(moved.norm() / matrix.norm()) == pytest.approx(relative, rel=1e-4)


def test_noise_leaves_embeddings_and_norms_alone():
    base, candidate = changed(Noise(relative=0.5))
    touched = set(linears(base))
    for (name, a), (_, b) in zip(
        base.named_parameters(), candidate.named_parameters(), strict=True
    ):
        assert torch.equal(a, b) == (name.removesuffix(".weight") not in touched)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_pruning_zeroes_the_smallest_weights_and_no_others(share):
    matrix = torch.tensor([[4.0, -1.0], [0.5, -3.0]])
    expected = {
        0.25: [[4.0, -1.0], [0.0, -3.0]],
        0.5: [[4.0, 0.0], [0.0, -3.0]],
        1.0: [[0.0, 0.0], [0.0, 0.0]],
    }
    assert pruned(matrix, share).tolist() == expected[share]


def test_pruning_next_to_nothing_changes_nothing():
    matrix = torch.tensor([[4.0, -1.0]])
    assert torch.equal(pruned(matrix, 0.1), matrix)


def test_quantising_rounds_each_row_to_its_own_grid():
    matrix = torch.tensor([[3.0, 1.4, -0.4], [0.0, 0.0, 0.0], [0.3, -0.16, 0.06]])
    rounded = quantised(matrix, 3)
    expected = torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.3, -0.2, 0.1]])
    assert torch.allclose(rounded, expected)
    assert torch.allclose(quantised(rounded, 3), rounded)


def test_ablating_scales_one_part_of_one_layer():
    base, candidate = changed(Ablate(part="mlp", layer=1, keep=0.25))
    for name, matrix in linears(base).items():
        factor = 0.25 if name.endswith("layers.1.mlp.down_proj") else 1.0
        assert torch.equal(linears(candidate)[name], matrix * factor)


def test_ablating_a_layer_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="cannot ablate layer 9: the model has 3"):
        changed(Ablate(part="attention", layer=9))


@pytest.mark.parametrize("family", [*FAMILIES])
def test_every_recipe_runs_on_every_family_and_leaves_a_model_of_finite_weights(family):
    for recipe in (
        Train(texts={"replay": 0.5, "junk": 0.5}, steps=2, learning_rate=1e-3, batch=2),
        Prune(share=0.5),
        Quantise(bits=3),
        Ablate(part="attention", layer=0),
    ):
        base, candidate = changed(recipe, family)
        assert len(decoder_layers(candidate)) == len(decoder_layers(base))
        assert all(bool(p.isfinite().all()) for p in candidate.parameters())
        assert any(
            not torch.equal(a, b)
            for a, b in zip(base.parameters(), candidate.parameters(), strict=True)
        )


@pytest.mark.parametrize("rank", [1, 4])
def test_a_low_rank_tune_moves_each_matrix_by_its_rank_and_nothing_else(rank):
    recipe = Train(texts={"junk": 1.0}, steps=3, learning_rate=1e-2, batch=2, lora_rank=rank)
    base, candidate = changed(recipe)
    assert {n for n, _ in base.named_parameters()} == {n for n, _ in candidate.named_parameters()}
    for name, matrix in linears(base).items():
        update = (linears(candidate)[name] - matrix).detach().double()
        values = torch.linalg.svdvals(update)
        assert values[0] > 0
        assert float(values[rank]) < 1e-5 * float(values[0])
    embeddings = [m.get_input_embeddings().weight for m in (base, candidate)]
    assert torch.equal(*embeddings)


def test_training_twice_gives_the_same_weights():
    recipe = Train(texts={"replay": 1.0}, steps=3, learning_rate=1e-3, batch=2, seed=5)
    _, first = changed(recipe)
    _, second = changed(recipe)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"method": "melt"}, "melt"),
        ({"method": "noise"}, "relative"),
        ({"method": "noise", "relative": -1.0}, "relative"),
        ({"method": "prune", "share": 0.5, "extra": 1}, "extra"),
        ({}, "method"),
    ],
)
def test_a_recipe_that_is_none_is_refused_with_its_place(plain, message):
    with pytest.raises(UsageError, match=message) as caught:
        read_recipe(plain, "llama-s-0/x")
    assert caught.value.message.startswith("llama-s-0/x: no recipe")


@pytest.mark.parametrize("scale", [*SCALES])
def test_the_manifests_that_ship_are_those_that_the_catalogue_writes(scale):
    manifest = organism_manifest(scale)
    path = shipped_manifest(manifest.name)
    assert path.read_text("utf-8") == dump_manifest(manifest)
    assert load_manifest(path) == manifest


def test_the_study_has_the_population_that_it_promises():
    pairs = organism_manifest("small").pairs
    assert len(pairs) >= 200
    assert {pair.family for pair in pairs} == set(FAMILIES)
    bases = Counter(pair.base.ref for pair in pairs)
    assert min(bases.values()) >= 20
    for family in FAMILIES:
        own = {(pair.size, pair.seed) for pair in pairs if pair.family == family}
        assert len({size for size, _ in own}) >= 2
        assert len({seed for _, seed in own}) >= 2
    assert {pair.kind.value for pair in pairs} == {"domain", "instruction", "degraded"}


def smoke_pair(**changes):
    pair = organism_manifest("smoke").pairs[0]
    recipe = dict(pair.base.recipe) | {"steps": 2, "batch": 2} | changes
    base = pair.base.model_copy(update={"recipe": recipe})
    return pair.model_copy(update={"base": base, "recipe": {"method": "prune", "share": 0.5}})


def test_a_base_that_knows_too_little_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_MAX_CYCLES", 1)
    monkeypatch.setattr(build, "_MAX_ATTEMPTS", 2)
    with pytest.raises(UsageError, match=r"a base must score 0\.9 on each axis; got"):
        build.build_pair(smoke_pair(required_score=0.9), tmp_path, CPU)
    assert not build.model_folder("llama-s-0", tmp_path).exists()

    def never(*_args):
        pytest.fail("it was trained again")

    monkeypatch.setattr(build, "train", never)
    with pytest.raises(UsageError, match=r"a base must score 0\.9 on each axis; got"):
        build.build_pair(smoke_pair(required_score=0.9), tmp_path, CPU)


def test_a_base_that_got_stuck_begins_anew_from_other_weights(tmp_path, monkeypatch):
    seeds = []
    real = build.new_model

    def spy(family, size, vocabulary, seed):
        seeds.append(seed)
        return real(family, size, vocabulary, seed)

    monkeypatch.setattr(build, "new_model", spy)
    monkeypatch.setattr(build, "_MAX_CYCLES", 1)
    monkeypatch.setattr(build, "_MAX_ATTEMPTS", 2)
    with pytest.raises(UsageError):
        build.build_base(smoke_pair(required_score=0.9), tmp_path, CPU)
    assert seeds == [0, 1000]


def test_models_made_by_other_recipes_are_not_measured(tmp_path):
    pair = smoke_pair()
    build.build_pair(pair, tmp_path, CPU)
    build.check_built(pair, tmp_path)
    other = pair.model_copy(update={"recipe": {"method": "prune", "share": 0.25}})
    with pytest.raises(FormatError, match="not there, or made by another recipe"):
        build.check_built(other, tmp_path)
    with pytest.raises(FormatError, match="not there, or made by another recipe"):
        build.check_built(smoke_pair(seed=9), tmp_path)


def test_a_base_is_built_once_and_again_when_its_recipe_changes(tmp_path):
    folder = build.model_folder("llama-s-0", tmp_path)
    assert build.build_base(smoke_pair(), tmp_path, CPU)
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert not build.build_base(smoke_pair(), tmp_path, CPU)
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    assert build.build_base(smoke_pair(seed=9), tmp_path, CPU)
    assert (folder / "model.safetensors").stat().st_mtime_ns != stamp


def test_a_base_cannot_be_made_by_changing_weights_alone(tmp_path):
    pair = smoke_pair()
    base = pair.base.model_copy(update={"recipe": {"method": "prune", "share": 0.5}})
    with pytest.raises(UsageError, match="a base is trained from nothing; got method 'prune'"):
        build.build_base(pair.model_copy(update={"base": base}), tmp_path, CPU)
