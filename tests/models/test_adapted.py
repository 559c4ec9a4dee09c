import dataclasses
import math
from dataclasses import replace

import pytest
import torch
from adapter_files import DictTensors, lora_by_hand, open_folder, state_of
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.models.adapted import AdaptedTensors, AdapterFacts
from sdi_gate.models.adapters import changes as changes_module
from sdi_gate.models.adapters.changes import Change, Kind, apply_change, thin_factors
from sdi_gate.models.adapters.names import Part
from sdi_gate.models.tensors import TensorInfo
from sdi_gate.signals.geometry import sums_of_squares, sums_of_squares_low_rank
from sdi_gate.signals.linalg import LowRank, MatrixPair
from sdi_gate.signals.matrices import compare_matrices

CPU = torch.device("cpu")
Q = "base_model.model.model.layers.0.q_proj"
NAME = "model.layers.0.q_proj.weight"
SEEDS = st.integers(0, 2**32)


def random(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def base_tensors(dtype=torch.float32, m=20, n=12):
    return {
        "model.embed_tokens.weight": random(30, n, seed=1, dtype=dtype),
        NAME: random(m, n, seed=2, dtype=dtype),
        "model.norm.weight": random(n, seed=3, dtype=dtype),
    }


def adapted(folder, base, *, m=20, n=12, r=2, scale=0.05, tied=None, **config):
    tensors = {
        f"{Q}.lora_A.weight": random(r, n, seed=4),
        f"{Q}.lora_B.weight": random(m, r, seed=5) * scale,
    }
    adapter = open_folder(lora_by_hand(folder, tensors, **({"r": r} | config)))
    source = DictTensors(base)
    return AdaptedTensors(source, adapter.changes(source, tied or {}, ()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_what_the_adapter_leaves_alone_is_the_bases(tmp_path, dtype):
    base = base_tensors(dtype)
    candidate = adapted(tmp_path, base)
    assert [*candidate.tensors] == [*base]
    assert candidate.changed == {NAME}
    for name in base.keys() - candidate.changed:
        assert candidate.read(candidate.tensors[name]) is base[name]
        assert candidate.tensors[name] == DictTensors(base).tensors[name]
        assert candidate.update(name) is None


@pytest.mark.parametrize(
    ("dtype", "read"),
    [(torch.float64, "F64"), (torch.float32, "F32"), (torch.bfloat16, "F32")],
    ids=str,
)
def test_an_adapted_tensor_is_the_rounded_sum_in_float64(tmp_path, dtype, read):
    base = base_tensors(dtype)
    candidate = adapted(tmp_path, base)
    update = candidate.update(NAME)
    total = base[NAME].double() + update.left @ update.right
    tensor = candidate.read(candidate.tensors[NAME])
    assert candidate.tensors[NAME].dtype == read
    assert torch.equal(tensor, total.to(tensor.dtype))
    assert tensor.dtype == (torch.float64 if read == "F64" else torch.float32)


def test_negative_zeros_survive_an_update_of_zeros(tmp_path):
    base = base_tensors()
    base[NAME].fill_(-0.0)
    candidate = adapted(tmp_path, base, scale=0.0)
    assert bool(torch.signbit(candidate.read(candidate.tensors[NAME])).all())


def test_the_base_is_not_modified(tmp_path):
    base = base_tensors()
    kept = base[NAME].clone()
    candidate = adapted(tmp_path, base)
    state_of(candidate)
    assert torch.equal(base[NAME], kept)


def test_an_adapter_and_its_merged_twin_measure_the_same(tmp_path):
    base = base_tensors()
    candidate = adapted(tmp_path, base)
    merged = candidate.read(candidate.tensors[NAME])
    found = candidate.update(NAME)
    update = LowRank(left=found.left, right=found.right)
    pair = MatrixPair(base=base[NAME], candidate=merged, device=CPU, update=update)
    with_update = dataclasses.astuple(compare_matrices(pair))
    without = dataclasses.astuple(compare_matrices(dataclasses.replace(pair, update=None)))
    assert with_update == pytest.approx(without, rel=1e-5, abs=1e-9)
    squares = sums_of_squares_low_rank(base[NAME], update, CPU)
    assert squares == pytest.approx(sums_of_squares(base[NAME], merged, CPU), rel=1e-5)


def test_an_adapter_of_zeros_measures_exactly_nothing(tmp_path):
    base = base_tensors(torch.bfloat16)
    candidate = adapted(tmp_path, base, scale=0.0)
    merged = candidate.read(candidate.tensors[NAME])
    found = candidate.update(NAME)
    update = LowRank(left=found.left, right=found.right)
    assert sums_of_squares_low_rank(base[NAME], update, CPU)[1] == 0.0
    for given_update in (update, None):
        pair = MatrixPair(base=base[NAME], candidate=merged, device=CPU, update=given_update)
        assert dataclasses.astuple(compare_matrices(pair)) == (0.0,) * 7


def test_an_untied_parameter_comes_from_the_one_it_was_tied_to(tmp_path):
    base = base_tensors()
    tensors = {
        "base_model.model.lm_head.lora_A.weight": random(2, 12),
        "base_model.model.lm_head.lora_B.weight": random(30, 2),
    }
    adapter = open_folder(lora_by_hand(tmp_path, tensors, target_modules=["lm_head"]))
    source, tied = DictTensors(base), {"lm_head.weight": "model.embed_tokens.weight"}
    candidate = AdaptedTensors(source, adapter.changes(source, tied, ()))
    assert candidate.untied == {"lm_head.weight"}
    assert [*candidate.tensors][-1] == "lm_head.weight"
    update = candidate.update("lm_head.weight")
    total = base["model.embed_tokens.weight"].double() + update.left @ update.right
    assert torch.equal(candidate.read(candidate.tensors["lm_head.weight"]), total.float())


def change(kind, shape, *, flipped=False, **parts):
    infos = {
        Part(name): TensorInfo(name=name, dtype="F32", shape=tuple(part.shape), shard="x")
        for name, part in parts.items()
    }
    described = Change(
        target="w", kind=kind, shape=shape, start="w", parts=infos, scale=0.5, flipped=flipped
    )
    return described, {Part(name): part for name, part in parts.items()}


def cases(m, n, r, seed):
    """Yield every kind of change with what it is by its definition."""
    W = random(m, n, seed=seed, dtype=torch.float64)
    A, B = random(r, n, seed=seed + 1), random(m, r, seed=seed + 2)
    magnitude, across = random(m, seed=seed + 3).abs(), random(n, seed=seed + 4).abs()
    V = W + 0.5 * (B.double() @ A.double())
    yield change(Kind.LORA, (m, n), lora_A=A, lora_B=B), W, V
    flipped = {"lora_embedding_A": B.mT.contiguous(), "lora_embedding_B": A.mT.contiguous()}
    yield change(Kind.LORA, (m, n), flipped=True, **flipped), W, V
    dora = V / V.norm(dim=1, keepdim=True) * magnitude.double()[:, None]
    parts = {"lora_A": A, "lora_B": B, "lora_magnitude_vector": magnitude[None]}
    yield change(Kind.DORA, (m, n), **parts), W, dora
    dora = V / V.norm(dim=0) * across.double()
    yield (
        change(Kind.DORA, (m, n), flipped=True, lora_magnitude_vector=across, **flipped),
        W,
        dora,
    )
    w1a, w1b = random(m, r, seed=seed + 5), random(r, n, seed=seed + 6)
    product = (w1a.double() @ w1b.double()) * (B.double() @ A.double())
    parts = {"hada_w1_a": w1a, "hada_w1_b": w1b, "hada_w2_a": B, "hada_w2_b": A}
    yield change(Kind.LOHA, (m, n), **parts), W, W + 0.5 * product
    w1 = random(2, 3, seed=seed + 7)
    W2 = random(2 * m, 3 * n, seed=seed + 8, dtype=torch.float64)
    product = torch.kron(w1.double(), B.double() @ A.double())
    parts = {"lokr_w1": w1, "lokr_w2_a": B, "lokr_w2_b": A}
    yield change(Kind.LOKR, (2 * m, 3 * n), **parts), W2, W2 + 0.5 * product


@given(
    m=st.integers(1, 9),
    n=st.integers(1, 9),
    r=st.integers(1, 4),
    seed=SEEDS,
    elements=st.sampled_from([1, 7, 1 << 23]),
)
def test_every_kind_of_change_is_its_definition_in_whatever_chunks(m, n, r, seed, elements):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changes_module, "_CHUNK_ELEMENTS", elements)
        for (described, parts), W, expected in cases(m, n, r, seed):
            found = apply_change(described, W, parts)
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_the_scale_stands_in_the_left_factor():
    described, parts = change(Kind.LORA, (3, 2), lora_A=torch.ones(1, 2), lora_B=torch.ones(3, 1))
    left, right = thin_factors(described, parts)
    assert torch.equal(left, torch.full((3, 1), 0.5, dtype=torch.float64))
    assert torch.equal(right, torch.ones(1, 2, dtype=torch.float64))


def test_full_weights_are_no_update():
    described = Change(target="w", kind=Kind.WHOLE, shape=(1, 1))
    with pytest.raises(AssertionError, match="full weights is no update"):
        apply_change(described, torch.ones(1, 1), {})


def test_a_row_of_zeros_has_no_direction(tmp_path):
    base = base_tensors()
    base[NAME][3] = 0.0
    tensors = {
        f"{Q}.lora_A.weight": random(2, 12),
        f"{Q}.lora_B.weight": torch.zeros(20, 2),
        f"{Q}.lora_magnitude_vector": torch.ones(20),
    }
    adapter = open_folder(lora_by_hand(tmp_path, tensors, use_dora=True))
    source = DictTensors(base)
    candidate = AdaptedTensors(source, adapter.changes(source, {}, ()))
    tensor = candidate.read(candidate.tensors[NAME])
    assert bool(tensor[3].isnan().all())
    assert bool(tensor[:3].isfinite().all())
    assert candidate.update(NAME) is None


def test_one_tensor_is_written_as_one():
    nothing = AdapterFacts(
        kinds=(),
        num_tensors=0,
        ranks=(),
        scales=(),
        roles=(),
        whole=(),
        untied=(),
        num_parameters=0,
    )
    assert str(nothing) == "no change on 0 tensors; 0 parameters"
    facts = replace(nothing, kinds=("LoRA",), num_tensors=1, ranks=(2, 8), num_parameters=1234)
    assert str(facts) == "LoRA on 1 tensor; rank 2, 8; 1,234 parameters"
    scaled = replace(facts, scales=(0.5, 1.0, 4.0), roles=("q", "down"), untied=("lm_head.weight",))
    expected = "LoRA on 1 tensor (q, down); rank 2, 8; scale 0.5 to 4; unties lm_head.weight;"
    assert str(scaled) == f"{expected} 1,234 parameters"
    many = replace(nothing, kinds=("full weights",), num_tensors=5, whole=tuple("abcde"))
    expected = "full weights on 5 tensors; replaces a, b, c and 2 more; 0 parameters"
    assert str(many) == expected


def test_a_number_that_is_none_comes_through(tmp_path):
    base = base_tensors()
    base[NAME][0, 0] = math.nan
    candidate = adapted(tmp_path, base)
    assert bool(candidate.read(candidate.tensors[NAME])[0, 0].isnan())
