"""Whole scans of adapters: an adapter and its merged twin are one candidate."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import WEIGHTS, build_base, edit_json, perturb, scan

from sdi_gate.errors import IncomparableError, NotFoundError, UsageError
from sdi_gate.gate.procedure import Effects, run_scan
from sdi_gate.models.folder import FolderSource
from sdi_gate.models.ref import Scheme
from sdi_gate.policy.facts import Tier
from sdi_gate.progress import NullProgress

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

MODULES = ["q_proj", "v_proj", "down_proj"]
VARIANTS = {
    "lora": {"r": 4, "lora_alpha": 16},
    "rslora": {"r": 4, "lora_alpha": 16, "use_rslora": True},
    "patterns": {
        "r": 4,
        "lora_alpha": 8,
        "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {"v_proj": 32},
    },
    "dora": {"r": 4, "lora_alpha": 8, "use_dora": True},
    "saved-head": {"r": 4, "lora_alpha": 8, "modules_to_save": ["lm_head"]},
    "bias": {"r": 4, "lora_alpha": 8, "bias": "all"},
}


def adapt(base, folder, *, seed=1, zero=False, **config):
    """Put an adapter on a saved base with PEFT; save it, and the merged model."""
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - PEFT's own base

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    chosen = {"target_modules": MODULES, "task_type": "CAUSAL_LM"} | config
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**chosen))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                noise = 0.05 * torch.randn(parameter.shape, generator=generator)
                parameter.add_(noise) if not zero else None
    wrapped.save_pretrained(folder / "adapter")
    wrapped.merge_and_unload().save_pretrained(folder / "merged")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, folder / "merged" / name)
    return folder / "adapter", folder / "merged"


def numbers(result):
    found = {}
    for signal in result.signals:
        if signal.estimate is None:
            continue
        found[signal.name, "headline"] = signal.estimate.value
        for row in signal.measurements:
            key = (signal.name, row.metric, row.layer, row.tensor, row.stratum)
            found[key] = row.estimate.value
    return found


@pytest.fixture
def base(tmp_path):
    return build_base(tmp_path / "base")


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_adapter_and_its_merged_twin_give_the_same_numbers(base, tmp_path, variant):
    adapter, merged = adapt(base, tmp_path, **VARIANTS[variant])
    one, other = scan(base, adapter), scan(base, merged)
    assert one.tier.ran is other.tier.ran is Tier.FULL
    assert one.alignment.coverage == other.alignment.coverage == 1.0
    ours, theirs = numbers(one), numbers(other)
    assert ours.keys() == theirs.keys()
    # Ranks of an update are taken off its factors or off a difference of float32 numbers, whose
    # rounding fills the directions that the factors do not have.
    for key in ours:
        assert ours[key] == pytest.approx(theirs[key], rel=2e-3, abs=2e-5), key
    assert one.sdi.estimate.value == pytest.approx(other.sdi.estimate.value, rel=1e-4)
    assert one.sdi.estimate.value > 0.0


@pytest.mark.parametrize("variant", ["lora", "rslora"])
def test_an_adapter_that_adds_nothing_scores_exactly_zero(base, tmp_path, variant):
    adapter, _ = adapt(base, tmp_path, zero=True, **VARIANTS[variant])
    result = scan(base, adapter)
    assert result.tier.ran is Tier.FULL
    assert result.sdi.estimate.value == 0.0
    assert all(signal.estimate.value == 0.0 for signal in result.signals)
    # Every number is that of the base beside itself, to the bit.
    assert numbers(result) == numbers(scan(base, base))


def test_the_singular_values_of_the_update_are_never_those_of_a_dense_matrix(
    base, tmp_path, monkeypatch
):
    from sdi_gate.signals import matrices  # noqa: PLC0415 - patched

    adapter, _ = adapt(base, tmp_path, **(VARIANTS["lora"] | {"target_modules": "all-linear"}))
    seen = []
    dense = matrices.gram_of_update

    def spy(pair):
        seen.append(pair)
        return dense(pair)

    monkeypatch.setattr(matrices, "gram_of_update", spy)
    result = scan(base, adapter, "weights")
    adapted = {pair.name for pair in result.alignment.paired if "_proj" in pair.name}
    assert len(adapted) == 14
    # Not of embedding and head either: the adapter leaves them alone, and equal ones need none.
    assert seen == []


def test_an_adapter_says_what_it_adds(base, tmp_path):
    adapter, _ = adapt(base, tmp_path, **VARIANTS["lora"])
    result = scan(base, adapter, "weights")
    assert result.candidate.adapter is not None
    assert "6 tensors" in result.candidate.adapter
    assert result.base.adapter is None
    assert result.candidate.snapshot.digest != result.base.snapshot.digest


def test_the_scale_is_part_of_an_adapters_identity(base, tmp_path):
    adapter, _ = adapt(base, tmp_path, **VARIANTS["lora"])
    weak = tmp_path / "weak"
    shutil.copytree(adapter, weak)
    edit_json(weak / "adapter_config.json", lora_alpha=4)
    strong, faint = scan(base, adapter, "weights"), scan(base, weak, "weights")
    assert strong.candidate.snapshot.digest != faint.candidate.snapshot.digest
    geometry = [r.signals[0].estimate.value for r in (strong, faint)]
    assert geometry[0] == pytest.approx(4 * geometry[1], rel=1e-9)


def test_the_layout_that_mlflow_stores_is_the_same_candidate(base, tmp_path):
    adapter, _ = adapt(base, tmp_path, **VARIANTS["lora"])
    stored = tmp_path / "mlflow"
    (stored / "model").mkdir(parents=True)
    (stored / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
    shutil.copytree(adapter, stored / "peft")
    shutil.copy(base / "config.json", stored / "model" / "config.json")
    tensors = load_file(base / WEIGHTS)
    wrapped = {}
    for name, tensor in tensors.items():
        module = name.removesuffix(".weight").rpartition(".")[2]
        kept = name.replace(".weight", ".base_layer.weight") if module in MODULES else name
        wrapped[kept] = tensor.clone()
        if module in MODULES:
            for part in "AB":
                wrapped[name.replace(".weight", f".lora_{part}.default.weight")] = torch.ones(2)
    save_file(wrapped, stored / "model" / WEIGHTS, metadata={"format": "pt"})
    one, other = scan(base, adapter, "weights"), scan(base, stored, "weights")
    assert numbers(one) == pytest.approx(numbers(other), rel=1e-3, abs=1e-6)


def test_an_adapter_on_another_base_than_the_stored_one_shows_both_differences(base, tmp_path):
    adapter, _ = adapt(base, tmp_path, **VARIANTS["lora"])
    other = perturb(base, tmp_path / "other", lambda t: t["model.norm.weight"].mul_(3))
    rows = {
        row.layer: row.estimate.value
        for row in scan(other, adapter, "weights").signals[0].measurements
        if row.metric == "relative-distance" and row.tensor is None and row.layer
    }
    # Put on the base that is given: what differs between two bases is no part of an adapter.
    assert rows["other"] == 0.0
    assert rows["layers.0"] > 0.0


def scan_without_base(candidate, sources):
    from dataclasses import replace  # noqa: PLC0415 - one test's tool

    from tiny_models import request_of  # noqa: PLC0415

    request = replace(request_of(candidate, candidate, "weights"), base=None)
    return run_scan(request, Effects(sources=sources, progress=NullProgress()))


def test_the_base_is_taken_from_the_adapter_when_none_is_given(base, tmp_path):
    adapter, _ = adapt(base, tmp_path, **VARIANTS["lora"])
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="org/base", revision="v1")

    class Hub:
        def fetch(self, ref, progress):
            assert (ref.location, ref.revision) == ("org/base", "v1")
            from sdi_gate.models.ref import ModelRef  # noqa: PLC0415

            return FolderSource().fetch(ModelRef.parse(f"file:{base}"), progress)

    result = scan_without_base(adapter, {Scheme.FILE: FolderSource(), Scheme.HUB: Hub()})
    assert result.signals[0].estimate.value > 0.0
    assert any("named by the candidate itself" in notice for notice in result.notices)


def scan_from_hub(base, adapter, location):
    """Scan an adapter on a base that a Hub holds under a name."""
    from dataclasses import replace  # noqa: PLC0415 - one test's tool

    from tiny_models import request_of  # noqa: PLC0415

    from sdi_gate.models.ref import ModelRef  # noqa: PLC0415

    class Hub:
        def fetch(self, ref, progress):
            found = FolderSource().fetch(ModelRef.parse(f"file:{base}"), progress)
            return replace(found, ref=ref)

    request = request_of(base, adapter, "weights")
    request = replace(request, base=ModelRef.parse(f"hf:{location}"))
    sources = {Scheme.FILE: FolderSource(), Scheme.HUB: Hub()}
    return run_scan(request, Effects(sources=sources, progress=NullProgress()))


def test_an_adapter_on_another_base_than_it_names_is_a_notice(base, tmp_path):
    adapter, _ = adapt(base, tmp_path, **VARIANTS["lora"])
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="org/v1")
    (notice,) = scan_from_hub(base, adapter, "org/v2").notices
    assert notice == "the adapter names 'org/v1' as its base, and was put on hf:org/v2"
    found = scan_from_hub(base, adapter, "Org/V1")
    assert found.notices == ()
    assert found.candidate.adapter.endswith("it names 'org/v1' as its base")


def test_a_base_that_cannot_be_had_is_said_to_be_the_adapters_word(base, tmp_path):
    adapter, _ = adapt(base, tmp_path, **VARIANTS["lora"])
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="org/gone")

    class Hub:
        def fetch(self, ref, _progress):
            msg = f"no such model: {ref}"
            raise NotFoundError(msg, hint="check the name")

    with pytest.raises(NotFoundError, match=r"base that the adapter file:.* names") as caught:
        scan_without_base(adapter, {Scheme.FILE: FolderSource(), Scheme.HUB: Hub()})
    assert caught.value.hint == "check the name; or give the base with --base"


def test_a_path_that_an_adapter_names_is_never_followed(base, tmp_path):
    adapter, _ = adapt(base, tmp_path, **VARIANTS["lora"])
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    with pytest.raises(UsageError, match="base"):
        scan_without_base(adapter, {Scheme.FILE: FolderSource()})


def test_without_a_base_the_candidate_must_be_an_adapter(base):
    with pytest.raises(UsageError, match="no adapter"):
        scan_without_base(base, {Scheme.FILE: FolderSource()})


def test_an_adapter_is_no_base(base, tmp_path):
    adapter, _ = adapt(base, tmp_path, **VARIANTS["lora"])
    with pytest.raises(UsageError, match="is an adapter"):
        scan(adapter, base)


def test_an_adapter_of_another_family_is_refused(base, tmp_path):
    adapter, _ = adapt(base, tmp_path, **VARIANTS["lora"])
    with pytest.raises(IncomparableError):
        scan(build_base(tmp_path / "gpt2", family="gpt2"), adapter)
