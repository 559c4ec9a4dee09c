"""Hold what we read from adapters to what PEFT computes with them."""

import math

import pytest
import torch
from adapter_files import (
    base_of,
    candidate_of,
    load_with_peft,
    logits_of,
    rewrite_weights,
    run_ours,
    save_adapter,
    some_tokens,
    state_of,
)
from tiny_models import model_of

from sdi_gate.errors import IncomparableError

peft = pytest.importorskip("peft")

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def lora(**changes):
    plain = {"r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "v_proj"]}
    return peft.LoraConfig(**(plain | changes), task_type="CAUSAL_LM")


def lokr(**changes):
    return peft.LoKrConfig(**({"r": 2, "alpha": 5, "target_modules": LINEAR} | changes))


VARIANTS = {
    "alpha over r": ("llama", lora),
    "several modules": ("llama", lambda: lora(target_modules=LINEAR)),
    "all linear": ("qwen2", lambda: lora(target_modules="all-linear")),
    "a pattern for targets": ("llama", lambda: lora(target_modules=r".*\.1\..*(q|k)_proj")),
    "some layers": ("llama", lambda: lora(layers_to_transform=[1])),
    "rank stabilised": ("llama", lambda: lora(use_rslora=True)),
    "gaussian start": ("llama", lambda: lora(init_lora_weights="gaussian")),
    "rank above the sides": ("llama", lambda: lora(r=40)),
    "rank pattern": (
        "llama",
        lambda: lora(rank_pattern={"layers.0.self_attn.q_proj": 5, "v_proj": 1}),
    ),
    "alpha pattern": (
        "llama",
        lambda: lora(alpha_pattern={r"^model\.layers\.1\..*q_proj": 11, "v_proj": 0.5}),
    ),
    "both patterns, rank stabilised": (
        "llama",
        lambda: lora(
            use_rslora=True, rank_pattern={r".*\.0\..*": 4}, alpha_pattern={r"(q|k)_proj": 9}
        ),
    ),
    "transposed weights": (
        "gpt2",
        lambda: lora(target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True),
    ),
    "transposed weights, not said so": ("gpt2", lambda: lora(target_modules=["attn.c_proj"])),
    "whole head": ("llama", lambda: lora(modules_to_save=["lm_head"])),
    "whole head and embedding": (
        "llama",
        lambda: lora(modules_to_save=["lm_head", "embed_tokens"]),
    ),
    "whole norms": ("llama", lambda: lora(modules_to_save=["input_layernorm", "norm"])),
    "whole head with a bias": ("phi", lambda: lora(modules_to_save=["lm_head"])),
    "dora": ("llama", lambda: lora(use_dora=True, target_modules=LINEAR)),
    "dora, transposed": ("gpt2", lambda: lora(use_dora=True, target_modules=["c_attn"])),
    "dora, embedding": (
        "llama",
        lambda: lora(use_dora=True, target_modules=["embed_tokens", "q_proj"]),
    ),
    "all biases": ("phi", lambda: lora(bias="all")),
    "biases of adapted modules": ("qwen2", lambda: lora(bias="lora_only")),
    "biases, transposed": ("gpt2", lambda: lora(bias="all", target_modules=["c_fc"])),
    "embedding": ("llama", lambda: lora(target_modules=["embed_tokens", "q_proj"])),
    "embedding, scaled": ("gemma", lambda: lora(target_modules=["embed_tokens"])),
    "head": ("llama", lambda: lora(target_modules=["lm_head"])),
    "tied head": ("gemma", lambda: lora(target_modules=["lm_head"])),
    "tied embedding": ("qwen2-tied", lambda: lora(target_modules=["embed_tokens", "q_proj"])),
    "tied head and embedding": (
        "qwen2-tied",
        lambda: lora(target_modules=["embed_tokens", "lm_head"]),
    ),
    "tied head, whole": ("qwen2-tied", lambda: lora(modules_to_save=["lm_head"])),
    "tied embedding, whole": ("qwen2-tied", lambda: lora(modules_to_save=["embed_tokens"])),
    "kept tied, whole": (
        "qwen2-tied",
        lambda: lora(modules_to_save=["embed_tokens"], ensure_weight_tying=True),
    ),
    "kept tied, whole head": (
        "qwen2-tied",
        lambda: lora(modules_to_save=["lm_head"], ensure_weight_tying=True),
    ),
    "kept tied": (
        "qwen2-tied",
        lambda: lora(target_modules=["embed_tokens", "q_proj"], ensure_weight_tying=True),
    ),
    "kept tied, head named": (
        "qwen2-tied",
        lambda: lora(target_modules=["lm_head", "q_proj"], ensure_weight_tying=True),
    ),
    "loha": ("llama", lambda: peft.LoHaConfig(r=2, alpha=5, target_modules=LINEAR)),
    "loha, patterns": (
        "llama",
        lambda: peft.LoHaConfig(
            r=2,
            alpha=5,
            target_modules=["q_proj", "down_proj"],
            rank_pattern={"q_proj": 3},
            alpha_pattern={"down_proj": 2},
        ),
    ),
    "lokr": ("llama", lokr),
    "lokr, both decomposed": ("llama", lambda: lokr(r=1, decompose_both=True)),
    "lokr, factor": ("llama", lambda: lokr(r=1, decompose_factor=2)),
    "lokr, full factors": ("llama", lambda: lokr(r=16)),
}
TIED = {"qwen2-tied", "gemma"}
UNTIED = {
    "embedding, scaled", "tied head", "tied embedding", "tied head and embedding",
    "tied head, whole", "tied embedding, whole",
}  # fmt: skip


def tiny(family):
    if family == "qwen2-tied":
        return model_of("qwen2", tie_word_embeddings=True)
    return model_of(family)


def ours_of(candidate, family, tokens):
    name, _, tied = family.partition("-")
    return run_ours(candidate, name, tokens, **({"tie_word_embeddings": True} if tied else {}))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_candidate_computes_what_peft_computes(tmp_path, variant):
    family, config = VARIANTS[variant]
    folder = save_adapter(tmp_path, tiny(family), config())
    candidate = candidate_of(folder, tiny(family))
    tokens = some_tokens()
    theirs = logits_of(load_with_peft(folder, tiny(family)), tokens)
    base = logits_of(tiny(family), tokens)
    assert float((theirs - base).abs().max()) > 1e-3
    ours = ours_of(candidate, family, tokens)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5 * float(theirs.abs().max()))
    assert bool(candidate.untied) == (variant in UNTIED)


