import pytest
import torch
from adapter_files import DictTensors, lora_by_hand, open_folder
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.errors import FormatError, IncomparableError
from sdi_gate.models.adapters.names import Part, group_tensors, split_adapter

Q = "base_model.model.model.layers.0.q_proj"
BASE = {
    "model.embed_tokens.weight": torch.ones(7, 4),
    "model.layers.0.q_proj.weight": torch.ones(6, 4),
    "model.layers.0.q_proj.bias": torch.ones(6),
    "model.layers.0.c_proj.weight": torch.ones(4, 4),
    "model.norm.weight": torch.ones(4),
    "lm_head.weight": torch.ones(7, 4),
}
TIED = {"lm_head.weight": "model.embed_tokens.weight"}
TIED_BASE = {name: tensor for name, tensor in BASE.items() if name not in TIED}
EMBEDDING = "base_model.model.model.embed_tokens"
VOCABULARY = frozenset({"model.embed_tokens.weight", "lm_head.weight"})


def pair(module=Q, m=6, n=4, r=2):
    return {
        f"{module}.lora_A.weight": torch.ones(r, n),
        f"{module}.lora_B.weight": torch.ones(m, r),
    }


def changes_of(folder, tensors, *, tied=None, transposed=(), base=None, **config):
    adapter = open_folder(lora_by_hand(folder, tensors, **config))
    source = DictTensors(base or BASE)
    return adapter.changes(source, tied or {}, transposed, VOCABULARY).by_target


def test_an_adapter_made_by_hand_is_read(tmp_path):
    found = changes_of(tmp_path, pair())
    assert [*found] == ["model.layers.0.q_proj.weight"]
    assert found["model.layers.0.q_proj.weight"].scale == 2.0


def test_an_adapter_without_tensors_is_refused(tmp_path):
    with pytest.raises(FormatError, match="holds no tensors of an adapter"):
        changes_of(tmp_path, {}, target_modules="all-linear")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("model.layers.0.q_proj.lora_A.weight", r"expected base_model\.model\."),
        ("base_model.model.", r"expected base_model\.model\."),
        ("base_model.model.a b.weight", r"expected base_model\.model\."),
        (f"base_model.model.{'a' * 300}", r"expected base_model\.model\."),
        (f"{Q}.lora_B.bias", "no tensor of an adapter known"),
        (f"{Q}.lora_C.weight", "no tensor of an adapter known"),
        (f"{Q}.lora_E", "no tensor of an adapter known"),
        (f"{Q}.original_module.base_layer.weight", "no tensor of an adapter known"),
        (f"{Q}.lora_A.default.weight", "it is there twice"),
        ("base_model.model.lora_A.weight", "no tensor of an adapter known"),
    ],
)
def test_a_tensor_whose_name_means_nothing_is_refused_by_name(tmp_path, name, why):
    with pytest.raises(FormatError, match=f"cannot be used: .*{why}"):
        changes_of(tmp_path, pair() | {name: torch.ones(2, 4)})


def test_two_adapters_in_one_file_are_refused(tmp_path):
    tensors = {
        f"{Q}.lora_A.one.weight": torch.ones(2, 4),
        f"{Q}.lora_B.two.weight": torch.ones(6, 2),
    }
    with pytest.raises(FormatError, match=r"holds the adapters \['one', 'two'\]; expected one"):
        changes_of(tmp_path, tensors)


@pytest.mark.parametrize(
    ("tensors", "config"),
    [
        ({f"{Q}.lora_A.weight": torch.ones(2, 4)}, {}),
        ({f"{Q}.lora_B.weight": torch.ones(6, 2)}, {}),
        (pair() | {f"{Q}.lora_magnitude_vector": torch.ones(6)}, {}),
        (pair(), {"use_dora": True}),
        (pair() | {f"{Q}.lora_embedding_A": torch.ones(2, 4)}, {}),
        (pair() | {f"{Q}.hada_w1_a": torch.ones(6, 2)}, {}),
        (pair(), {"peft_type": "LOHA", "lora_alpha": None, "alpha": 2}),
        (pair(), {"peft_type": "LOKR", "lora_alpha": None, "alpha": 2}),
    ],
    ids=["no B", "no A", "stray norm", "no norm", "two layers", "two methods", "LoHa", "LoKr"],
)
def test_parts_that_do_not_make_an_adapter_are_refused(tmp_path, tensors, config):
    with pytest.raises(FormatError, match="some are missing, or of another method"):
        changes_of(tmp_path, tensors, **config)


