"""The tiers above the weights: short of memory at each step, and with a base's profile."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
import torch
from adapter_files import save_adapter
from tiny_models import (
    CPU,
    VOCABULARY,
    WEIGHTS,
    add_noise,
    build_base,
    build_tokenizer,
    edit_json,
    model_of,
    perturb,
    request_of,
    rewrite,
    snapshot,
    tiny_probe,
)

from sdi_gate.errors import FormatError, StorageError, UsageError
from sdi_gate.gate import base_tiers, keys, model_tiers, procedure, room
from sdi_gate.gate import plan as planning
from sdi_gate.gate import profile as profiling
from sdi_gate.gate.models import loading_changes, open_pair
from sdi_gate.gate.plan import make_plan
from sdi_gate.gate.procedure import Effects, judge_scan, run_scan
from sdi_gate.gate.profile import ProfileRequest, make_profile
from sdi_gate.gate.request import CurvatureMethod, TierChoice
from sdi_gate.gate.room import placement_for
from sdi_gate.gate.tier import Machine
from sdi_gate.gate.update import HeldUpdate
from sdi_gate.models.causal_lm import LoadingChanges, load_model
from sdi_gate.models.folder import FolderSource
from sdi_gate.models.ref import Scheme
from sdi_gate.models.tokenizer import load_tokenizer
from sdi_gate.models.tokens import tokenize
from sdi_gate.policy.facts import Tier
from sdi_gate.policy.loader import parse_policy
from sdi_gate.policy.verdict import Status
from sdi_gate.profiles.store import FolderStore, NoStore, Part
from sdi_gate.progress import NullProgress
from sdi_gate.report.build import build_document
from sdi_gate.report.document import dump
from sdi_gate.signals.interface import Outcome, SignalName

CUDA = torch.device("cuda")
MLP = "model.layers.1.mlp.up_proj.weight"
PARTS = (keys.SPECTRA, keys.PROBE, keys.CURVATURE)
PROBE_REUSED = "predictions and activations of the base were taken from its profile"
CURVATURE_REUSED = "curvature draws of the base were taken from its profile"
BY_BLOCKS = "curvature over 8 blocks of layers instead of all parameters at once"


@dataclass
class Store:
    """Keep parts as files do, and note which are asked for."""

    kept: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)

    def load(self, key):
        self.asked.append(key)
        return self.kept.get(key)

    def save(self, key, part):
        tensors = {name: tensor.clone() for name, tensor in part.tensors.items()}
        self.kept[key] = Part(tensors=tensors, facts=json.loads(json.dumps(part.facts)))

    @property
    def parts(self):
        return sorted(key.part for key in self.kept)


def effects():
    return Effects(sources={Scheme.FILE: FolderSource()}, progress=NullProgress())


def scan_with(base, candidate, tier="full", *, store=None, changes=None, **settings):
    request = request_of(base, candidate, tier, **settings)
    request = replace(request, store=store or NoStore(), **(changes or {}))
    return run_scan(request, effects())


def profile_of(base, store, tier="full", **changes):
    request = request_of(base, base, tier)
    asked = {
        "base": request.base,
        "tier": TierChoice(tier),
        "device": CPU,
        "dtype": torch.float32,
        "probe": request.probe,
        "settings": request.settings,
        "store": store,
    }
    return make_profile(ProfileRequest(**(asked | changes)), effects())


def written(result):
    """Return what a result's file would hold, but for the cost."""
    plain = json.loads(dump(build_document(result, None)))
    del plain["cost"]
    return plain


def numbers(result, *names):
    """Return every number of the signals."""
    found = {}
    for signal in result.signals:
        if names and signal.name not in names:
            continue
        found[signal.name] = None if signal.estimate is None else signal.estimate.value
        for row in signal.measurements:
            where = (signal.name, row.metric, row.layer, row.tensor, row.stratum)
            found[where] = row.estimate.value
    return found


def outcome(result, name):
    return next(signal for signal in result.signals if signal.name is name)


def stages(result):
    return [cost.stage for cost in result.stages if not cost.is_part]


def verdict(result, tier):
    head = "apiVersion: sdi-gate/v1\nkind: Policy\nmetadata: {name: t}\n"
    text = f"{head}required-tier: {tier}\nlimits: {{sdi: {{fail: 1.0}}}}\n"
    policy = parse_policy(text.encode(), path="t.yml")
    return judge_scan(result, policy, datetime.now(UTC)).verdict.status


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiers")
    base = build_base(folder / "base")
    return base, perturb(base, folder / "candidate", add_noise(0.05))


