"""Build real two-layer transformers with tokenizers, a few thousand parameters each."""

from __future__ import annotations

import json
import shutil
from functools import cache
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedTokenizerFast

from sdi_gate.gate.procedure import Effects, run_scan
from sdi_gate.gate.request import ScanRequest, Settings, TierChoice
from sdi_gate.models.causal_lm import LoadedModel, decoder_layers, load_model
from sdi_gate.models.folder import FolderSource
from sdi_gate.models.opening import open_model
from sdi_gate.models.probe import ProbeSample, ProbeSet
from sdi_gate.models.ref import ModelRef, Scheme
from sdi_gate.models.tokens import Batch, TokenSample, pad
from sdi_gate.progress import NullProgress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sdi_gate.gate.result import ScanResult
    from sdi_gate.models.snapshot import ModelSnapshot

CPU = torch.device("cpu")
FAMILIES = ("llama", "mistral", "phi", "phi3", "gemma", "gemma2", "qwen2", "qwen3", "gpt2")
MORE_FAMILIES = ("gemma3_text", "mixtral", "qwen2_moe", "qwen3_moe", "gpt_neox", "opt")
# None of these is named anywhere in the code: they are read from their modules' structure.
UNLISTED_FAMILIES = ("bloom", "falcon", "mamba", "olmo2", "phimoe")
WEIGHTS = "model.safetensors"
VOCABULARY = 300
SPECIAL = ("<pad>", "<s>", "</s>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<s>' + message['role'] + ': ' + message['content'] }}"
    "{% endfor %}{{ '</s>' }}"
)

_PLAIN = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
_GPT2 = {
    "vocab_size": VOCABULARY,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GEMMA = {"head_dim": 8, "tie_word_embeddings": True}
_QWEN_MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12}
# What a family has beside those, or calls by another name.
_PARTICULAR = {
    "phi": {"num_key_value_heads": 2},
    "gemma": _GEMMA,
    "gemma2": _GEMMA,
    "gemma3_text": _GEMMA,
    "qwen3": {"head_dim": 8},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": _QWEN_MOE | {"shared_expert_intermediate_size": 20},
    "qwen3_moe": _QWEN_MOE | {"head_dim": 8},
    "opt": {"ffn_dim": 24, "word_embed_proj_dim": 16, "tie_word_embeddings": True},
}

_TEXT = """
    the ferry came in late and only four people walked off with a green bag of apples while rain
    fell on bread stone river night seven birds count water light house
"""
_WORDS = _TEXT.split()


def config_of(family: str, **changes):
    """Return a configuration of two narrow layers."""
    plain = _GPT2 if family == "gpt2" else _PLAIN | _PARTICULAR.get(family, {})
    return CONFIG_MAPPING[family](**(plain | changes))


def model_of(family: str, *, seed: int = 0, **changes):
    """Build a model whose initial weights are large enough to make it care about its input."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(
            config_of(family, **changes), attn_implementation="eager"
        )
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=parameter.shape[-1] ** -0.5)
    return model.eval()


def build_base(
    folder: Path, *, family: str = "llama", seed: int = 0, template: str | None = None, **changes
) -> Path:
    """Save a model and its tokenizer."""
    model_of(family, seed=seed, **changes).save_pretrained(folder)
    build_tokenizer(template=template).save_pretrained(folder)
    return folder


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    """Change the tensors of a saved model in place."""
    tensors = load_file(folder / WEIGHTS)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


def add_noise(relative: float, seed: int = 1):
    """Return a change that moves every matrix by a share of its norm."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        generator = torch.Generator().manual_seed(seed)
        for name, tensor in tensors.items():
            noise = torch.randn(tensor.shape, generator=generator)
            scale = relative * tensor.norm() / noise.norm() if tensor.norm() > 0 else 0.0
            tensors[name] = tensor + scale * noise

    return change


def perturb(folder_in: Path, folder_out: Path, how: Callable[..., object] = lambda _tensors: None):
    """Save a changed copy of a model."""
    shutil.copytree(folder_in, folder_out)
    return rewrite(folder_out, how)


@cache
def _byte_level(vocabulary: int, texts: tuple[str, ...]) -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str()


def build_tokenizer(
    *, template: str | None = None, vocabulary: int = VOCABULARY, texts: tuple[str, ...] = ()
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on a few sentences."""
    learned = texts or tuple(text_of(seed) for seed in range(4))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_byte_level(vocabulary, learned)),
        pad_token=SPECIAL[0],
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[2],
    )
    tokenizer.chat_template = template
    return tokenizer


def text_of(seed: int, num_words: int = 12) -> str:
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(0, len(_WORDS), (num_words,), generator=generator)
    return " ".join(_WORDS[i] for i in chosen)


def tiny_probe(samples: int = 5) -> ProbeSet:
    """Return two strata, one of which has prompts; texts of unequal length."""
    general = [ProbeSample(stratum="general", text=text_of(i, 6 + 2 * i)) for i in range(samples)]
    instruction = [
        ProbeSample(stratum="instruction", prompt=text_of(100 + i, 4), text=text_of(200 + i, 8))
        for i in range(samples)
    ]
    return ProbeSet(name="tiny", samples=(*general, *instruction))


def snapshot(folder: Path) -> ModelSnapshot:
    return FolderSource().fetch(ModelRef.parse(f"file:{folder}"), NullProgress())


def load(folder: Path, dtype: torch.dtype = torch.float32) -> LoadedModel:
    return load_model(open_model(snapshot(folder)), CPU, dtype)


def loaded_of(model) -> LoadedModel:
    """Wrap a model that was never saved."""
    return LoadedModel(model=model, layers=decoder_layers(model))


def batch_of(*lengths: int, vocabulary: int = VOCABULARY, seed: int = 0) -> Batch:
    """Return a padded batch of random tokens."""
    generator = torch.Generator().manual_seed(seed)
    samples = [
        TokenSample(
            stratum="general",
            ids=tuple(torch.randint(3, vocabulary, (n,), generator=generator).tolist()),
        )
        for n in lengths
    ]
    return pad(samples, range(len(samples)), CPU)


def edit_json(path: Path, **changes: object) -> None:
    """Change keys of a JSON file; None removes one."""
    plain = json.loads(path.read_text(encoding="utf-8")) | changes
    kept = {key: value for key, value in plain.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")


def request_of(
    base: Path,
    candidate: Path,
    tier: str = "full",
    *,
    probe: ProbeSet | None = None,
    **changes,
) -> ScanRequest:
    """Ask for a scan of two folders, as small as a scan can be."""
    small = {
        "max_tokens": 16,
        "batch_size": 4,
        "curvature_draws": 2,
        "curvature_samples": 2,
        "curvature_tokens": 8,
    }
    return ScanRequest(
        base=ModelRef.parse(f"file:{base}"),
        candidate=ModelRef.parse(f"file:{candidate}"),
        tier=TierChoice(tier),
        device=CPU,
        probe=probe or tiny_probe(),
        settings=Settings(**(small | changes)),
    )


def scan(base: Path, candidate: Path, tier: str = "full", **changes) -> ScanResult:
    """Scan two folders."""
    effects = Effects(sources={Scheme.FILE: FolderSource()}, progress=NullProgress())
    return run_scan(request_of(base, candidate, tier, **changes), effects)
