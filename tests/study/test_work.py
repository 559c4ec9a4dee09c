import json

import pytest
from study_manifests import manifest_of, pair_of, planned, public_pair
from tiny_models import add_noise, build_base, perturb, tiny_probe

from sdi_gate.models import probe
from sdi_gate.models.ref import Scheme
from sdi_gate.study.manifest import Population
from sdi_gate.study.organisms import build
from sdi_gate.study.organisms.build import model_folder, world_probe
from sdi_gate.study.work import EvaluateWork, MeasureWork, TaskSource, locate, probe_of, tasks_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of the work, with a base and a candidate where the builder puts them."""
    work = tmp_path_factory.mktemp("work")
    base = build_base(model_folder("llama-s-0", work))
    perturb(base, model_folder("llama-s-0/noise-2", work), add_noise(0.05))
    for name, recipe in (
        ("llama-s-0", {"steps": 100}),
        ("llama-s-0/noise-2", {"method": "noise", "relative": 2.0}),
    ):
        made_by = json.dumps(build._made_by(recipe))
        (model_folder(name, work) / "recipe.json").write_text(made_by, encoding="utf-8")
    samples = [{"stratum": s.stratum, "text": s.text} for s in tiny_probe().samples]
    (work / "probe.jsonl").write_text("\n".join(map(json.dumps, samples)), encoding="utf-8")
    (work / "tasks").mkdir()
    item = {"prompt": "the ferry", "choices": ["came in late", "fell"], "answer": 0}
    (work / "tasks" / "truth.jsonl").write_text(f"{json.dumps(item)}\n" * 3, encoding="utf-8")
    return work


def test_organisms_are_measured_and_evaluated_where_the_builder_put_them(folder):
    settings = {"tier": "probe", "evaluation_limit": 2}
    manifest = manifest_of(pair_of(), probe=str(folder / "probe.jsonl"), settings=settings)
    (entry,) = planned(manifest)
    measured = MeasureWork(manifest=manifest, folder=folder, device="cpu")(entry.measure)
    assert measured["tier"] == "probe"
    assert measured["features"]["weight-geometry/relative-distance"]["overall"] > 0.0
    tests = TaskSource(items=folder / "tasks")
    work = EvaluateWork(manifest=manifest, folder=folder, tests=tests, device="cpu")
    for unit in (entry.base, entry.candidate):
        found = work(unit)
        assert set(found["scores"]) == {"truth"}
        assert found["scores"]["truth"]["n"] == 2
        assert found["commit"] is None


def test_a_public_model_is_of_the_hub_with_its_revision(folder):
    pairs = (public_pair("a", "o/base", "o/tune"),)
    manifest = manifest_of(*pairs, population="public", scale="hub")
    ref = locate(manifest.pairs[0].base, folder)
    assert (ref.scheme, ref.location, ref.revision) == (Scheme.HUB, "o/base", "main")


def test_a_manifest_names_the_probe_set_that_ships_or_that_of_the_world():
    assert probe_of(manifest_of()).digest == probe.load_default().digest
    assert probe_of(manifest_of(probe="world")).digest == world_probe().digest


def test_organisms_have_five_axes_and_the_micro_benchmark_of_each():
    axes = [task.axis for task in tasks_of(Population.ORGANISMS, TaskSource())]
    assert axes[5:] == [f"micro-{axis}" for axis in axes[:5]]
    assert sorted(axes[:5]) == ["grammar", "instruction", "knowledge", "safety", "truth"]
