import json
import math

import pytest

from benchmarks import scale


def row(parameters, work, seconds, peak):
    return {
        "shape": str(parameters),
        "num_parameters": parameters,
        "largest_tensor_bytes": 1,
        "spectra_operations": work,
        "weights_seconds": seconds,
        "seconds": seconds + 1.0,
        "seconds_per_1e12_operations": seconds / work * 1e12,
        "peak_rss_bytes": peak,
    }


def test_a_slope_through_points_of_a_line_is_its_own():
    assert scale.slope([1.0, 2.0, 4.0], [3.0, 5.0, 9.0]) == pytest.approx(2.0)
    assert math.isnan(scale.slope([1.0], [1.0]))


@pytest.mark.parametrize(("power", "linear"), [(1.0, True), (1.05, True), (1.5, False)])
def test_time_is_linear_if_it_grows_with_the_work_and_no_faster(power, linear):
    rows = [row(n, n * 1e6, (n * 1e6) ** power, 500) for n in (10, 100, 1000)]
    summary = scale.summarise(rows)
    assert summary["time_grows_with_power"] == pytest.approx(power)
    assert summary["time_is_linear"] is linear


@pytest.mark.parametrize(("share", "flat"), [(0.0, True), (0.09, True), (1.0, False)])
def test_memory_is_flat_if_it_grows_by_little_of_what_a_model_grows(share, flat):
    rows = [row(n, n, float(n), 1000 + share * 2 * n) for n in (10_000, 50_000, 90_000)]
    summary = scale.summarise(rows)
    assert summary["memory_per_byte_of_model"] == pytest.approx(share)
    assert summary["memory_is_flat"] is flat


def test_one_shape_says_nothing_about_growth(capsys):
    summary = scale.summarise([row(10, 10.0, 1.0, 100)])
    assert summary["time_is_linear"] is None
    scale.show(summary)
    assert "one shape says nothing" in capsys.readouterr().out


def test_growth_is_told_in_words_and_figures(capsys):
    scale.show(scale.summarise([row(n, float(n), float(n), 100) for n in (10, 1000)]))
    out = capsys.readouterr().out
    assert "to the power of 1.00: linear" in out
    assert "0.000 bytes for each byte of a model: flat" in out


def test_shapes_end_with_the_largest_that_was_asked_for():
    assert [shape.name for shape in scale.chosen_shapes("100M")] == ["25M", "100M"]


def test_a_tiny_pair_is_made_scanned_written_and_deleted(tmp_path, capsys):
    arguments = ["--tiny", "--threads", "1", "--work", str(tmp_path / "work")]
    assert scale.main([*arguments, "--results", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "scale.json").read_text())
    stages = [each["stage"] for each in result["rows"][0]["stages"]]
    assert {"resolve", "align", "weights", "whole process"} <= set(stages)
    assert result["rows"][0]["peak_rss_bytes"] > 0
    assert "weights" in capsys.readouterr().out
    assert not list((tmp_path / "work").glob("tmp*"))
    assert str(tmp_path) not in json.dumps(result)