@pytest.fixture(scope="module")
def whole(folders):
    """Return the scan to which memory was never short."""
    return scan_with(*folders)


@pytest.fixture(scope="module")
def filled(folders, tmp_path_factory):
    """Return what a scan of another candidate left behind."""
    base, _ = folders
    store = Store()
    first = perturb(base, tmp_path_factory.mktemp("first") / "first", add_noise(0.3, seed=9))
    assert scan_with(base, first, store=store).reused == ()
    assert store.parts == sorted(PARTS)
    return store


def copy_of(store):
    return Store(kept=dict(store.kept))


# Memory.


@pytest.fixture
def short(monkeypatch):
    """Let a function run out of memory in some of its calls, counted from 1."""

    def install(module, name, calls, error=torch.OutOfMemoryError):
        original, done = getattr(module, name), []

        def call(*arguments, **named):
            done.append(arguments)
            if len(done) in calls:
                raise error("made to fail")
            return original(*arguments, **named)

        monkeypatch.setattr(module, name, call)
        return done

    return install


WEIGHT_SIGNALS = (SignalName.WEIGHT_GEOMETRY, SignalName.SPECTRAL_DIVERGENCE)
FORWARD_SIGNALS = (SignalName.REPRESENTATION_DRIFT, SignalName.BEHAVIOUR)
LOWERED = [
    (base_tiers, "load_model", {1}, "loading the base ran out of memory"),
    (
        base_tiers,
        "read_base",
        {1, 2},
        "the base's pass over the probe ran out of memory even with a smaller plan",
    ),
    (base_tiers, "take_head", {1}, "the base's head ran out of memory"),
    (base_tiers, "load_model", {2}, "loading the candidate ran out of memory"),
    (
        model_tiers,
        "compare_candidate",
        {1, 2},
        "the candidate's pass over the probe ran out of memory even with a smaller plan",
    ),
]


@pytest.mark.parametrize("case", LOWERED, ids=[case[3][:40] for case in LOWERED])
def test_without_memory_for_the_forward_passes_the_weights_stand(folders, whole, short, case):
    module, function, calls, reason = case
    done = short(module, function, calls)
    result = scan_with(*folders)
    assert len(done) == max(calls)
    assert (result.tier.ran, result.tier.whole, result.tier.reason) == (
        Tier.WEIGHTS,
        Tier.WEIGHTS,
        reason,
    )
    assert result.probe is None
    for name in (*FORWARD_SIGNALS, SignalName.CURVATURE_SHIFT):
        assert outcome(result, name).outcome is Outcome.NOT_MEASURED
        assert outcome(result, name).estimate is None
        assert reason in outcome(result, name).reason
    ours, theirs = numbers(result, *WEIGHT_SIGNALS), numbers(whole, *WEIGHT_SIGNALS)
    assert ours.items() <= theirs.items()
    assert result.defects == ()
    assert verdict(result, "weights") is Status.PASS
    assert verdict(result, "probe") is Status.INCONCLUSIVE
    assert verdict(result, "full") is Status.INCONCLUSIVE
    assert "curvature" not in stages(result)


def test_what_was_taken_from_a_profile_is_told_though_the_candidate_had_no_memory(
    folders, filled, short
):
    short(base_tiers, "load_model", {2})
    result = scan_with(*folders, store=copy_of(filled))
    assert result.tier.ran is Tier.WEIGHTS
    assert result.reused[1:] == (PROBE_REUSED, CURVATURE_REUSED)


@pytest.mark.parametrize(
    ("module", "name"),
    [(base_tiers, "read_base"), (model_tiers, "compare_candidate")],
    ids=["base", "candidate"],
)
def test_a_pass_over_the_probe_is_tried_again_with_smaller_batches(folders, short, module, name):
    sizes = short(module, name, {1})
    result = scan_with(*folders, batch_size=16)
    assert [[a.batch_size for a in call if hasattr(a, "batch_size")] for call in sizes] == [
        [16],
        [2],
    ]
    assert result.tier.ran is result.tier.whole is Tier.FULL
    assert result.tier.cuts == ()
    assert verdict(result, "full") is Status.PASS
    # All else is what smaller batches from the beginning give, to rounding.
    expected = numbers(scan_with(*folders, batch_size=2))
    assert numbers(result) == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_batches_of_one_are_tried_once(folders, short):
    done = short(base_tiers, "read_base", {1})
    result = scan_with(*folders, "probe", batch_size=1)
    assert len(done) == 1
    assert result.tier.reason == "the base's pass over the probe ran out of memory"


