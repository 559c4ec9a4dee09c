"""Spectra of a base that are kept: the same numbers with them, and none that are not the base's."""

from __future__ import annotations

import pytest
import torch
from tiny_models import CPU

from sdi_gate.gate.spectra import Compared, SpectraCache
from sdi_gate.profiles.store import Part
from sdi_gate.signals.linalg import MatrixPair
from sdi_gate.signals.matrices import compare_matrices
from sdi_gate.signals.spectrum import MatrixSpectrum


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def compared(name="w", **changes):
    plain = {"rows": None, "dtype": torch.float32, "is_turned": False, "top_k": 4}
    return Compared(name=name, **(plain | changes))


W = normal(30, 20)


def filled(matrix=W, what=None):
    cache = SpectraCache.from_part(None)
    what = what or compared()
    cache.hold_against(what, float(matrix.double().square().sum()))
    cache.spectrum(what, 0, matrix, CPU)
    return cache


def again(part, matrix=W, what=None):
    cache = SpectraCache.from_part(part)
    what = what or compared()
    cache.hold_against(what, float(matrix.double().square().sum()))
    return cache, cache.spectrum(what, 0, matrix, CPU)


def test_a_kept_spectrum_is_the_computed_one_to_the_bit():
    first = filled()
    assert first.has_new
    assert first.remarks == ()
    cache, found = again(first.to_part())
    fresh = SpectraCache.from_part(None).spectrum(compared(), 0, W, CPU)
    assert torch.equal(found.s, fresh.s)
    assert torch.equal(found.V, fresh.V)
    assert found.rank == fresh.rank
    assert (cache.reused, cache.rejected, cache.has_new) == (1, 0, False)
    assert cache.remarks == ("spectra of 1 matrices of the base were taken from its profile",)


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (1, 7), (24, 24)], ids=str)
def test_a_comparison_has_the_same_bits_with_and_without_it(shape):
    base, candidate = normal(*shape), normal(*shape, seed=1)
    pair = MatrixPair(base=base, candidate=candidate, device=CPU)
    _, kept = again(filled(base).to_part(), base)
    assert compare_matrices(pair, 4, base=kept) == compare_matrices(pair, 4)


def test_a_spectrum_of_other_weights_is_computed_anew_and_replaced():
    other = normal(30, 20, seed=5)
    cache, found = again(filled().to_part(), other)
    assert torch.allclose(found.s, torch.linalg.svdvals(other.double()))
    assert (cache.reused, cache.rejected, cache.has_new) == (0, 1, True)
    assert "1 spectra in the base's profile did not agree with the base" in cache.remarks[0]
    assert again(cache.to_part(), other)[0].reused == 1


def test_a_spectrum_of_the_same_norm_is_still_held_against_the_matrix():
    turned = W.flip(0).flip(1) @ torch.linalg.qr(normal(20, 20, seed=3)).Q
    turned *= W.norm() / turned.norm()
    part = filled().to_part()
    part.facts["sums"].clear()
    cache, found = again(part, turned)
    assert (cache.reused, cache.rejected) == (0, 1)
    assert torch.allclose(found.s, torch.linalg.svdvals(turned.double()))


@pytest.mark.parametrize(
    "change",
    [{"rows": 8}, {"dtype": torch.bfloat16}, {"is_turned": True}, {"top_k": 5}, {"name": "v"}],
    ids=str,
)
def test_what_is_compared_otherwise_has_another_spectrum(change):
    cache, found = again(filled().to_part(), what=compared(**change))
    assert found is not None
    assert (cache.reused, cache.rejected, cache.has_new) == (0, 0, True)


def test_a_matrix_that_is_not_finite_has_none_and_none_is_kept():
    cache = SpectraCache.from_part(None)
    assert cache.spectrum(compared(), 0, torch.full((3, 3), torch.nan), CPU) is None
    assert not cache.has_new
    assert cache.to_part() == Part(facts={"matrices": [], "sums": []})


def test_what_has_no_room_is_computed_and_not_kept():
    cache = SpectraCache(kept_bytes=1)
    assert isinstance(cache.spectrum(compared(), 0, W, CPU), MatrixSpectrum)
    assert not cache.has_new
    assert cache.to_part().tensors == {}


BROKEN = {
    "no list": ({"matrices": {}}, 0),
    "no entry": ({"matrices": [7]}, 1),
    "no rank": ({"matrices": [["k", 1.5]]}, 1),
    "no tensors": ({"matrices": [["k", 3]] * 2}, 2),
    "a rank beyond the matrix": ({"matrices": [["k", 99]]}, 1),
    "a rank beyond any float": ({"matrices": [["k", 10**400]]}, 1),
    "sums that are none": ({"matrices": [], "sums": [["k", "x"], ["k", float("inf")], 3]}, 0),
}


@pytest.mark.parametrize(("facts", "rejected"), BROKEN.values(), ids=BROKEN.keys())
def test_entries_that_are_none_are_left_out(facts, rejected):
    tensors = {"0.s": torch.ones(4), "0.V": torch.ones(4, 2)}
    cache = SpectraCache.from_part(Part(tensors=tensors, facts=facts))
    assert cache.rejected == rejected
    assert cache.to_part() == Part(facts={"matrices": [], "sums": []})


@pytest.mark.parametrize(
    ("s", "V"),
    [
        (torch.ones(4), torch.ones(4, 2)),
        (torch.ones(4).double(), torch.ones(4, 2)),
        (torch.ones(4).double(), torch.ones(3, 2).double()),
        (torch.ones(4).double(), torch.ones(4, 5).double()),
        (torch.ones(4, 1).double(), torch.ones(4, 2).double()),
        (torch.ones(4).double(), torch.ones(4).double()),
    ],
    ids=["float32", "one float32", "other sides", "too many", "no values", "no vectors"],
)
def test_tensors_of_other_shapes_and_types_are_rejected(s, V):
    part = Part(tensors={"0.s": s, "0.V": V}, facts={"matrices": [["k", 2]]})
    assert SpectraCache.from_part(part).rejected == 1
