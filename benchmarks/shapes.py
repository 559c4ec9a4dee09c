"""Hold the shapes that the benchmarks build: architectures without their weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Dimensions = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Say how large each part of a decoder is.

    Attributes:
        name: What the benchmark's tables call it.
        hidden: Width of the residual stream.
        inner: Width of the feed-forward layers.
        layers: Number of decoder layers.
        heads: Attention heads.
        kv_heads: Key and value heads.
        vocabulary: Rows of the embedding.
        family: transformers' ``model_type``.
        architecture: transformers' class.
        qkv_bias: Whether queries, keys and values have a bias.
        used: Entries of the tokenizer, where the embedding has more rows than that; 0 if not.
        max_positions: Longest input that the configuration allows.
    """

    name: str
    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    family: str = "llama"
    architecture: str = "LlamaForCausalLM"
    qkv_bias: bool = False
    used: int = 0
    max_positions: int = 4096

    @property
    def num_parameters(self) -> int:
        """Return the number of parameters."""
        return sum(math.prod(size) for size in self.tensors().values())

    @property
    def tokens(self) -> int:
        """Return how many entries the tokenizer has."""
        return self.used or self.vocabulary

    @property
    def largest_bytes(self) -> int:
        """Return the size of the largest tensor in bfloat16, in bytes."""
        return 2 * max(math.prod(size) for size in self.tensors().values())

    @property
    def body_parameters(self) -> int:
        """Return the parameters that every token goes through: all but the embedding."""
        return self.num_parameters - self.vocabulary * self.hidden

    @property
    def spectra_operations(self) -> float:
        """Return what the spectra of a pair take at least, in floating-point operations.

        For each matrix of ``n`` by ``p``, ``n >= p``: three times (base, candidate, difference)
        half a Gram matrix, ``n p^2``, and the eigenvalues of one, ``4/3 p^3``.
        """
        matrices = [sorted(size) for size in self.tensors().values() if len(size) == 2]
        return sum(3.0 * (n * p**2 + 4.0 / 3.0 * p**3) for p, n in matrices)

    def config(self) -> dict[str, object]:
        """Return the configuration as transformers reads it."""
        return {
            "architectures": [self.architecture],
            "model_type": self.family,
            "hidden_size": self.hidden,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": self.max_positions,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": False,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            # The name of before transformers 5, which reads it too; afterburn needs 4.
            "torch_dtype": "bfloat16",
        }

    def tensors(self) -> dict[str, Dimensions]:
        """Return every tensor's dimensions by name, in the order of the model."""
        shapes: dict[str, Dimensions] = {}
        for shard in self.shards():
            shapes.update(shard)
        return shapes

    def shards(self) -> Iterator[dict[str, Dimensions]]:
        """Yield the tensors shard by shard: the embedding, one layer each, the head."""
        yield {"model.embed_tokens.weight": (self.vocabulary, self.hidden)}
        for index in range(self.layers):
            yield {f"model.layers.{index}.{k}": size for k, size in self._layer().items()}
        yield {
            "model.norm.weight": (self.hidden,),
            "lm_head.weight": (self.vocabulary, self.hidden),
        }

    def _layer(self) -> dict[str, Dimensions]:
        kv = self.hidden // self.heads * self.kv_heads
        widths = {"q_proj": self.hidden, "k_proj": kv, "v_proj": kv}
        attention: dict[str, Dimensions] = {
            f"self_attn.{name}.weight": (width, self.hidden) for name, width in widths.items()
        }
        if self.qkv_bias:
            attention |= {f"self_attn.{name}.bias": (width,) for name, width in widths.items()}
        return attention | {
            "self_attn.o_proj.weight": (self.hidden, self.hidden),
            "mlp.gate_proj.weight": (self.inner, self.hidden),
            "mlp.up_proj.weight": (self.inner, self.hidden),
            "mlp.down_proj.weight": (self.hidden, self.inner),
            "input_layernorm.weight": (self.hidden,),
            "post_attention_layernorm.weight": (self.hidden,),
        }


def _llama(name: str, layers: int, widths: tuple[int, int], heads: tuple[int, int]) -> Shape:
    return Shape(
        name=name,
        hidden=widths[0],
        inner=widths[1],
        layers=layers,
        heads=heads[0],
        kv_heads=heads[1],
        vocabulary=4096,
    )


# The pair of the comparison with the peers: 98.6 million parameters.
PEERS = _llama("98M", 8, (1024, 2816), (16, 4))

# Growing models with the one vocabulary, so that what grows is the decoder.
SCALE = (
    _llama("25M", 6, (576, 1536), (9, 3)),
    _llama("100M", 8, (1024, 2816), (16, 4)),
    _llama("400M", 16, (1536, 4096), (24, 8)),
    _llama("1.1B", 24, (2048, 5632), (32, 8)),
)

# What the models' own configurations say (config.json at the Hub).
SEVEN_BILLION = (
    Shape(
        name="Llama-2-7B",
        hidden=4096,
        inner=11008,
        layers=32,
        heads=32,
        kv_heads=32,
        vocabulary=32000,
    ),
    Shape(
        name="Mistral-7B",
        hidden=4096,
        inner=14336,
        layers=32,
        heads=32,
        kv_heads=8,
        vocabulary=32000,
        family="mistral",
        architecture="MistralForCausalLM",
        max_positions=32768,
    ),
    Shape(
        name="Qwen2.5-7B",
        hidden=3584,
        inner=18944,
        layers=28,
        heads=28,
        kv_heads=4,
        vocabulary=152064,
        family="qwen2",
        architecture="Qwen2ForCausalLM",
        qkv_bias=True,
        used=151_665,
        max_positions=32768,
    ),
)

# The same code in seconds on a CPU.
TINY = Shape(name="tiny", hidden=64, inner=96, layers=2, heads=4, kv_heads=2, vocabulary=320)