def test_without_memory_for_gradients_the_inputs_are_read_without(folders, whole, short):
    short(base_tiers, "read_outputs", {1})
    result = scan_with(*folders)
    cut = (
        "no comparison of the linear maps in the loss's metric, for reading inputs with gradients"
        " ran out of memory"
    )
    assert (result.tier.ran, result.tier.whole, result.tier.cuts) == (Tier.FULL, Tier.PROBE, (cut,))
    ours, theirs = numbers(result), numbers(whole)
    assert ours.items() < theirs.items()
    missing = {key[1] for key in theirs.keys() - ours.keys()}
    assert missing
    assert all(metric.startswith("loss-metric-") for metric in missing)
    assert verdict(result, "full") is Status.INCONCLUSIVE
    assert verdict(result, "probe") is Status.PASS


NO_INPUTS = "reading inputs ran out of memory even with a smaller plan"


@pytest.mark.parametrize(
    "case",
    [
        (base_tiers, "read_outputs", {1, 2}, NO_INPUTS),
        (model_tiers, "compare_outputs_of", {1}, "comparing the linear maps ran out of memory"),
    ],
    ids=["base", "pairs"],
)
def test_without_memory_for_the_linear_maps_all_else_stands(folders, whole, short, case):
    module, name, calls, why = case
    short(module, name, calls)
    result = scan_with(*folders)
    assert result.tier.ran is Tier.FULL
    assert result.tier.whole is Tier.WEIGHTS
    assert result.tier.cuts == (f"no comparison of the linear maps, for {why}",)
    others = (*FORWARD_SIGNALS, SignalName.CURVATURE_SHIFT)
    assert numbers(result, *others) == numbers(whole, *others)
    assert numbers(result).items() < numbers(whole).items()
    assert all(outcome(result, name).outcome is Outcome.MEASURED for name in SignalName)
    assert verdict(result, "weights") is Status.PASS
    assert verdict(result, "probe") is Status.INCONCLUSIVE


def test_without_memory_for_all_parameters_the_curvature_is_measured_by_blocks(
    folders, whole, short
):
    done = short(base_tiers, "base_draws", {1})
    result = scan_with(*folders)
    methods = [settings.curvature_method for _, _, settings, _ in done]
    assert methods == [CurvatureMethod.JOINT, CurvatureMethod.BLOCKS]
    assert (result.tier.ran, result.tier.whole) == (Tier.PROBE, Tier.PROBE)
    (cut,) = result.tier.cuts
    assert cut.startswith(BY_BLOCKS)
    assert cut.endswith("for the curvature of the base ran out of memory")
    found = outcome(result, SignalName.CURVATURE_SHIFT)
    assert found.outcome is Outcome.MEASURED
    assert ("curvature-blocks", "8") in found.id.parameters
    # Of the update's own curvature there is no number: not measured, and never 0.
    assert all("quadratic" not in row.metric for row in found.measurements)
    assert any("quadratic" in key[1] for key in numbers(whole) if isinstance(key, tuple))
    assert numbers(result, *FORWARD_SIGNALS) == numbers(whole, *FORWARD_SIGNALS)
    assert verdict(result, "full") is Status.INCONCLUSIVE
    assert verdict(result, "probe") is Status.PASS


CANDIDATES = "the candidate's curvature ran out of memory"


@pytest.mark.parametrize(
    "case",
    [
        (
            base_tiers,
            "base_draws",
            {1, 2},
            "the base's curvature ran out of memory even with a smaller plan",
        ),
        (model_tiers, "candidate_draws", {1}, CANDIDATES),
    ],
    ids=["base", "candidate"],
)
def test_without_memory_for_any_curvature_the_probe_stands(folders, whole, short, case):
    module, name, calls, why = case
    done = short(module, name, calls)
    result = scan_with(*folders)
    assert len(done) == max(calls)
    assert (result.tier.ran, result.tier.whole) == (Tier.PROBE, Tier.PROBE)
    assert result.tier.cuts == (f"no curvature, for {why}",)
    found = outcome(result, SignalName.CURVATURE_SHIFT)
    assert (found.outcome, found.estimate) == (Outcome.NOT_MEASURED, None)
    assert numbers(result, *FORWARD_SIGNALS) == numbers(whole, *FORWARD_SIGNALS)
    assert result.sdi.outcome is Outcome.MEASURED
    assert verdict(result, "full") is Status.INCONCLUSIVE
    assert verdict(result, "probe") is Status.PASS


