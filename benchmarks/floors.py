"""Measure what bounds a scan on this machine: how fast it reads, how fast it multiplies."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

_BUFFER_BYTES = 8 << 20
_ROUNDS = 5
_DTYPES = ("float64", "float32", "bfloat16")
# Double precision on the CPU and single or half on a GPU take about a second each at these.
_SIZES = {"cpu": 1536, "cuda": 8192}


def read_rate(folder: Path) -> float:
    """Return bytes a second of reading a model's weights, the better of two passes.

    The files come from the page cache if they fit in memory, as they do for the scan after it.
    """
    files = sorted(folder.glob("*.safetensors"))
    return max(_read(files) for _ in range(2))


def _read(files: list[Path]) -> float:
    buffer = bytearray(_BUFFER_BYTES)
    began, size = time.perf_counter(), 0
    for file in files:
        with file.open("rb", buffering=0) as stream:
            while got := stream.readinto(buffer):
                size += got
    return size / (time.perf_counter() - began)


def matrix_rate(dtype: torch.dtype, device: torch.device, size: int) -> float:
    """Return operations a second of a square product, the best of a few rounds."""
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(size, size, generator=generator).to(device, dtype)
    product = torch.empty_like(left)
    seconds = [_multiply(left, product) for _ in range(_ROUNDS)]
    return 2.0 * size**3 / min(seconds)


def _multiply(left: torch.Tensor, product: torch.Tensor) -> float:
    _wait(left)
    began = time.perf_counter()
    torch.mm(left, left.mT, out=product)
    _wait(left)
    return time.perf_counter() - began


def _wait(tensor: torch.Tensor) -> None:
    if tensor.device.type == "cuda":
        torch.cuda.synchronize(tensor.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Hold the options of the command."""

    folder: Path
    device: str
    threads: int | None
    size: int | None


def measure(options: Options) -> dict[str, object]:
    """Return the rates as the benchmarks keep them."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.device(options.device)
    size = options.size or _SIZES[device.type]
    rates = {name: matrix_rate(getattr(torch, name), device, size) for name in _DTYPES}
    return {
        "read_bytes_per_s": read_rate(options.folder),
        "operations_per_s": rates,
        "threads": torch.get_num_threads(),
        "matrix_size": size,
    }


def main(argv: list[str] | None = None) -> int:
    """Print the rates as JSON."""
    parser = argparse.ArgumentParser(description="Measure reading and matrix products.")
    parser.add_argument("--folder", type=Path, required=True, help="a model")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--size", type=int, default=None, help="of the matrices")
    print(json.dumps(measure(Options(**vars(parser.parse_args(argv))))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
