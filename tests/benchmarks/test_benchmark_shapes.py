import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from benchmarks import checkpoints
from benchmarks.shapes import PEERS, SCALE, SEVEN_BILLION, TINY, Shape
from benchmarks.vocabulary import write_tokenizer


@pytest.mark.parametrize("shape", [PEERS, TINY, *SEVEN_BILLION], ids=lambda shape: shape.name)
def test_the_tensors_are_those_of_transformers_own_model(shape):
    config = CONFIG_MAPPING[shape.family](**shape.config())
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert shape.tensors() == wanted


def test_the_peers_compare_a_pair_of_98_million_parameters():
    assert PEERS.num_parameters == 98_583_552


def test_shapes_grow_by_about_four_times_to_eleven_hundred_million():
    sizes = [shape.num_parameters / 1e6 for shape in SCALE]
    assert [round(size) for size in sizes] == [26, 99, 415, 1099]


def test_the_work_of_one_matrix_is_three_half_gram_matrices_and_three_sets_of_eigenvalues():
    one = Shape(name="one", hidden=6, inner=0, layers=0, heads=1, kv_heads=1, vocabulary=10)
    # Embedding and head are 10 by 6.
    assert one.spectra_operations == pytest.approx(2 * 3 * (10 * 36 + 4 / 3 * 216))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    checkpoints.write_models(folder, TINY, candidates=2)
    return folder


def test_a_base_is_the_same_whenever_it_is_written(models, tmp_path):
    checkpoints.write_model(tmp_path, TINY)
    again = (tmp_path / "model.safetensors").read_bytes()
    assert again == (models / "base" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["candidate", "candidate-2"])
def test_a_candidate_is_two_percent_away_from_its_base(models, name):
    base = load_file(models / "base" / "model.safetensors")
    candidate = load_file(models / name / "model.safetensors")
    for key in ("model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight"):
        change = candidate[key].double() - base[key].double()
        # Rounding to eight bits of mantissa adds a little to it.
        assert change.norm() / base[key].double().norm() == pytest.approx(0.02, rel=0.05)


def test_two_candidates_differ_from_one_another(models):
    first, second = (
        (models / name / "model.safetensors").read_bytes() for name in ("candidate", "candidate-2")
    )
    assert first != second


def test_a_large_model_is_written_in_shards_with_the_same_tensors(models, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "ONE_FILE_BYTES", 0)
    checkpoints.write_model(tmp_path, TINY)
    assert len(list(tmp_path.glob("model-*-of-00004.safetensors"))) == 4
    whole = load_file(models / "base" / "model.safetensors")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16).state_dict()
    assert loaded.keys() == whole.keys()
    assert all(torch.equal(loaded[name], whole[name]) for name in whole)


def test_a_tokenizer_fills_the_vocabulary_and_keeps_texts(tmp_path):
    write_tokenizer([tmp_path], 9000)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    text = "The ferry came in late, its lights smeared by drizzle."
    assert len(tokenizer) == 9000
    assert tokenizer.decode(tokenizer(text).input_ids) == text