def test_the_way_that_takes_least_is_tried_once(folders, short):
    done = short(base_tiers, "base_draws", {1})
    result = scan_with(*folders, curvature_method=CurvatureMethod.FISHER)
    assert len(done) == 1
    assert result.tier.cuts == ("no curvature, for the base's curvature ran out of memory",)


STEPS = [
    (procedure, "measure_weights"),
    (base_tiers, "load_model"),
    (base_tiers, "read_base"),
    (base_tiers, "read_outputs"),
    (base_tiers, "base_draws"),
    (base_tiers, "take_head"),
    (model_tiers, "compare_candidate"),
    (model_tiers, "candidate_draws"),
    (model_tiers, "compare_outputs_of"),
]


@pytest.mark.parametrize(("module", "name"), STEPS, ids=[name for _, name in STEPS])
def test_every_other_error_passes_through(folders, short, module, name):
    done = short(module, name, {1}, RuntimeError)
    with pytest.raises(RuntimeError, match="made to fail"):
        scan_with(*folders)
    assert len(done) == 1


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that there is a GPU; whatever runs, runs on the CPU."""
    for name, answer in (
        ("reset_peak_memory_stats", None),
        ("synchronize", None),
        ("max_memory_allocated", 1),
        ("get_device_name", "NVIDIA H100"),
    ):
        monkeypatch.setattr(torch.cuda, name, lambda _device, answer=answer: answer)
    rich = Machine(memory_bytes=10**15, rate=1e18, host_bytes=10**15)
    monkeypatch.setattr(planning, "this_machine", lambda *_devices: rich)
    monkeypatch.setattr(base_tiers, "placement_for", lambda *_: CPU)
    tried = []

    def only_on_the_cpu(function, place):
        def call(*arguments):
            device = arguments[place]
            tried.append(device.type)
            if device.type == "cuda":
                raise torch.OutOfMemoryError
            return function(*arguments)

        return call

    measure, compare = procedure.measure_weights, model_tiers.compare_outputs_of
    monkeypatch.setattr(procedure, "measure_weights", only_on_the_cpu(measure, 2))
    monkeypatch.setattr(model_tiers, "compare_outputs_of", only_on_the_cpu(compare, 3))
    return tried


def test_pairs_that_a_gpu_does_not_hold_are_compared_on_the_cpu(folders, whole, gpu):
    result = scan_with(*folders, changes={"device": CUDA})
    assert gpu == ["cuda", "cpu"] * 2
    assert result.tier.ran is result.tier.whole is Tier.FULL
    assert numbers(result) == numbers(whole)
    assert result.environment.device == "cuda (NVIDIA H100)"


@pytest.mark.parametrize("device", [CPU, CUDA], ids=["cpu", "gpu"])
def test_without_memory_for_the_weights_there_is_no_scan(folders, monkeypatch, gpu, device):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(procedure, "measure_weights", fail)
    more = " even with a smaller plan" if device == CUDA else ""
    with pytest.raises(StorageError, match=f"comparing the weights ran out of memory{more}$"):
        scan_with(*folders, "weights", changes={"device": device})
    assert gpu == []


def test_a_large_model_is_spread_over_the_devices_with_room_for_its_passes(folders, monkeypatch):
    asked = []

    def place(model, rooms, dtype):
        asked.append((model, rooms, dtype))
        return "placed"

    monkeypatch.setattr(room, "place_model", place)
    monkeypatch.setattr(room, "free_on", {CUDA: 10**12, CPU: 10**10}.get)
    request = replace(request_of(*folders), devices=(CPU,))
    weights = open_pair(*map(snapshot, folders))
    plan = make_plan(request, weights)
    assert placement_for(request, weights.base, plan) == CPU
    several = replace(request, devices=(CUDA, CPU))
    assert placement_for(several, weights.base, replace(plan, work=None)) == CUDA
    assert asked == []
    assert placement_for(several, weights.base, plan) == "placed"
    ((model, rooms, dtype),) = asked
    assert (model, dtype) == (weights.base, torch.float32)
    share = 4 * 13_520 / plan.work.memory(Tier.FULL).model_bytes
    assert rooms == {CUDA: int(share * 10**12), CPU: int(share * 10**10)}
    assert 0 < share < 1


# The update.


def tie(folder_in, folder_out):
    """Save a copy whose configuration ties the head, and whose file has no head."""
    found = perturb(folder_in, folder_out, lambda tensors: tensors.pop("lm_head.weight"))
    edit_json(found / "config.json", tie_word_embeddings=True)
    return found


def half_precision(tensors):
    for name, tensor in tensors.items():
        tensors[name] = tensor.bfloat16()


def grow(base, folder, rows=8):
    """Save a copy with more tokens, of which those of the base are the same."""
    from safetensors.torch import load_file  # noqa: PLC0415 - beside its only use

    build_base(folder, vocab_size=VOCABULARY + rows)
    old = load_file(base / WEIGHTS)

    def keep(tensors):
        for name, tensor in tensors.items():
            tensors[name] = tensor.clone()
            tensors[name][: len(old[name])] = old[name]

    tokenizer = build_tokenizer()
    tokenizer.add_tokens([f"<new{i}>" for i in range(rows)])
    tokenizer.save_pretrained(folder)
    return rewrite(folder, keep)


def updates(base, candidate, dtype=torch.float32, rounding=None):
    """Return the update of every parameter of the base, and both loaded models' parameters."""
    weights = open_pair(snapshot(base), snapshot(candidate))
    ours, theirs = changes = loading_changes(weights, rounding)
    held = HeldUpdate(weights=weights, changes=theirs)
    models = [
        dict(load_model(model, CPU, dtype, change).model.named_parameters())
        for model, change in zip((weights.base, weights.candidate), changes, strict=True)
    ]
    assert ours.untied == theirs.untied
    return {name: held(name, parameter) for name, parameter in models[0].items()}, *models


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "mixtral", "phimoe"])
def test_the_update_is_what_lies_between_the_two_loaded_models(family, dtype, tmp_path):
    base = build_base(tmp_path / "base", family=family)
    candidate = perturb(base, tmp_path / "candidate", add_noise(0.1))
    found, ours, theirs = updates(base, candidate, dtype)
    assert found.keys() == ours.keys() == theirs.keys()
    for name, update in found.items():
        assert update.dtype is dtype
        expected = theirs[name].detach().float() - ours[name].detach().float()
        assert torch.equal(update, expected.to(dtype)), name
    assert any(update.any() for update in found.values())