# Merging changes what is tied to an adapted embedding too, which running the adapter does not.
MERGEABLE = [name for name, (family, _) in VARIANTS.items() if family not in TIED]


@pytest.mark.parametrize("variant", MERGEABLE)
def test_a_candidate_has_the_tensors_of_the_merged_model(tmp_path, variant):
    family, config = VARIANTS[variant]
    folder = save_adapter(tmp_path, tiny(family), config())
    candidate = candidate_of(folder, tiny(family))
    merged = load_with_peft(folder, tiny(family)).merge_and_unload()
    theirs = {name: tensor.double() for name, tensor in merged.state_dict().items()}
    ours = state_of(candidate)
    assert {*ours} <= {*theirs}
    base = base_of(tiny(family)).source
    for name, tensor in ours.items():
        scale = float(theirs[name].abs().max())
        torch.testing.assert_close(tensor.double(), theirs[name], rtol=1e-6, atol=1e-6 * scale)
        same = torch.equal(tensor, base.read(base.tensors[name]))
        assert same == (name not in candidate.changed), name


@pytest.mark.parametrize("variant", [name for name in VARIANTS if "dora" not in name])
def test_an_update_is_what_the_candidate_adds_to_its_base(tmp_path, variant):
    family, config = VARIANTS[variant]
    folder = save_adapter(tmp_path, tiny(family), config())
    candidate, model = candidate_of(folder, tiny(family)), base_of(tiny(family))
    base = model.source
    for name in sorted(candidate.changed):
        update = candidate.update(name)
        if update is None:
            continue
        start = base.read(base.tensors[model.tied.get(name, name)]).double()
        total = start + update.left @ update.right
        torch.testing.assert_close(candidate.read(candidate.tensors[name]), total.float())
        assert update.left.dtype == update.right.dtype == torch.float64
        assert update.left.shape[1] == update.right.shape[0] in candidate.describe().ranks


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_adapter_that_was_never_trained_reads_as_its_base_to_the_bit(tmp_path, family, dtype):
    targets = ["c_attn"] if family == "gpt2" else ["q_proj", "embed_tokens"]
    model = tiny(family).to(dtype)
    folder = save_adapter(tmp_path, model, lora(target_modules=targets), zero=True)
    base = base_of(tiny(family).to(dtype)).source
    candidate = candidate_of(folder, tiny(family).to(dtype))
    assert candidate.changed
    for name, info in candidate.tensors.items():
        kept, read = base.read(base.tensors[name]), candidate.read(info)
        assert torch.equal(read, kept.to(read.dtype))
        assert read.dtype == (torch.float32 if name in candidate.changed else dtype)


