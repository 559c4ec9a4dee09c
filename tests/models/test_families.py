import pytest

from sdi_gate.models.families import family_of


@pytest.mark.parametrize(
    ("model_type", "family"),
    [
        ("llama", "llama"),
        ("mistral", "mistral"),
        ("phi", "phi"),
        ("phi3", "phi"),
        ("gemma", "gemma"),
        ("gemma2", "gemma"),
        ("gemma3", "gemma"),
        ("gemma3_text", "gemma"),
        ("qwen2", "qwen"),
        ("qwen3", "qwen"),
    ],
)
def test_generations_of_one_design_are_one_family(model_type, family):
    assert family_of(model_type) == family


@pytest.mark.parametrize("model_type", ["qwen3_moe", "mixtral", "gpt2", ""])
def test_another_design_is_a_family_of_its_own(model_type):
    assert family_of(model_type) == model_type