def test_a_module_that_the_base_does_not_have_is_refused(tmp_path):
    tensors = pair("base_model.model.model.layers.9.q_proj")
    with pytest.raises(IncomparableError, match=r"changes 'model\.layers\.9\.q_proj\.weight', whi"):
        changes_of(tmp_path, tensors)
    with pytest.raises(IncomparableError, match=r"changes 'score\.weight', which its base does"):
        changes_of(tmp_path, pair() | {"base_model.model.score.weight": torch.ones(2, 4)})


@pytest.mark.parametrize("r", [1, 3])
def test_a_rank_that_the_tensors_do_not_have_is_refused(tmp_path, r):
    with pytest.raises(FormatError, match=r"lora_A of .* expected \[2, 4\] for rank 2") as caught:
        changes_of(tmp_path, pair(r=r))
    assert "the scale is unknown" in caught.value.hint


def test_factors_of_unequal_ranks_are_refused(tmp_path):
    tensors = pair() | {f"{Q}.lora_B.weight": torch.ones(6, 3)}
    with pytest.raises(FormatError, match=r"lora_B of .* has shape \[6, 3\]; expected \[6, 2\]"):
        changes_of(tmp_path, tensors)


@pytest.mark.parametrize(("m", "n"), [(6, 5), (5, 4), (4, 6)])
def test_a_base_of_another_shape_is_refused_with_both_shapes(tmp_path, m, n):
    with pytest.raises(IncomparableError, match=r"has shape .* expected .* of shape \[6, 4\]"):
        changes_of(tmp_path, pair(m=m, n=n))


@pytest.mark.parametrize("shape", [(2,), (2, 4, 1), (0, 4)], ids=str)
def test_a_factor_that_is_no_matrix_is_refused(tmp_path, shape):
    tensors = pair() | {f"{Q}.lora_A.weight": torch.ones(shape)}
    with pytest.raises((FormatError, IncomparableError), match=r"lora_A of .* has shape"):
        changes_of(tmp_path, tensors)


def test_a_square_weight_is_transposed_where_the_base_says_so(tmp_path):
    C = "base_model.model.model.layers.0.c_proj"
    name = "model.layers.0.c_proj.weight"
    targets = {"target_modules": ["c_proj"]}
    plain = changes_of(tmp_path / "a", pair(C, 4, 4), **targets)[name]
    turned = changes_of(tmp_path / "b", pair(C, 4, 4), transposed={name}, **targets)[name]
    assert (plain.flipped, turned.flipped) == (False, True)


def test_methods_that_peft_has_not_for_transposed_weights_are_refused(tmp_path):
    C = "base_model.model.model.layers.0.c_proj"
    tensors = {
        f"{C}.hada_{part}": torch.ones(2, 4) if part.endswith("b") else torch.ones(4, 2)
        for part in ("w1_a", "w1_b", "w2_a", "w2_b")
    }
    config = {"peft_type": "LOHA", "lora_alpha": None, "alpha": 2, "target_modules": ["c_proj"]}
    name = "model.layers.0.c_proj.weight"
    assert changes_of(tmp_path / "a", tensors, **config)[name].kind == "LoHa"
    with pytest.raises(IncomparableError, match=r"puts LoHa on .* which PEFT does not"):
        changes_of(tmp_path / "b", tensors, transposed={name}, **config)
    tensors[f"{C}.hada_t1"] = torch.ones(2, 2, 1, 1)
    with pytest.raises(IncomparableError, match="adapts the convolution"):
        changes_of(tmp_path / "c", tensors, **config)