def resized(seed, rows=307, *, family="llama"):
    model = tiny(family)
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        model.resize_token_embeddings(rows, mean_resizing=False)
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {"modules_to_save": ["lm_head", "embed_tokens"]},
        {"target_modules": ["embed_tokens", "lm_head"]},
        {"target_modules": ["embed_tokens", "lm_head", "q_proj"], "use_dora": True},
    ],
    ids=["whole", "adapted", "dora"],
)
@pytest.mark.parametrize("rows", [307, 290])
@pytest.mark.parametrize("how", [{}, {"save_embedding_layers": True}], ids=["auto", "saved"])
def test_rows_of_a_resized_vocabulary_are_the_adapters(tmp_path, changes, rows, how):
    folder = save_adapter(tmp_path, resized(0, rows), lora(**changes), **how)
    candidate = candidate_of(folder, model_of("llama"))
    assert candidate.tensors["lm_head.weight"].shape == (rows, 16)
    assert candidate.update("model.embed_tokens.weight") is None
    tokens = some_tokens(rows)
    theirs = logits_of(load_with_peft(folder, resized(1, rows)), tokens)
    ours = run_ours(candidate, "llama", tokens, vocab_size=rows)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5 * float(theirs.abs().max()))


def test_a_resized_embedding_without_the_head_that_was_tied_to_it_is_refused(tmp_path):
    model = resized(0, family="qwen2-tied")
    folder = save_adapter(tmp_path, model, lora(modules_to_save=["embed_tokens"]))
    with pytest.raises(IncomparableError, match=r"does not hold 'lm_head\.weight', which is tied"):
        candidate_of(folder, tiny("qwen2-tied"))


@pytest.mark.parametrize(
    ("changes", "untied"),
    [
        ({"target_modules": ["q_proj"]}, 0),
        ({"target_modules": ["embed_tokens"]}, 1),
        ({"target_modules": ["lm_head", "q_proj"]}, 1),
        ({"target_modules": ["lm_head", "embed_tokens"]}, 1),
        ({"modules_to_save": ["embed_tokens"]}, 1),
        ({"modules_to_save": ["lm_head"]}, 1),
        ({"modules_to_save": ["lm_head", "embed_tokens"]}, 1),
        ({"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}, 0),
    ],
    ids=[
        "beside",
        "embedding",
        "head",
        "both",
        "whole embedding",
        "whole head",
        "both whole",
        "kept tied",
    ],
)
def test_rows_of_a_resized_tied_vocabulary_are_the_adapters(tmp_path, changes, untied):
    family = "qwen2-tied"
    model = resized(0, family=family)
    folder = save_adapter(tmp_path, model, lora(**changes), save_embedding_layers=True)
    candidate = candidate_of(folder, tiny(family))
    assert len(candidate.untied) == untied
    tokens = some_tokens(307)
    theirs = logits_of(load_with_peft(folder, resized(1, family=family)), tokens)
    ours = run_ours(candidate, "qwen2", tokens, vocab_size=307, tie_word_embeddings=True)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5 * float(theirs.abs().max()))


def test_the_name_of_an_adapter_in_its_tensors_changes_nothing(tmp_path):
    folder = save_adapter(tmp_path, model_of("llama"), lora(use_dora=True))
    before = state_of(candidate_of(folder, model_of("llama")))

    def name_it(tensors):
        for name in list(tensors):
            tensor = tensors.pop(name)
            if name.endswith("magnitude_vector"):
                tensors[f"{name}.default.weight"] = tensor
            else:
                tensors[name.replace(".weight", ".default.weight")] = tensor

    rewrite_weights(folder, name_it)
    after = state_of(candidate_of(folder, model_of("llama")))
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_a_description_says_what_the_adapter_is(tmp_path):
    folder = save_adapter(tmp_path, model_of("llama"), lora(modules_to_save=["lm_head"]))
    candidate = candidate_of(folder, model_of("llama"))
    facts = candidate.describe()
    assert (facts.kinds, facts.num_tensors, facts.ranks) == (("LoRA", "full weights"), 5, (3,))
    assert facts.num_parameters == 2 * 3 * (16 + 16 + 16 + 8) + 300 * 16
    assert (facts.roles, facts.whole, facts.untied) == (("q", "v"), ("lm_head.weight",), ())
    expected = "LoRA and full weights on 5 tensors (q, v); rank 3; scale 1.667; replaces"
    assert (
        candidate.description == f"{expected} lm_head.weight; {facts.num_parameters:,} parameters"
    )


def test_a_weight_that_is_not_finite_stays_so(tmp_path):
    folder = save_adapter(tmp_path, model_of("llama"), lora())

    def break_one(tensors):
        tensors[min(tensors)][0, 0] = math.nan

    rewrite_weights(folder, break_one)
    candidate = candidate_of(folder, model_of("llama"))
    broken = [
        name
        for name in candidate.changed
        if not bool(candidate.read(candidate.tensors[name]).isfinite().all())
    ]
    assert len(broken) == 1
