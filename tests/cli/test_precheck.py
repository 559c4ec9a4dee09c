"""What is found out before torch is loaded."""

import os
from pathlib import Path

import pytest

from sdi_gate.cli.main import main
from sdi_gate.cli.options import ScanOptions
from sdi_gate.cli.precheck import look_ahead
from sdi_gate.errors import ExitCode, UsageError


def options(tmp_path: Path, base: str | None, calibration: Path | None = None) -> ScanOptions:
    return ScanOptions(
        base=base,
        candidate="file:x",
        tier="auto",
        device="cpu",
        out=tmp_path,
        probe=None,
        calibration=calibration,
        seed=0,
        depth_weights="uniform",
        threads=None,
    )


@pytest.mark.parametrize(
    "endpoint", ["", "https://hub.example.org", "http://127.0.0.1:8080"], ids=ascii
)
def test_an_endpoint_that_is_a_url_or_none_is_left_alone(tmp_path, monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    look_ahead(options(tmp_path, "hf:org/name"))
    assert os.environ["HF_ENDPOINT"] == endpoint


@pytest.mark.parametrize(
    "endpoint", ["http://[::1", "ftp://host", "http://", "a b", "http://host:0"], ids=ascii
)
def test_an_endpoint_that_is_no_url_matters_only_where_the_hub_is_needed(
    tmp_path, monkeypatch, endpoint
):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    for base in ("hf:org/name", None):
        with pytest.raises(UsageError, match="HF_ENDPOINT is not a URL"):
            look_ahead(options(tmp_path, base))
    look_ahead(options(tmp_path, "file:y"))
    assert "HF_ENDPOINT" not in os.environ


def test_the_report_of_a_former_run_goes_even_if_a_reference_is_none(tmp_path):
    (tmp_path / "report.md").write_text("PASS", encoding="utf-8")
    with pytest.raises(UsageError, match="not a model reference"):
        look_ahead(options(tmp_path, "nowhere"))
    assert not (tmp_path / "report.md").exists()


def test_the_doctor_says_that_the_endpoint_is_no_url(monkeypatch, capfd):
    monkeypatch.setenv("HF_ENDPOINT", "http://[::1")
    assert main(["doctor"]) == ExitCode.USAGE
    told = capfd.readouterr()
    assert "HF_ENDPOINT is not a URL" in told.err
    assert told.out == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the calibration '.*own.json'"),
        ("{", r"own\.json: not a calibration \(schema 2\): document: Invalid JSON"),
        ('{"schema": 2}', r"own\.json: not a calibration \(schema 2\): name: Field required"),
    ],
    ids=["absent", "no JSON", "incomplete"],
)
def test_a_calibration_that_is_none_is_refused_before_anything_is_loaded(
    tmp_path, content, message
):
    own = tmp_path / "own.json"
    if content is not None:
        own.write_text(content)
    with pytest.raises(UsageError, match=message) as caught:
        look_ahead(options(tmp_path, "file:x", own))
    assert caught.value.exit_code is ExitCode.USAGE
    assert "sdi-gate calibrate" in caught.value.hint
