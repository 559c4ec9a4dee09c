"""A real trained model and fine-tunes of it on another text, in three growing doses."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from sdi_gate.cli.main import main
from sdi_gate.models.probe import load_default

PROJECT = Path(__file__).parents[2]
DATA = PROJECT.parent / "shared" / "data"
BASE = DATA / "models" / "stories260k"
TEXT = DATA / "text" / "tinyshakespeare.txt"
# Steps and learning rate of each dose.
DOSES = {"light": (10, 5e-5), "middle": (60, 3e-4), "careless": (300, 3e-3)}
STRATA = ("general", "instruction", "reasoning", "dialogue")
SAMPLES = 10
ALSO_SHOWN = ("curvature-shift", "fisher-trace-shift", "nll-change")
GROWING = ("sdi", "weight-geometry", "spectral-divergence", "representation-drift")
GROWING += ("kl-divergence", "update-quadratic-form")

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not BASE.is_dir() or not TEXT.is_file(), reason=f"no {DATA}"),
]


def fine_tune(folder, tokenizer, stream, steps, learning_rate):
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        starts = torch.randint(len(stream) - 128, (8,), generator=generator)
        batch = torch.stack([stream[i : i + 128] for i in starts])
        optimiser.zero_grad()
        model(input_ids=batch, labels=batch).loss.backward()
        optimiser.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_probe(path):
    taken = dict.fromkeys(STRATA, 0)
    lines = []
    for sample in load_default().samples:
        if taken.get(sample.stratum, SAMPLES) < SAMPLES:
            taken[sample.stratum] += 1
            prompt = {"prompt": sample.prompt} if sample.prompt else {}
            lines.append({"stratum": sample.stratum, "text": sample.text} | prompt)
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def ladder(tmp_path_factory):
    """Exit code and result of the base against itself and against each dose."""
    folder = tmp_path_factory.mktemp("ladder")
    threads, verbosity = torch.get_num_threads(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    text = TEXT.read_text(encoding="utf-8")[:400_000]
    stream = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
    for name, dose in DOSES.items():
        fine_tune(folder / name, tokenizer, stream, *dose)
    probe = write_probe(folder / "probe.jsonl")
    found = {}
    for name, candidate in {"itself": BASE, **{dose: folder / dose for dose in DOSES}}.items():
        out = folder / f"out-{name}"
        code = main(
            [
                *("check", "--base", f"file:{BASE}", "--candidate", f"file:{candidate}"),
                *("--tier", "full", "--policy", str(PROJECT / "policies" / "default.yml")),
                *("--probe", str(probe), "--out", str(out), "--threads", "1"),
            ]
        )
        found[name] = code, json.loads((out / "result.json").read_text(encoding="utf-8"))
    yield found
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=False)
    transformers_logging.set_verbosity(verbosity)
    transformers_logging.enable_progress_bar()


def estimate(result, metric):
    """Return value and standard error of an index, of a signal, or of one metric of a signal."""
    if metric == "sdi":
        found = result["sdi"]["estimate"]
    elif own := [s for s in result["signals"] if metric in {s["name"], s["metric"]}]:
        found = own[0]["headline"]
    else:
        (found,) = [
            row["estimate"]
            for signal in result["signals"]
            for row in signal["measurements"]
            if row["metric"] == metric
            and (row["layer"], row["tensor"], row["stratum"]) == (None, None, None)
        ]
    return found["value"], found["stderr"] or 0.0


def test_a_trained_model_against_itself_is_exactly_zero_and_passes(ladder):
    code, result = ladder["itself"]
    values = {name: estimate(result, name)[0] for name in (*GROWING, "curvature-shift")}
    assert values == dict.fromkeys(values, 0.0)
    assert code == 0


@pytest.mark.parametrize("metric", GROWING)
def test_a_larger_dose_is_a_larger_divergence(metric, ladder):
    values = {dose: estimate(ladder[dose][1], metric) for dose in DOSES}
    shown = ", ".join(f"{dose} {v:.4g} ± {e:.2g}" for dose, (v, e) in values.items())
    light, middle, careless = (value for value, _ in values.values())
    assert 0.0 < light < middle < careless, f"{metric}: {shown}"


def test_the_largest_dose_shifts_curvature_more_than_the_smallest_beyond_noise(ladder):
    light, light_error = estimate(ladder["light"][1], "curvature-shift")
    careless, careless_error = estimate(ladder["careless"][1], "curvature-shift")
    shown = f"{light:.4g} ± {light_error:.2g} and {careless:.4g} ± {careless_error:.2g}"
    assert careless - light > light_error + careless_error, shown


def test_the_careless_dose_is_blocked_and_the_light_one_is_not(ladder):
    codes = {name: code for name, (code, _) in ladder.items()}
    for name, (code, result) in ladder.items():
        figures = {metric: estimate(result, metric) for metric in (*GROWING, *ALSO_SHOWN)}
        shown = ", ".join(f"{metric} {v:.3g} ± {e:.2g}" for metric, (v, e) in figures.items())
        print(f"{name}: exit {code}; {shown}")  # noqa: T201 - the figures, for pytest -rP
    assert (codes["light"], codes["careless"]) == (0, 10), codes