@pytest.mark.parametrize("tied_side", [0, 1], ids=["base", "candidate"])
def test_the_update_of_a_head_that_one_of_them_ties_is_there(folders, tmp_path, tied_side):
    tied = tie(folders[tied_side], tmp_path / "tied")
    pair = (tied, folders[1]) if tied_side == 0 else (folders[0], tied)
    found, ours, theirs = updates(*pair)
    assert found.keys() == ours.keys() == theirs.keys() >= {"lm_head.weight"}
    assert all(torch.equal(found[name], theirs[name] - ours[name]) for name in found)


def test_along_rows_that_one_of_them_has_not_there_is_no_moving(folders, tmp_path):
    base, _ = folders
    grown = grow(base, tmp_path / "grown")
    name = "model.embed_tokens.weight"
    forth, ours, _ = updates(base, grown)
    assert all(not update.any() and update.shape == ours[n].shape for n, update in forth.items())
    back, ours, _ = updates(grown, base)
    assert back[name].shape == ours[name].shape == (VOCABULARY + 8, 16)
    assert not back[name].any()


def test_a_tensor_that_the_candidate_has_not_has_no_update(folders):
    weights = open_pair(*map(snapshot, folders))
    held = HeldUpdate(weights=weights, changes=LoadingChanges())
    assert held("other", torch.ones(3)) is None


def test_an_update_is_read_from_disk_once(folders):
    weights = open_pair(*map(snapshot, folders))
    held = HeldUpdate(weights=weights, changes=LoadingChanges())
    first = held(MLP, torch.zeros(24, 16))
    assert held(MLP, torch.zeros(24, 16)) is first


def test_what_rounding_hides_is_no_update(folders, tmp_path):
    base, _ = folders
    rounded = perturb(base, tmp_path / "rounded", half_precision)
    weights = open_pair(snapshot(rounded), snapshot(base))
    changes = LoadingChanges(rounding={MLP: torch.bfloat16})
    ours = weights.base.source.read(weights.base.tensors[MLP]).float()
    assert not HeldUpdate(weights=weights, changes=changes)(MLP, ours).any()
    assert HeldUpdate(weights=weights, changes=LoadingChanges())(MLP, ours).any()


# Profiles.


@pytest.fixture(scope="module")
def candidates(folders, tmp_path_factory):
    """Return candidates of one base that lie in every way beside it."""
    base, near = folders
    folder = tmp_path_factory.mktemp("candidates")
    save_adapter(folder / "adapter", model_of("llama"), _lora(), seed=3)
    return {
        "near": near,
        "copy": perturb(base, folder / "copy"),
        "rounded": perturb(base, folder / "rounded", half_precision),
        "grown": grow(base, folder / "grown"),
        "tied": tie(base, folder / "tied"),
        "adapter": folder / "adapter",
    }