def test_an_adapter_of_an_embedding_on_something_else_is_refused(tmp_path):
    tensors = {
        f"{Q}.lora_embedding_A": torch.ones(2, 6),
        f"{Q}.lora_embedding_B": torch.ones(4, 2),
    }
    with pytest.raises(IncomparableError, match=r"puts LoRA on .* which PEFT does not"):
        changes_of(tmp_path, tensors)


def test_an_adapter_of_a_vector_is_refused(tmp_path):
    tensors = pair("base_model.model.model.norm", 4, 1)
    with pytest.raises(IncomparableError, match=r"of shape \[4\], which PEFT does not"):
        changes_of(tmp_path, tensors, target_modules=["norm"])


@pytest.mark.parametrize(
    ("w1", "w2"), [((4, 2), (2, 2)), ((0, 2), (2, 2)), ((2, 2), (3, 3)), ((2,), (3, 2))], ids=str
)
def test_kronecker_factors_that_do_not_make_the_weight_are_refused(tmp_path, w1, w2):
    tensors = {f"{Q}.lokr_w1": torch.ones(w1), f"{Q}.lokr_w2": torch.ones(w2)}
    config = {"peft_type": "LOKR", "lora_alpha": None, "alpha": 2}
    with pytest.raises(IncomparableError, match="has shape"):
        changes_of(tmp_path, tensors, **config)


def test_a_weight_that_is_adapted_and_replaced_is_refused(tmp_path):
    with pytest.raises(FormatError, match=r"adapts 'model\.layers\.0\.q_proj\.weight' and also"):
        changes_of(tmp_path, pair() | {f"{Q}.weight": torch.ones(6, 4)})


def test_a_copy_of_a_weight_without_an_adapter_over_it_is_refused(tmp_path):
    stray = {"base_model.model.lm_head.base_layer.weight": torch.ones(7, 4)}
    with pytest.raises(FormatError, match="and no adapter over it"):
        changes_of(tmp_path, pair() | stray)


@pytest.mark.parametrize("saved", [["lm_head"], []])
def test_a_copy_of_a_module_that_was_not_saved_is_refused(tmp_path, saved):
    head = {"base_model.model.lm_head.weight": torch.zeros(7, 4)} if saved else {}
    stray = {f"{Q}.original_module.weight": torch.ones(6, 4)}
    with pytest.raises(FormatError, match=r"original_module\.weight' and no adapter over it"):
        changes_of(tmp_path, pair() | head | stray, modules_to_save=saved)


def test_two_copies_of_saved_weights_must_be_equal(tmp_path):
    head = {
        "base_model.model.lm_head.weight": torch.zeros(7, 4),
        "base_model.model.lm_head.modules_to_save.weight": torch.zeros(7, 4),
    }
    config = {"modules_to_save": ["lm_head"]}
    found = changes_of(tmp_path / "a", pair() | head, **config)
    assert found["lm_head.weight"].whole.name == "base_model.model.lm_head.weight"
    head["base_model.model.lm_head.modules_to_save.weight"][0, 0] = 1.0
    with pytest.raises(FormatError, match=r"holds 'lm_head\.weight' twice, with other values"):
        changes_of(tmp_path / "b", pair() | head, **config)
    raw = {"base_model.model.lm_head.modules_to_save.default.weight": torch.zeros(7, 4)}
    with pytest.raises(
        FormatError, match=r"'lm_head\.weight' belongs to a module in mod.* not hold it"
    ):
        changes_of(tmp_path / "c", pair() | raw, **config)
    with pytest.raises(FormatError, match="whose module is not in its modules_to_save: PEFT ign"):
        changes_of(
            tmp_path / "d", pair() | raw | {"base_model.model.lm_head.weight": torch.zeros(7, 4)}
        )


