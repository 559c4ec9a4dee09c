"""Make models once, and run the command line in this process without leaving traces in it."""

import logging

import pytest
import torch
from commands import Ended, references, write_probe
from tiny_models import add_noise, build_base, perturb
from transformers.utils import logging as transformers_logging

from sdi_gate.cli.main import main
from sdi_gate.cli.options import ScanOptions


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A folder with ``base``, ``near`` and ``far``; not to be changed."""
    folder = tmp_path_factory.mktemp("models")
    base = build_base(folder / "base")
    perturb(base, folder / "near", add_noise(0.001))
    perturb(base, folder / "far", add_noise(2.0))
    return folder


@pytest.fixture(scope="session")
def probe(tmp_path_factory):
    return write_probe(tmp_path_factory.mktemp("probe") / "tiny.jsonl")


@pytest.fixture
def run_here(capsys, monkeypatch):
    """Run the command line in this process."""
    monkeypatch.setenv("COLUMNS", "80")
    logger = logging.getLogger("sdi_gate")
    before = torch.get_num_threads(), transformers_logging.get_verbosity()
    handlers, level = list(logger.handlers), logger.level

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ended(code=code, out=captured.out, err=captured.err)

    yield run
    torch.set_num_threads(before[0])
    torch.use_deterministic_algorithms(mode=False)
    transformers_logging.set_verbosity(before[1])
    transformers_logging.enable_progress_bar()
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.fixture
def check_here(run_here, models, probe, tmp_path):
    """Compare a folder with the base by a policy, at tier ``probe``, over ten samples."""

    def check(candidate, *more, base=None, tier="probe", policy="policies/default.yml"):
        return run_here(
            "check",
            *references(base or models / "base", candidate),
            *("--tier", tier, "--probe", probe, "--policy", policy, "--out", tmp_path / "out"),
            *more,
        )

    return check


@pytest.fixture
def scan_options(tmp_path):
    """Give the options of a scan of a candidate against a folder."""

    def options(candidate):
        return ScanOptions(
            base="file:base",
            candidate=candidate,
            tier="auto",
            device="cpu",
            out=tmp_path,
            probe=None,
            calibration=None,
            seed=0,
            depth_weights="uniform",
            threads=None,
            no_cache=True,
        )

    return options