def _lora():
    peft = pytest.importorskip("peft")
    return peft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")


KINDS = ("near", "copy", "rounded", "grown", "tied", "adapter")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_a_profile_changes_no_number(folders, candidates, filled, kind):
    base, store = folders[0], copy_of(filled)
    plain = scan_with(base, candidates[kind])
    if kind in {"rounded", "tied"}:  # for which the base itself is loaded otherwise
        assert written(scan_with(base, candidates[kind], store=store)) == written(plain)
    again = scan_with(base, candidates[kind], store=store)
    assert plain.tier.ran is Tier.FULL
    assert written(plain) == written(again)
    assert plain.reused == ()
    assert PROBE_REUSED in again.reused
    assert CURVATURE_REUSED in again.reused
    if kind == "copy":
        # But for what says where each of the two stands by itself.
        levels = {"cka-similarity", "base-nll", "candidate-nll"}
        levels |= {"hessian-trace-base", "hessian-trace-candidate"}
        moved = {key for key, value in numbers(again).items() if value != 0.0}
        assert {key[1] for key in moved} == levels
        assert again.sdi.estimate.value == again.sdi_plus.estimate.value == 0.0
    if kind in {"near", "adapter"}:
        assert again.sdi.estimate.value > 0.0


def test_the_second_candidate_uses_all_that_the_first_one_left(folders, filled, short):
    read, drawn = short(base_tiers, "read_base", {}), short(base_tiers, "base_draws", {})
    result = scan_with(*folders, store=copy_of(filled))
    assert (read, drawn) == ([], [])
    spectra, *others = result.reused
    assert spectra == "spectra of 16 matrices of the base were taken from its profile"
    assert others == [PROBE_REUSED, CURVATURE_REUSED]


def test_a_profile_that_was_made_ahead_serves_the_first_candidate(folders, whole):
    store = Store()
    assert profile_of(folders[0], store) == PARTS
    assert store.parts == sorted(PARTS)
    result = scan_with(*folders, store=store)
    assert len(result.reused) == 3
    assert written(result) == written(whole)
    # What is there already is made once only.
    kept = dict(store.kept)
    assert profile_of(folders[0], store) == PARTS
    assert store.kept == kept
    assert all(store.kept[key] is part for key, part in kept.items())


@pytest.mark.parametrize(
    ("tier", "parts"), [("weights", PARTS[:1]), ("probe", PARTS[:2]), ("full", PARTS)]
)
def test_a_profile_holds_what_its_tier_needs(folders, tier, parts):
    store = Store()
    assert profile_of(folders[0], store, tier) == parts
    assert store.parts == sorted(parts)


def test_numbers_of_a_base_that_are_not_finite_are_not_kept(folders, tmp_path):
    # Each weight is a number; what the model makes of them is not.
    large = perturb(folders[0], tmp_path / "large", lambda tensors: tensors[MLP].mul_(1e38))
    store = Store()
    assert profile_of(large, store) == (keys.SPECTRA,)
    assert store.parts == [keys.SPECTRA]
    broken = perturb(folders[0], tmp_path / "broken", lambda t: t[MLP].fill_(torch.nan))
    with pytest.raises(FormatError, match="holds NaN or infinity"):
        profile_of(broken, store)


def test_an_adapter_is_no_base_of_a_profile(candidates):
    with pytest.raises(UsageError, match="is an adapter; expected a model with weights"):
        profile_of(candidates["adapter"], Store())


@pytest.mark.parametrize("name", ["load_model", "read_base"])
def test_without_memory_for_its_base_there_is_no_profile_beyond_the_spectra(folders, short, name):
    short(base_tiers, name, {1, 2})
    store = Store()
    with pytest.raises(StorageError, match="ran out of memory"):
        profile_of(folders[0], store)
    assert store.parts == [keys.SPECTRA]


def test_without_memory_for_curvature_a_profile_has_none(folders, short):
    short(base_tiers, "base_draws", {1, 2})
    assert profile_of(folders[0], Store()) == PARTS[:2]


def test_a_base_that_changes_while_it_is_measured_gives_no_profile(folders, tmp_path, monkeypatch):
    base = perturb(folders[0], tmp_path / "base")
    read = profiling.read_probe

    def swap(*arguments):
        rewrite(base, lambda tensors: tensors[MLP].neg_())
        return read(*arguments)

    monkeypatch.setattr(profiling, "read_probe", swap)
    with pytest.raises(Exception, match="changed while"):
        profile_of(base, Store())


