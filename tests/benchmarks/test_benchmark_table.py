import json
from pathlib import Path

import pytest

from benchmarks import results, table
from benchmarks.processes import REPOSITORY

MACHINE = {
    "processor": "Processor",
    "cores": 2,
    "memory_bytes": 8 * 2**30,
    "gpus": [],
    "torch": "2.13.0",
}


def document(benchmark, summary, **changes):
    return {
        "schema": results.SCHEMA,
        "benchmark": benchmark,
        "measured_at": "2026-01-02",
        "machine": MACHINE,
        "not_measured": None,
        "settings": {"rounds": 3},
        "summary": summary,
        "rows": [],
    } | changes


PEERS = {
    "programs": [
        {
            "program": "afterburn",
            "seconds": 15.0,
            "peak_rss_bytes": 8e8,
            "cold_over_it": 0.3,
            "cached_over_it": 0.15,
        }
    ],
    "targets": [
        {
            "program": "sdi-gate, cold",
            "peer": "afterburn",
            "ratio_median": 0.4,
            "ratio_target": 1 / 3,
            "met": False,
            "memory_met": True,
        }
    ],
}
SCALE = {
    "shapes": [
        {
            "shape": "25M",
            "weights_seconds": 2.0,
            "seconds_per_1e12_operations": 29.4,
            "peak_rss_bytes": 4e8,
            "largest_tensor_bytes": 4e6,
        }
    ],
    "time_grows_with_power": 0.97,
    "time_is_linear": True,
    "power_at_most": 1.1,
    "memory_per_byte_of_model": 0.03,
    "memory_is_flat": True,
    "memory_at_most": 0.1,
}
GPU = {
    "scans": [
        {
            "model": "Mistral-7B",
            "limit": "24",
            "state": "base cached",
            "seconds": 99.6,
            "ran": "probe",
            "not_measured": None,
            "peak_device_bytes": 2e10,
            "times_cheaper_than_pass": {"usual": 21.2},
        },
        {
            "model": "Mistral-7B",
            "limit": "all",
            "state": "cold",
            "seconds": None,
            "ran": None,
            "not_measured": "no GPU",
            "peak_device_bytes": None,
        },
    ]
}


def write(folder, benchmark, summary, **changes):
    written = json.dumps(document(benchmark, summary, **changes))
    (folder / f"{benchmark}.json").write_text(written, encoding="utf-8")


def test_the_readme_says_what_the_results_say():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert table.with_block(readme, table.block(results.FOLDER)) == readme, (
        "python -m benchmarks.table writes the block anew"
    )


def test_results_that_are_committed_name_no_folder_and_no_machine():
    for file in results.FOLDER.glob("*.json"):
        text = file.read_text(encoding="utf-8")
        assert str(Path.home()) not in text
        assert str(REPOSITORY) not in text


def test_a_benchmark_that_was_not_run_is_said_not_to_be_measured(tmp_path):
    assert table.block(tmp_path).count("not measured") == 3


def test_medians_and_targets_of_the_peers_stand_in_the_table(tmp_path):
    write(tmp_path, "peers", PEERS)
    block = table.block(tmp_path)
    assert "| afterburn | 15.0 | 800 MB | 0.30 | 0.15 |" in block
    assert "0.40, target at most 0.33: **missed**; less memory" in block
    assert "Processor, 2 cores, 8 GiB, no GPU, torch 2.13.0, 2026-01-02" in block


def test_growth_stands_in_the_table(tmp_path):
    write(tmp_path, "scale", SCALE)
    block = table.block(tmp_path)
    assert "| 25M | 2.0 | 29.4 | 400 MB | 4 MB |" in block
    assert "power of 0.97 (linear" in block


def test_one_shape_claims_no_growth(tmp_path):
    write(tmp_path, "scale", SCALE | {"time_grows_with_power": None})
    assert "One shape says nothing about growth." in table.block(tmp_path)


def test_scans_on_a_gpu_name_a_tier_below_full_and_what_was_not_measured(tmp_path):
    write(tmp_path, "gpu", GPU)
    block = table.block(tmp_path)
    assert "| Mistral-7B | 24 GiB | cached | 100 (tier probe) | 20.0 GB | 21 |" in block
    assert "| Mistral-7B | all | cold | not measured | - | - |" in block


def test_the_reason_why_no_gpu_was_measured_stands_above_its_rows(tmp_path):
    write(tmp_path, "gpu", GPU, not_measured="torch found no GPU")
    assert "(not measured: torch found no GPU)" in table.block(tmp_path)


def test_only_what_is_between_the_marks_changes():
    text = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    assert table.with_block(text, "new") == f"before\n{table.BEGIN}\nnew\n{table.END}\nafter\n"


@pytest.mark.parametrize(
    "text",
    ["", table.BEGIN, f"{table.END}{table.BEGIN}", f"{table.BEGIN}{table.BEGIN}{table.END}"],
    ids=["none", "open", "turned", "twice"],
)
def test_marks_must_be_there_once_each(text):
    with pytest.raises(ValueError, match="once each"):
        table.with_block(text, "new")


def test_the_command_writes_the_readme_and_checks_it(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"{table.BEGIN}\n{table.END}\n", encoding="utf-8")
    arguments = ["--readme", str(readme), "--results", str(tmp_path)]
    assert table.main([*arguments, "--check"]) == 1
    assert table.main(arguments) == 0
    assert table.main([*arguments, "--check"]) == 0


def test_a_file_of_another_kind_is_no_result(tmp_path):
    (tmp_path / "gpu.json").write_text('{"schema": "other"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"gpu.json: expected schema"):
        results.load("gpu", tmp_path)


@pytest.mark.parametrize(("values", "middle"), [([3.0, 1.0, 2.0], 2.0), ([4.0, 1.0], 2.5)])
def test_the_median_is_the_middle(values, middle):
    assert results.middle(values) == middle
