"""Judge a hostile model against a sound one, through the command line in this process."""

from __future__ import annotations

import json
import logging
import resource
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tiny_models import build_base, tiny_probe
from transformers.utils import logging as transformers_logging

from sdi_gate.cli.main import main

POLICY = Path(__file__).parents[2] / "policies" / "default.yml"
_MAX_SECONDS = 20
# ru_maxrss is in KiB on Linux; what a refusal may take on top of all that ran before it.
_MAX_GROWTH_KIB = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """A sound model; not to be changed."""
    return build_base(tmp_path_factory.mktemp("sound") / "base")


@pytest.fixture(scope="session")
def probe(tmp_path_factory):
    lines = [
        json.dumps({"stratum": sample.stratum, "text": sample.text})
        for sample in tiny_probe().samples
    ]
    path = tmp_path_factory.mktemp("probe") / "tiny.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def candidate(sound, tmp_path):
    """A copy of the sound model, to be damaged."""
    return shutil.copytree(sound, tmp_path / "candidate")


@pytest.fixture
def judge(sound, probe, tmp_path, capsys):
    """Check a candidate against the sound model; it must neither hang nor fill the memory."""
    logger = logging.getLogger("sdi_gate")
    before = torch.get_num_threads(), transformers_logging.get_verbosity()
    handlers, level = list(logger.handlers), logger.level

    def run(candidate, *, base=None, tier="probe"):
        capsys.readouterr()
        started = time.process_time()
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        models = ("--base", f"file:{base or sound}", "--candidate", f"file:{candidate}")
        options = ("--tier", tier, "--probe", probe, "--policy", POLICY, "--out", tmp_path / "out")
        code = main(["check", *map(str, (*models, *options, "--threads", "1"))])
        captured = capsys.readouterr()
        assert time.process_time() - started < _MAX_SECONDS
        growth_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_kib
        assert growth_kib < _MAX_GROWTH_KIB or sys.platform != "linux"
        return Ended(code=code, out=captured.out, err=captured.err)

    yield run
    torch.set_num_threads(before[0])
    torch.use_deterministic_algorithms(mode=False)
    transformers_logging.set_verbosity(before[1])
    transformers_logging.enable_progress_bar()
    logger.handlers[:] = handlers
    logger.setLevel(level)