# What a part depends on.


def tokens_of(folder, probe=None, length=16):
    return tokenize(probe or tiny_probe(), load_tokenizer(snapshot(folder)), length)


def keys_of(folder, tokens=None, changes=None, **request):
    weights = open_pair(snapshot(folder), snapshot(folder))
    settings = request.pop("settings", {})
    asked = replace(request_of(folder, folder, **settings), **request)
    tokens = tokens or tokens_of(folder)
    changes = changes or LoadingChanges()
    return (
        keys.spectra_key(weights.base, asked),
        keys.probe_key(weights.base, asked, tokens, changes),
        keys.curvature_key(weights.base, asked, tokens, changes),
    )


S, P, C = PARTS
DEPENDS = {
    "top_k": ({"settings": {"top_k": 5}}, {S}),
    "batch size": ({"settings": {"batch_size": 5}}, {P, C}),
    "seed": ({"settings": {"seed": 1}}, {C}),
    "draws": ({"settings": {"curvature_draws": 3}}, {C}),
    "samples of draws": ({"settings": {"curvature_samples": 3}}, {C}),
    "tokens of draws": ({"settings": {"curvature_tokens": 3}}, {C}),
    "method": ({"settings": {"curvature_method": CurvatureMethod.BLOCKS}}, {C}),
    "blocks": ({"settings": {"curvature_blocks": 3}}, {C}),
    "type": ({"dtype": torch.bfloat16}, {P, C}),
    "device": ({"devices": (CPU, CPU)}, {S, P, C}),
    "rounding": ({"changes": LoadingChanges(rounding={MLP: torch.float16})}, {P, C}),
    "untied": ({"changes": LoadingChanges(untied=frozenset({"lm_head.weight"}))}, {P, C}),
    "nothing": ({"settings": {"output_tokens": 3}}, set()),
}


@pytest.mark.parametrize("what", DEPENDS)
def test_a_part_is_named_by_what_its_numbers_depend_on(folders, what):
    changes, others = DEPENDS[what]
    plain, changed = keys_of(folders[0]), keys_of(folders[0], **changes)
    assert {a.part for a, b in zip(plain, changed, strict=True) if a != b} == others


def test_other_threads_tokens_processors_and_weights_are_other_parts(
    folders, tmp_path, monkeypatch
):
    base, candidate = folders
    plain = keys_of(base)

    def changed(**how):
        return [a != b for a, b in zip(plain, keys_of(base, **how), strict=True)]

    assert changed(tokens=tokens_of(base, length=15)) == [False, True, True]
    assert changed(tokens=tokens_of(base, tiny_probe(4))) == [False, True, True]
    assert all(a != b for a, b in zip(plain, keys_of(candidate), strict=True))
    turned = perturb(base, tmp_path / "turned")
    edit_json(turned / "config.json", rms_norm_eps=0.5)
    assert open_pair(snapshot(turned), snapshot(turned)).base.snapshot.digest == plain[0].base
    assert all(a != b for a, b in zip(plain, keys_of(turned), strict=True))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert changed() == [False, True, True]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert changed() == [False, False, False]
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another")
    assert changed() == [True, True, True]


# How a scan is asked for, and which parts of a full profile it uses.
OTHERWISE = {
    "seed": ({"seed": 1}, {}, {S, P}),
    "top_k": ({"top_k": 3}, {}, {P, C}),
    "probe": ({"probe": tiny_probe(4)}, {}, {S}),
    "type": ({}, {"dtype": torch.bfloat16}, {S}),
}


def used(result):
    words = {"spectra of": S, "predictions": P, "curvature": C}
    taken = [said for said in result.reused if said.endswith("were taken from its profile")]
    assert len(taken) == len(result.reused)
    return {part for start, part in words.items() if any(t.startswith(start) for t in taken)}


@pytest.mark.parametrize("what", OTHERWISE)
def test_a_scan_that_is_asked_for_otherwise_uses_what_does_not_depend_on_it(folders, filled, what):
    settings, changes, parts = OTHERWISE[what]
    result = scan_with(*folders, store=copy_of(filled), changes=changes, **settings)
    assert used(result) == parts
    assert written(result) == written(scan_with(*folders, changes=changes, **settings))


def test_with_other_threads_only_the_spectra_are_used(folders, filled):
    torch.set_num_threads(2)
    try:
        result = scan_with(*folders, store=copy_of(filled))
        plain = scan_with(*folders)
    finally:
        torch.set_num_threads(1)
    assert used(result) == {S}
    assert written(result) == written(plain)


