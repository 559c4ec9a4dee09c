"""Print the peak memory of a scan at tier weights, beside the size of the largest tensor.

Builds a pair of a billion parameters (the layout of a small Llama: 16 layers, hidden size 2,048,
128,256 tokens, tied, bfloat16) in a temporary folder, some 5 GB, and scans it in a process of its
own. ``--layers 2`` is a first look, in minutes; the largest tensor, the embedding, stays the same.

    python benchmarks/weights_memory.py [--layers 16] [--threads 2] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

HIDDEN, INNER, HEADS, KV_HEADS, TOKENS = 2048, 8192, 32, 8, 128_256
ALLOWANCE_BYTES = 600_000_000
FACTOR = 3


def config(layers: int) -> dict[str, object]:
    """Return the configuration of the pair."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "vocab_size": TOKENS,
        "tie_word_embeddings": True,
        "dtype": "bfloat16",
    }


def layer_shapes(index: int) -> dict[str, tuple[int, ...]]:
    """Return the tensors of one layer."""
    kv = HIDDEN * KV_HEADS // HEADS
    shapes = {
        "self_attn.q_proj.weight": (HIDDEN, HIDDEN),
        "self_attn.k_proj.weight": (kv, HIDDEN),
        "self_attn.v_proj.weight": (kv, HIDDEN),
        "self_attn.o_proj.weight": (HIDDEN, HIDDEN),
        "mlp.gate_proj.weight": (INNER, HIDDEN),
        "mlp.up_proj.weight": (INNER, HIDDEN),
        "mlp.down_proj.weight": (HIDDEN, INNER),
        "input_layernorm.weight": (HIDDEN,),
        "post_attention_layernorm.weight": (HIDDEN,),
    }
    return {f"model.layers.{index}.{name}": shape for name, shape in shapes.items()}


def write(folder: Path, layers: int, noise: float) -> None:
    """Write a model, one shard for each layer."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config(layers)), encoding="utf-8")
    shards: list[dict[str, tuple[int, ...]]] = [layer_shapes(index) for index in range(layers)]
    shards.append({"model.embed_tokens.weight": (TOKENS, HIDDEN), "model.norm.weight": (HIDDEN,)})
    weight_map: dict[str, str] = {}
    for number, shapes in enumerate(shards):
        name = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        tensors = {key: tensor(shape, number, noise) for key, shape in shapes.items()}
        save_file(tensors, folder / name, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(tensors, name))
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def tensor(shape: tuple[int, ...], seed: int, noise: float) -> torch.Tensor:
    """Return the same random weights for the same seed, and on them some noise."""
    generator = torch.Generator().manual_seed(seed)
    weights = 0.02 * torch.randn(shape, generator=generator)
    if noise:
        weights += noise * 0.02 * torch.randn(shape, generator=generator)
    return weights.to(torch.bfloat16)


def build(folder: Path, layers: int) -> None:
    """Write both models in a process of its own: a child inherits its parent's peak memory."""
    command = [sys.executable, __file__, "--build", str(folder), "--layers", str(layers)]
    subprocess.run(command, check=True)  # noqa: S603 - our own program


def scan(folder: Path, threads: int) -> tuple[float, int, int]:
    """Scan the pair in a process of its own.

    Returns the seconds it took, and from its own report the number of parameters and the peak of
    its resident memory.
    """
    began = time.monotonic()
    command = [sys.executable, "-m", "sdi_gate", "scan", "--tier", "weights", "--device", "cpu"]
    command += ["--base", f"file:{folder / 'base'}", "--candidate", f"file:{folder / 'candidate'}"]
    command += ["--threads", str(threads), "--out", str(folder / "out")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own program
    seconds = time.monotonic() - began
    result = json.loads((folder / "out" / "result.json").read_text(encoding="utf-8"))
    peak = max(stage["peak_host_bytes"] for stage in result["cost"]["stages"])
    return seconds, result["base"]["num_parameters"], peak


def run(folder: Path, layers: int, threads: int) -> int:
    """Build the pair, scan it, print what it took; return 1 if it took more than it may."""
    build(folder, layers)
    seconds, count, peak = scan(folder, threads)
    largest = 2 * TOKENS * HIDDEN
    bound = FACTOR * largest + ALLOWANCE_BYTES
    print(f"parameters of one model        {count:>15,}")
    print(f"largest tensor                 {largest / 1e6:>12,.0f} MB")
    print(f"both models on disk            {2 * 2 * count / 1e6:>12,.0f} MB")
    print(f"peak resident memory           {peak / 1e6:>12,.0f} MB")
    print(f"{FACTOR} x largest + {ALLOWANCE_BYTES / 1e6:.0f} MB          {bound / 1e6:>12,.0f} MB")
    print(f"peak over that bound           {peak / bound:>15.2f}")
    print(f"wall time, {threads} threads           {seconds:>12,.0f} s")
    return int(not peak <= bound)


def main() -> int:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None, help="an empty folder with room")
    parser.add_argument("--build", type=Path, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build is not None:
        write(options.build / "base", options.layers, noise=0.0)
        write(options.build / "candidate", options.layers, noise=0.02)
        return 0
    if options.folder is not None:
        return run(options.folder, options.layers, options.threads)
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder), options.layers, options.threads)


if __name__ == "__main__":
    sys.exit(main())