def test_what_stands_beneath_saved_weights_must_be_what_is_tied_to_it(tmp_path):
    tensors = pair() | {
        f"{EMBEDDING}.weight": torch.zeros(7, 4),
        f"{EMBEDDING}.original_module.weight": torch.full((7, 4), 2.0),
        "base_model.model.lm_head.weight": torch.full((7, 4), 2.0),
    }
    config = {"modules_to_save": ["embed_tokens"], "tied": TIED, "base": TIED_BASE}
    found = changes_of(tmp_path / "a", tensors, **config)
    assert {"model.embed_tokens.weight", "lm_head.weight"} <= found.keys()
    tensors["base_model.model.lm_head.weight"][0, 0] = 3.0
    with pytest.raises(FormatError, match="tied to another parameter, and the adapter holds other"):
        changes_of(tmp_path / "b", tensors, **config)


@pytest.mark.parametrize("shape", [(8, 5), (7,), (7, 4, 1)], ids=str)
def test_full_weights_of_another_width_are_refused(tmp_path, shape):
    head = {"base_model.model.lm_head.weight": torch.ones(shape)}
    with pytest.raises(IncomparableError, match=r"has 'lm_head\.weight' of shape .* \[7, 4\]"):
        changes_of(tmp_path, pair() | head)


def test_only_a_vocabulary_may_have_other_rows(tmp_path):
    found = changes_of(
        tmp_path / "a", pair() | {"base_model.model.lm_head.weight": torch.ones(9, 4)}
    )
    assert found["lm_head.weight"].shape == (9, 4)
    with pytest.raises(IncomparableError, match=r"has 'model\.layers\.0\.c_proj\.weight' of shape"):
        changes_of(
            tmp_path / "b",
            pair() | {"base_model.model.model.layers.0.c_proj.weight": torch.ones(9, 4)},
        )


@pytest.mark.parametrize("targets", [["v_proj"], "v_proj", r".*\.1\.q_proj", ["proj"], []])
def test_tensors_that_peft_would_drop_are_refused(tmp_path, targets):
    with pytest.raises(FormatError, match=r"tensors for 'model\.layers\.0\.q_proj', which is no"):
        changes_of(tmp_path, pair(), target_modules=targets)


@pytest.mark.parametrize("targets", [["q_proj", "c_proj"], r".*_proj"])
def test_tensors_that_peft_would_make_up_are_refused(tmp_path, targets):
    with pytest.raises(FormatError, match=r"no tensors for 'model\.layers\.0\.c_proj', which is a"):
        changes_of(tmp_path, pair(), target_modules=targets)


@pytest.mark.parametrize("targets", [".*q_proj", ["q_proj", "absent"]])
def test_targets_that_say_no_more_than_the_tensors_are_read(tmp_path, targets):
    assert changes_of(tmp_path, pair(), target_modules=targets)


@pytest.mark.parametrize("excluded", [["c_proj"], ".*c_proj", ["layers.0.c_proj"]])
def test_an_adapter_of_some_modules_alone_is_read(tmp_path, excluded):
    config = {"target_modules": ["q_proj", "c_proj"], "exclude_modules": excluded}
    assert changes_of(tmp_path, pair(), **config)


def test_a_module_that_was_to_be_saved_and_was_not_is_refused(tmp_path):
    with pytest.raises(FormatError, match=r"'lm_head\.weight' belongs to a module in modules_to_s"):
        changes_of(tmp_path, pair(), modules_to_save=["lm_head"])


def test_full_weights_of_a_tied_parameter_are_those_of_the_one_it_is(tmp_path):
    head = {"base_model.model.lm_head.weight": torch.zeros(7, 4)}
    found = changes_of(tmp_path / "a", pair() | head, tied=TIED, base=TIED_BASE)
    assert found["model.embed_tokens.weight"].whole.name == "base_model.model.lm_head.weight"
    assert "lm_head.weight" not in found
    both = head | {f"{EMBEDDING}.weight": torch.zeros(7, 4)}
    found = changes_of(tmp_path / "b", pair() | both, tied=TIED, base=TIED_BASE)
    assert found["model.embed_tokens.weight"].whole.name == f"{EMBEDDING}.weight"
    assert "lm_head.weight" not in found