def test_the_same_weights_in_another_configuration_are_another_base(folders, filled, tmp_path):
    base, candidate = (perturb(folder, tmp_path / folder.name) for folder in folders)
    for folder in (base, candidate):
        edit_json(folder / "config.json", rope_parameters=None, rope_theta=50.0)
    store = copy_of(filled)
    result = scan_with(base, candidate, store=store)
    assert {key.base for key in store.asked} == {key.base for key in filled.kept}
    assert result.reused == ()
    assert Counter(key.part for key in store.kept) == dict.fromkeys(PARTS, 2)
    assert written(result) == written(scan_with(base, candidate))


# Forgery.


def forge_spectra(part):
    tensors = {name: tensor.clone() for name, tensor in part.tensors.items()}
    tensors["0.s"][0] *= 1.001
    return Part(tensors=tensors, facts=part.facts)


def forge_vectors(part):
    tensors = {name: tensor.clone() for name, tensor in part.tensors.items()}
    tensors["0.V"][:, 0] = tensors["0.V"][:, 1]
    return Part(tensors=tensors, facts=part.facts)


def forge_states(part):
    tensors = {name: tensor * 1.0001 for name, tensor in part.tensors.items()}
    return Part(tensors=tensors, facts=part.facts)


def forge_activations(part):
    tensors = dict(part.tensors)
    tensors["layers.1"] = tensors["layers.1"] + 1e-4
    return Part(tensors=tensors, facts=part.facts)


def forge_shapes(part):
    tensors = {name: tensor[:-1] for name, tensor in part.tensors.items()}
    return Part(tensors=tensors, facts=part.facts)


def forge_draws(part):
    facts = json.loads(json.dumps(part.facts))
    for table in facts["tables"]:  # whichever of them is checked
        table[0][2] *= 1 + 1e-12
    return Part(tensors=part.tensors, facts=facts)


SPECTRA_REFUSED = (
    "1 spectra in the base's profile did not agree with the base, and were computed anew"
)
PROBE_REFUSED = (
    "predictions and activations in the base's profile did not agree with the base, and were"
    " measured anew"
)
CURVATURE_REFUSED = (
    "curvature draws in the base's profile did not agree with the base, and were measured anew"
)
FORGED = {
    "values": (S, forge_spectra, SPECTRA_REFUSED),
    "vectors": (S, forge_vectors, SPECTRA_REFUSED),
    "states": (P, forge_states, PROBE_REFUSED),
    "activations": (P, forge_activations, PROBE_REFUSED),
    "draws": (C, forge_draws, CURVATURE_REFUSED),
}


def forged(filled, folder, name, forge):
    """Return a folder with one part changed, all of whose digests are right."""
    store = FolderStore(folder, 10**9)
    for key, part in filled.kept.items():
        store.save(key, forge(part) if key.part == name else part)
    return store


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_part_is_refused_said_and_replaced(folders, whole, filled, tmp_path, what):
    name, forge, sentence = FORGED[what]
    store = forged(filled, tmp_path / "cache", name, forge)
    result = scan_with(*folders, store=store)
    assert sentence in result.reused
    assert written(result) == written(whole)
    again = scan_with(*folders, store=store)
    assert used(again) == set(PARTS)
    assert written(again) == written(whole)


def test_a_part_that_does_not_fit_the_probe_is_none(folders, whole, filled, tmp_path):
    store = forged(filled, tmp_path / "cache", P, forge_shapes)
    result = scan_with(*folders, store=store)
    assert used(result) == {S, C}
    assert written(result) == written(whole)


def test_a_profile_that_was_moved_under_another_base_is_refused(folders, filled):
    base, candidate = folders
    swapped = {
        key: filled.kept[mine]
        for key in keys_of(candidate)
        for mine in filled.kept
        if mine.part == key.part
    }
    result = scan_with(candidate, base, store=Store(kept=swapped))
    assert PROBE_REFUSED in result.reused
    assert CURVATURE_REFUSED in result.reused
    assert sum("were taken" in said for said in result.reused) == 0
    assert written(result) == written(scan_with(candidate, base))


def test_a_plan_that_was_made_anew_is_said_and_followed(folders, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(
        base_tiers, "replan", lambda plan, *_: base_tiers.without_curvature(plan, "a slow machine")
    )
    result = scan_with(*folders)
    assert (result.tier.ran, result.tier.cuts) == (
        Tier.PROBE,
        ("no curvature, for a slow machine",),
    )
    assert "plan: less is measured: no curvature, for a slow machine" in caplog.text
