"""Matching tensors by name and shape, and the rows that both models have."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdi_gate.errors import ExitCode, IncomparableError
from sdi_gate.models.alignment import NO_NAMES, Names, align
from sdi_gate.models.layers import EMBEDDING, HEAD, OTHER
from sdi_gate.models.roles import Role
from sdi_gate.models.tensors import TensorInfo


def info(name, *shape, dtype="F32"):
    return TensorInfo(name=name, dtype=dtype, shape=shape, shard="model.safetensors")


def table(*infos):
    return {item.name: item for item in infos}


TABLES = st.dictionaries(
    st.sampled_from(["lm_head.weight", "norm.weight", *(f"layers.{i}.w" for i in range(5))]),
    st.lists(st.integers(0, 3), max_size=3),
).map(lambda shapes: table(*(info(name, *shape) for name, shape in shapes.items())))


@given(TABLES, TABLES)
@example(table(info("a", 2)), table(info("a", 2)))
def test_every_tensor_of_both_is_in_exactly_one_list(base, candidate):
    try:
        found = align(base, candidate)
    except IncomparableError:
        equal = [n for n in base.keys() & candidate.keys() if base[n].shape == candidate[n].shape]
        assert sum(base[name].numel for name in equal) == 0
        return
    ours = [pair.base for pair in found.paired] + list(found.base_only)
    ours += [mine for mine, _ in found.mismatched]
    theirs = [pair.candidate for pair in found.paired] + list(found.candidate_only)
    theirs += [other for _, other in found.mismatched]
    assert sorted(item.name for item in ours) == sorted(base)
    assert sorted(item.name for item in theirs) == sorted(candidate)
    assert all(p.base.name == p.candidate.name for p in found.paired)
    assert all(p.base.shape == p.candidate.shape for p in found.paired)
    assert all(a.name == b.name and a.shape != b.shape for a, b in found.mismatched)
    assert 0.0 < found.coverage <= 1.0
    unpaired = [*found.base_only, *found.candidate_only, *(a for a, _ in found.mismatched)]
    unpaired += [b for _, b in found.mismatched]
    assert (found.coverage == 1.0) == (sum(item.numel for item in unpaired) == 0)


def test_coverage_counts_a_mismatch_by_the_larger_of_the_two():
    base = table(info("a", 10), info("b", 4), info("c", 2, 3))
    candidate = table(info("a", 10), info("b", 5), info("d", 7))
    found = align(base, candidate)
    assert found.paired_parameters == 10
    assert found.coverage == 10 / (10 + 5 + 6 + 7)
    assert align(candidate, base).coverage == found.coverage


def test_a_resized_embedding_is_mismatched_and_not_compared():
    base = table(info("model.embed_tokens.weight", 300, 16), info("layers.0.w", 4))
    candidate = table(info("model.embed_tokens.weight", 301, 16), info("layers.0.w", 4))
    found = align(base, candidate)
    assert [a.shape for pair in found.mismatched for a in pair] == [(300, 16), (301, 16)]
    assert found.coverage == 4 / (4 + 301 * 16)


def test_another_storage_type_does_not_part_a_pair():
    found = align(table(info("a", 2)), table(info("a", 2, dtype="BF16")))
    assert found.coverage == 1.0


@pytest.mark.parametrize(
    ("shape", "candidate"),
    [
        (2, {}),
        (2, table(info("b", 2))),
        (2, table(info("a", 3))),
        (0, table(info("a", 0))),
    ],
    ids=["empty", "names", "shapes", "no-parameters"],
)
def test_models_without_one_tensor_in_common_cannot_be_compared(shape, candidate):
    base = table(info("a", shape))
    with pytest.raises(IncomparableError, match=r"no tensor of the base \(1\)") as caught:
        align(base, candidate)
    assert caught.value.exit_code is ExitCode.INCOMPARABLE


def test_pairs_keep_the_bases_order():
    base = table(info("z", 1), info("a", 1))
    candidate = table(info("a", 1), info("z", 1))
    assert [pair.base.name for pair in align(base, candidate).paired] == ["z", "a"]


def test_layers_run_from_input_to_output():
    tensors = table(
        info("lm_head.weight", 1),
        info("model.layers.10.w", 1),
        info("model.norm.weight", 1),
        info("model.layers.9.w", 1),
        info("model.embed_tokens.weight", 1),
    )
    found = align(tensors, tensors)
    assert found.layers == (EMBEDDING, "layers.9", "layers.10", OTHER, HEAD)


# Layers that only one has.


def stack(*layers):
    return table(*(info(f"model.layers.{i}.{part}", 4) for i in layers for part in ("a", "b")))


def test_extra_and_missing_layers_are_listed_from_input_to_output():
    found = align(stack(0, 1), stack(0, 1, 10, 9))
    assert found.extra_layers == ("layers.9", "layers.10")
    assert found.missing_layers == ()
    back = align(stack(0, 1, 10, 9), stack(0, 1))
    assert back.missing_layers == ("layers.9", "layers.10")
    assert back.extra_layers == ()
    assert found.coverage == back.coverage == 16 / 32
    assert not found.runs_side_by_side


def test_a_layer_that_both_have_in_part_is_neither_extra_nor_missing():
    ours, theirs = stack(0, 1), stack(0, 1)
    del ours["model.layers.1.a"]
    theirs["model.layers.1.b"] = info("model.layers.1.b", 5)
    found = align(ours, theirs)
    assert found.extra_layers == found.missing_layers == ()
    assert found.coverage == 8 / (8 + 4 + 5)


def test_a_missing_bias_is_not_compared_and_not_forgotten():
    ours = table(info("layers.0.q_proj.weight", 4, 4), info("layers.0.q_proj.bias", 4))
    found = align(ours, table(info("layers.0.q_proj.weight", 4, 4)))
    assert [item.name for item in found.base_only] == ["layers.0.q_proj.bias"]
    assert found.coverage == 16 / 20
    assert not found.runs_side_by_side


# Ties.

TIED = Names(
    tied={"lm_head.weight": "embed.weight"},
    vocabulary=frozenset({"embed.weight", "lm_head.weight"}),
    transposed=frozenset({"layers.0.w"}),
    roles={"layers.0.w": (Role.Q, Role.K)},
)


def test_a_head_of_one_is_compared_with_what_the_other_ties_it_to():
    tied = table(info("embed.weight", 5, 2), info("layers.0.w", 4))
    own = table(info("embed.weight", 5, 2), info("layers.0.w", 4), info("lm_head.weight", 5, 2))
    found = align(tied, own, TIED)
    assert [(p.name, p.base.name, p.candidate.name) for p in found.paired] == [
        ("embed.weight", "embed.weight", "embed.weight"),
        ("layers.0.w", "layers.0.w", "layers.0.w"),
        ("lm_head.weight", "embed.weight", "lm_head.weight"),
    ]
    assert found.coverage == 1.0
    assert found.runs_side_by_side
    assert align(own, tied, TIED).coverage == 1.0
    assert align(tied, own).coverage < 1.0


def test_a_pair_knows_its_roles_and_whether_it_is_turned():
    tensors = table(info("layers.0.w", 4), info("layers.0.mlp.up_proj.weight", 4))
    turned, plain = align(tensors, tensors, TIED).paired
    assert turned.roles == (Role.Q, Role.K)
    assert turned.is_transposed
    assert plain.roles == (Role.UP,)
    assert not plain.is_transposed


# Rows of the vocabulary.

ROWS = Names(tied={}, vocabulary=frozenset({"embed", "bias"}), transposed=frozenset(), roles={})


@given(
    ours=st.integers(1, 9),
    theirs=st.integers(1, 9),
    width=st.integers(1, 3),
    num_tokens=st.none() | st.integers(1, 12),
)
@example(ours=5, theirs=5, width=2, num_tokens=None)
@example(ours=5, theirs=5, width=2, num_tokens=3)
@example(ours=5, theirs=7, width=2, num_tokens=6)
def test_every_row_of_both_is_compared_added_missing_or_padding(ours, theirs, width, num_tokens):
    base = table(info("embed", ours, width), info("layers.0.w", 1))
    found = align(
        base, table(info("embed", theirs, width), info("layers.0.w", 1)), ROWS, num_tokens
    )
    assert found.mismatched == found.base_only == found.candidate_only == ()
    addressed = max(ours, theirs) if num_tokens is None else num_tokens
    same = min(ours, theirs, addressed)
    (pair,) = (pair for pair in found.paired if pair.name == "embed")
    assert pair.numel == same * width
    if not found.vocabulary:
        assert ours == theirs == same
        assert pair.rows is None
        assert found.coverage == 1.0
        return
    (rows,) = found.vocabulary
    assert (rows.compared, rows.width) == (same, width)
    assert pair.rows == same
    assert pair.num_added == rows.candidate_only
    assert rows.compared + rows.base_only + rows.base_padding == ours
    assert rows.compared + rows.candidate_only + rows.candidate_padding == theirs
    assert rows.base_only == max(0, min(ours, addressed) - theirs)
    assert rows.candidate_only == max(0, min(theirs, addressed) - ours)
    priced = width * (rows.base_only + rows.candidate_only)
    assert found.coverage == (1 + same * width) / (1 + same * width + priced)
    assert found.runs_side_by_side == (rows.base_only == 0)


def test_a_bias_with_one_number_for_each_token_has_rows_too():
    base = table(info("bias", 5), info("layers.0.w", 1))
    found = align(base, table(info("bias", 8), info("layers.0.w", 1)), ROWS, 6)
    (rows,) = found.vocabulary
    assert (rows.compared, rows.candidate_only, rows.candidate_padding, rows.width) == (5, 1, 2, 1)


@pytest.mark.parametrize(
    ("ours", "theirs"), [((5, 2), (7, 3)), ((), (7,)), ((5,), ()), ((0, 2), (7, 2))]
)
def test_rows_of_another_shape_are_mismatched(ours, theirs):
    base = table(info("embed", *ours), info("layers.0.w", 1))
    found = align(base, table(info("embed", *theirs), info("layers.0.w", 1)), ROWS)
    assert [pair.name for pair in found.paired] == ["layers.0.w"]
    assert len(found.mismatched) == 1
    assert not found.runs_side_by_side


def test_what_is_no_vocabulary_has_no_rows():
    base = table(info("layers.0.w", 5, 2), info("layers.0.v", 1))
    found = align(base, table(info("layers.0.w", 7, 2), info("layers.0.v", 1)), ROWS)
    assert len(found.mismatched) == 1
    assert found.vocabulary == ()


def test_without_a_skeleton_nothing_is_known():
    assert Names(tied={}, vocabulary=frozenset(), transposed=frozenset(), roles={}) == NO_NAMES
