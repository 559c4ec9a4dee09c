"""List the values that mean something to a reader: hostile ones, and those of other formats."""

from __future__ import annotations

from checkpoint_files import INDEX
from fuzz_mutations import NUMBERS, nested
from fuzz_seeds import CONFIG

from sdi_gate.models.header import BITS

TYPES = (*BITS, "F12", "f32", "F32 ", "torch.float32", "BF16\x00", "I128")
HEADER_WORDS = (
    *(*TYPES, "__metadata__", "dtype", "shape", "data_offsets", "t0", "t1", "model.norm.weight"),
    *([2**32, 2**32], [0, 2**63], [-1, -1], [1] * 33, [2**31, 2**31, 2], [0, 0], [4, 2], [8.0, 8]),
    *({"format": "pt"}, {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}),
)
LENGTHS = (0, 1, 2, 8, 100_000_000, 100_000_001, 2**31, 2**32, 2**62, 2**63, 2**64 - 1)
PATHS = (
    *("../model-00001-of-00003.safetensors", "/etc/passwd", "model-00001-of-00003.safetensors"),
    *("model-00002-of-00003.safetensors", "model-00009-of-00003.safetensors", "a/b.safetensors"),
    *("./model-00001-of-00003.safetensors", "model-00001-of-00003.safetensors\x00", "..", ""),
    *("model-00001-of-00003\uff0esafetensors", "model-0000\u0661-of-00003.safetensors"),
    *("MODEL-00001-OF-00003.SAFETENSORS", "model.safetensors", ".safetensors", INDEX, CONFIG),
    *("~/model.safetensors", "file:///x.safetensors", "https://x.org/a.safetensors", "\\\\x\\y"),
    *("a\nb.safetensors", "\u202emodel.safetensors", "weight_map", "metadata", "x" * 300),
)
TENSORS = tuple(f"model.layers.{i}.mlp.up_proj.weight" for i in range(8))
CONFIG_WORDS = (
    *("llama", "bert", "t5", "auto", "Llama", "mamba", "deepseek_v3", "qwen2_moe", "qwen3_moe"),
    *("linear", "dynamic", "yarn", "longrope", "llama3", "default", "rope_type", "factor"),
    *("gelu", "silu", "relu", "nope", "float16", "torch.float64", "sdpa", "flash_attention_2"),
    *("full_attention", "sliding_attention", "chunked_attention", "LlamaForCausalLM"),
    *("../x", ["LlamaForCausalLM"], ["BertModel", "x"], ["full_attention"] * 2, {"rope_type": "x"}),
    *(
        {"rope_type": "linear", "factor": 2.0},
        {"type": "yarn", "factor": 1e30},
        {"0": "A", "1": "B"},
    ),
    *({"rope_theta": 0}, {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}),
    *(2_000, 5_000, 20_000, 999_999, 9_999_999, 99_999_999, {str(i): "L" for i in range(500)}),
)
SIZES = (*(n for n in NUMBERS if type(n) is int and abs(n) < 2**40), 5_000, 99_999, 9_999_999)
PATTERNS = (
    *("q_proj", ".*q_proj", "(a+)+$", "(.*)*x", "(?=a)", r"\1", "[", "[^", "a{1000000}", "a{2}"),
    *("(" * 50, "(" * 20 + ")" * 20, "x" * 499, ".*" * 200, ".*" * 200 + "z", "(a|aa)+b", "\u0130"),
    *("(?i)Q", r"\Z", "^", "$", "|", "", "()", "^q|v$", r".*\.(q|v)_proj", "[a-z]*" * 60 + "0"),
    *("[z-a]", "[a-", r"[\d-z]", r"\w+\.\d+", "(.?){9}", "(.?)*", "(()|())*", "a**", "\n", "[]]"),
    *("layers.0", "model", "lm_head", "all-linear", "(q|(v|(k|(o))))_proj" * 5, ".?" * 240),
)
MODULES = ("q_proj", "v_proj", "k_proj", "o_proj", "up_proj", "lm_head", "wte", "c_attn", "norm")
ADAPTER_WORDS = (
    *(*PATTERNS, *MODULES, "LORA", "LOHA", "LOKR", "IA3", "VERA", "none", "all", "lora_only"),
    *("CAUSAL_LM", "pissa", "olora", "gaussian", "eva", "lora_alpha", "alpha", "r", "use_rslora"),
    *("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "target_modules", "bias"),
    *("ensure_weight_tying", "layers_to_transform", "exclude_modules", "auto_mapping", "revision"),
    *("org/name", "org/name@main", "../../x", "file:/etc", "trainable_token_indices", "megatron"),
    *({".*": 4}, {"q_proj": 2}, {"(a+)+": 3}, {"q_proj": 1e30}, {"": 1}, ["lm_head"], ["q_proj"]),
)
NAMES = tuple(
    f"base_model.model.{module}.{part}"
    for module in (
        "model.layers.0.self_attn.q_proj",
        "model.layers.9.mlp.up_proj",
        "lm_head",
        "transformer.wte",
        "model.norm",
        "",
    )
    for part in (
        *("lora_A.weight", "lora_B.default.weight", "lora_embedding_A", "lora_magnitude_vector"),
        *("weight", "bias", "base_layer.weight", "modules_to_save.weight", "hada_w1_a", "lokr_w1"),
        *("hada_t1", "lokr_w2_b", "lora_A.x.y.weight", "original_module.weight", "lora_A"),
    )
)
METHOD_WORDS = (
    *(
        "bitsandbytes",
        "fp8",
        "compressed-tensors",
        "gptq",
        "awq",
        "hqq",
        "torchao",
        "mxfp4",
        "quanto",
    ),
    *("quant_method", "load_in_4bit", "weight_block_size", "config_groups", "format", "num_bits"),
    *(
        "pack-quantized",
        "int-quantized",
        "float-quantized",
        "naive-quantized",
        "nvfp4-pack-quantized",
    ),
    *(
        "group_size",
        "strategy",
        "channel",
        "tensor",
        "block",
        "token",
        "block_structure",
        "weights",
    ),
    *("sparsity_config", "transform_config", "symmetric", "actorder", "type", "float", "targets"),
    *([128, 128], [0, 0], [32, 32], [1, 10**9], {"quant_method": "fp8"}, {"quant_method": "awq"}),
    *("auto_map", "trust_remote_code", {"AutoModel": "x.Y"}, "transformers_weights", nested(9)),
)