@pytest.mark.parametrize("rows", [7, 9])
def test_tied_weights_of_two_values_are_refused(tmp_path, rows):
    ends = {
        f"{EMBEDDING}.weight": torch.ones(7, 4),
        "base_model.model.lm_head.weight": torch.zeros(rows, 4),
    }
    with pytest.raises(FormatError, match=r"keeps 'model\.embed_tokens\.weight' tied to .* other"):
        changes_of(tmp_path, pair() | ends, tied=TIED, base=TIED_BASE)


@pytest.mark.parametrize(
    "other",
    [
        {},
        {f"{EMBEDDING}.lora_embedding_A": torch.ones(2, 7)},
        {f"{EMBEDDING}.weight": torch.ones(7, 4)},
    ],
    ids=["alone", "other values", "another method"],
)
def test_adapters_that_are_to_stay_tied_and_are_not_equal_are_refused(tmp_path, other):
    tensors = pair() | pair("base_model.model.lm_head", 7, 4) | other
    if f"{EMBEDDING}.lora_embedding_A" in other:
        tensors[f"{EMBEDDING}.lora_embedding_B"] = torch.zeros(4, 2)
    targets = ["q_proj", "lm_head"]
    config = {"target_modules": targets, "ensure_weight_tying": True}
    why = r"keeps 'model\.embed_tokens\.weight' tied to .* other|no tensors for 'model\.embed_tok"
    with pytest.raises(FormatError, match=why):
        changes_of(tmp_path, tensors, tied=TIED, base=TIED_BASE, **config)


def test_a_tensor_that_is_no_number_with_a_fraction_is_refused(tmp_path):
    tensors = pair() | {f"{Q}.lora_A.weight": torch.ones(2, 4, dtype=torch.int8)}
    with pytest.raises(FormatError, match="is stored as I8; expected one of BF16, F16, F32, F64"):
        changes_of(tmp_path, tensors)


@given(
    names=st.lists(
        st.tuples(
            st.sampled_from(["base_model.model.", ""]),
            st.text(alphabet="ab.", max_size=5),
            st.sampled_from(
                [*(f".{part}" for part in Part), ".base_layer", ".modules_to_save", ""]
            ),
            st.sampled_from([".default", ".weight", ".default.weight", ".bias", "", "."]),
        ).map("".join),
        max_size=6,
        unique=True,
    )
)
def test_every_tensor_is_in_exactly_one_group_or_the_file_is_refused(names):
    source = DictTensors({name: torch.ones(1) for name in names})
    try:
        groups = group_tensors(source, "a file")
    except FormatError:
        return
    parts = [info.name for module in groups.adapted.values() for info in module.values()]
    whole = (groups.whole, groups.beneath, groups.copies)
    kept = [info.name for group in whole for info in group.values()]
    assert sorted(parts + kept) == sorted(names)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.lora_A.weight", ("a", "lora_A", None)),
        ("a.b.lora_B.x.weight", ("a.b", "lora_B", "x")),
        ("a.lora_magnitude_vector", ("a", "lora_magnitude_vector", None)),
        ("a.lora_magnitude_vector.weight", ("a", "lora_magnitude_vector", None)),
        ("a.lora_magnitude_vector.x", ("a", "lora_magnitude_vector", "x")),
        ("a.lora_magnitude_vector.x.weight", ("a", "lora_magnitude_vector", "x")),
        ("a.lora_embedding_A", ("a", "lora_embedding_A", None)),
        ("a.lokr_w2_a.x", ("a", "lokr_w2_a", "x")),
        ("lora_A.weight", None),
        ("a.weight", None),
    ],
)
def test_the_name_of_a_part_is_taken_apart(name, expected):
    assert split_adapter(name) == expected
