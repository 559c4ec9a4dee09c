"""Write the README's table of cost from what the benchmarks left in ``benchmarks/results``.

python -m benchmarks.table          rewrites the block between the two marks
python -m benchmarks.table --check  exit code 1 if the block is not what the results give
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import results, tables
from benchmarks.processes import REPOSITORY

if TYPE_CHECKING:
    from benchmarks.results import Row

BEGIN = "<!-- benchmarks begin: written by python -m benchmarks.table -->"
END = "<!-- benchmarks end -->"
README = REPOSITORY / "README.md"
_NOT_RUN = "not measured: the benchmark has not been run"


def block(folder: Path) -> str:
    """Return what stands between the marks.

    Args:
        folder: Of the results.
    """
    parts = (
        _peers(results.load("peers", folder)),
        _scale(results.load("scale", folder)),
        _gpu(results.load("gpu", folder)),
    )
    return "\n\n".join(parts)


def _where(document: Row) -> str:
    machine = document["machine"]
    gpus = ", ".join(gpu["name"] for gpu in machine["gpus"]) or "no GPU"
    memory = machine["memory_bytes"] / 2**30
    return (
        f"{machine['processor']}, {machine['cores']} cores, {memory:.0f} GiB, {gpus}, "
        f"torch {machine['torch']}, {document['measured_at']}"
    )


def _peers(document: Row | None) -> str:
    if document is None:
        return f"`make bench-peers`: {_NOT_RUN}."
    settings, summary = document["settings"], document["summary"]
    head = ("weights of a pair of 98.6 M", "wall s", "peak memory", "cold ÷ it", "cached ÷ it")
    rows = [_peer_cells(program) for program in summary["programs"]]
    told = [_target(target) for target in summary["targets"]]
    return (
        f"`make bench-peers` ({_where(document)}; medians of {settings['rounds']} rounds, the "
        "ratios within a round):\n\n"
        f"{tables.markdown_table(head, rows)}\n\n" + "\n".join(told)
    )


def _peer_cells(program: Row) -> list[str]:
    return [
        str(program["program"]),
        tables.number(program["seconds"], 1),
        tables.size(program["peak_rss_bytes"]),
        tables.number(program["cold_over_it"], 2),
        tables.number(program["cached_over_it"], 2),
    ]


def _target(target: Row) -> str:
    verdict = "met" if target["met"] else "**missed**"
    memory = "less memory" if target["memory_met"] else "**more memory**"
    return (
        f"- {target['program']} ÷ {target['peer']}: {target['ratio_median']:.2f}, "
        f"target at most {target['ratio_target']:.2f}: {verdict}; {memory}."
    )


def _scale(document: Row | None) -> str:
    if document is None:
        return f"`make bench-scale`: {_NOT_RUN}."
    summary = document["summary"]
    head = ("shape", "weights s", "s per 10¹² operations", "peak memory", "largest tensor")
    rows = [_scale_cells(shape) for shape in summary["shapes"]]
    return (
        f"`make bench-scale` ({_where(document)}):\n\n"
        f"{tables.markdown_table(head, rows)}\n\n{_growth(summary)}"
    )


def _scale_cells(shape: Row) -> list[str]:
    return [
        str(shape["shape"]),
        tables.number(shape["weights_seconds"], 1),
        tables.number(shape["seconds_per_1e12_operations"], 1),
        tables.size(shape["peak_rss_bytes"]),
        tables.size(shape["largest_tensor_bytes"]),
    ]


def _growth(summary: Row) -> str:
    if summary["time_grows_with_power"] is None:
        return "One shape says nothing about growth."
    linear = "linear" if summary["time_is_linear"] else "**not linear**"
    flat = "flat" if summary["memory_is_flat"] else "**not flat**"
    return (
        f"Time grows with the work to the power of {summary['time_grows_with_power']:.2f} "
        f"({linear}: at most {summary['power_at_most']}); memory by "
        f"{summary['memory_per_byte_of_model']:.3f} bytes for each byte of a model "
        f"({flat}: at most {summary['memory_at_most']})."
    )


def _gpu(document: Row | None) -> str:
    if document is None:
        return f"`make bench-gpu`: {_NOT_RUN}."
    head = ("tier full, 1,000 probes", "GPU memory", "base", "seconds", "peak GPU", "÷ a pass")
    rows = [_gpu_cells(scan) for scan in document["summary"]["scans"]]
    reason = document["not_measured"]
    where = f"not measured: {reason}" if reason else _where(document)
    return (
        f"`make bench-gpu` ({where}):\n\n{tables.markdown_table(head, rows)}\n\n"
        "*÷ a pass*: how many times cheaper than MMLU, TruthfulQA, ToxiGen and IFEval through the "
        "same model, timed on a slice and extrapolated."
    )


def _gpu_cells(scan: Row) -> list[str]:
    cheaper = scan.get("times_cheaper_than_pass") or {}
    missing = scan["not_measured"] is not None
    seconds = tables.number(scan["seconds"], 0)
    if scan["ran"] not in {None, "full"}:
        seconds += f" (tier {scan['ran']})"
    return [
        str(scan["model"]),
        "all" if scan["limit"] == "all" else f"{scan['limit']} GiB",
        "cached" if scan["state"] == "base cached" else str(scan["state"]),
        "not measured" if missing else seconds,
        tables.size(scan["peak_device_bytes"]),
        tables.number(cheaper.get("usual"), 0),
    ]


def with_block(text: str, written: str) -> str:
    """Return a text with what stands between the marks replaced.

    Args:
        text: The README.
        written: What shall stand there.

    Raises:
        ValueError: If the marks are not there once each, in their order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        msg = f"expected {BEGIN} and {END} once each, in this order"
        raise ValueError(msg)
    return f"{before}{BEGIN}\n{written}\n{END}{after}"


def main(argv: list[str] | None = None) -> int:
    """Rewrite the README, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--readme", type=Path, default=README)
    parser.add_argument("--results", type=Path, default=results.FOLDER)
    options = parser.parse_args(argv)
    text = options.readme.read_text(encoding="utf-8")
    wanted = with_block(text, block(options.results))
    if options.check:
        return int(text != wanted)
    options.readme.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
