"""Run sdi-gate with a part of the GPU's memory, as if the GPU were smaller.

    python -m benchmarks.gpu_scan --limit-gib 24 -- scan --tier full ...

The limit holds for torch's allocator; the context of CUDA itself, some 0.5 GiB, comes on top.
"""

from __future__ import annotations

import argparse
import importlib
import sys


def limit(gib: float) -> None:
    """Hold this process to a part of the first GPU's memory.

    Args:
        gib: The part.

    Raises:
        SystemExit: If the GPU has no more than that.
    """
    # First, since it sets what torch and its libraries read when they are loaded.
    importlib.import_module("sdi_gate.cli.scanning")
    torch = importlib.import_module("torch")
    total = torch.cuda.get_device_properties(0).total_memory
    fraction = gib * 2**30 / total
    if not fraction < 1.0:
        msg = f"the GPU has {total / 2**30:.0f} GiB, which cannot be held to {gib:g}"
        raise SystemExit(msg)
    torch.cuda.set_per_process_memory_fraction(fraction, 0)


def main(argv: list[str] | None = None) -> int:
    """Set the limit and hand over to sdi-gate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit-gib", type=float, required=True)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="-- and those of sdi-gate")
    options = parser.parse_args(argv)
    limit(options.limit_gib)
    main_module = importlib.import_module("sdi_gate.cli.main")
    return int(main_module.main([each for each in options.arguments if each != "--"]))


if __name__ == "__main__":
    sys.exit(main())
