"""What a reader is told of models that are more than two plain checkpoints of one shape."""

import io

import pytest
import report_documents as docs
from rich.console import Console

from sdi_gate.models.quantised.dequantised import Quantisation
from sdi_gate.report.console import print_report
from sdi_gate.report.markdown import render_markdown
from sdi_gate.report.parts import ABSENT, listed
from sdi_gate.report.view import build_view

FOLDED = "## Details"


def compared(**changes):
    return build_view(docs.document(alignment=docs.alignment(**changes))).compared


def of_models(**changes):
    models = {side: docs.model(f"hf:org/{side}", **facts) for side, facts in changes.items()}
    return build_view(docs.document(**models))


def table(section, key):
    return next(table for table in section.tables if table.key == key)


def printed(document):
    stream = io.StringIO()
    print_report(build_view(document), Console(file=stream, width=80))
    return " ".join(stream.getvalue().split())


@pytest.mark.parametrize("make", [docs.passing, docs.failing, docs.broken, docs.large])
def test_of_two_plain_checkpoints_nothing_is_said(make):
    view = build_view(make())
    assert view.compared.sentences == view.compared.tables == ()
    keys = {each.key for each in view.alignment.tables}
    assert not keys & {"set-aside", "roles"}
    assert "weight files hold" not in str(view.provenance)
    assert "What was compared" not in render_markdown(view) + printed(make())


@pytest.mark.parametrize(
    ("make", "sentences"),
    [
        (docs.adapter, ["Adapter: LoRA and full weights on 33 tensors; rank 8, 16;"]),
        (docs.quantised, ["Quantisation of the candidate: 112 tensors are stored as bitsandbytes"]),
        (
            docs.resized,
            [
                "a relative distance of 0.00166, was not counted as drift.",
                "1 layer only in the base: layers.15. Not compared: coverage is 0.953.",
                "Vocabulary: only rows that both models have were compared.",
            ],
        ),
    ],
    ids=["adapter", "quantised", "resized"],
)
def test_what_was_compared_stands_before_the_numbers_and_is_not_folded_away(make, sentences):
    markdown = render_markdown(build_view(make()))
    visible, console = markdown[: markdown.index("## Index")], printed(make())
    assert FOLDED not in visible
    for sentence in sentences:
        assert sentence in visible.replace("\\", "")
        assert sentence in console


def test_one_tensor_that_was_rounded_is_one():
    rounding = docs.RoundingEntry(floor=0.0, num_tensors=1)
    (sentence,) = compared(rounding=rounding).sentences
    assert "with 1 tensor rounded to the other's type first" in sentence
    whose = docs.RoundingEntry(floor=0.0, num_tensors=3, num_base=2, num_candidate=1)
    (sentence,) = compared(rounding=whose).sentences
    assert "2 tensors of the base and 1 tensor of the candidate rounded" in sentence
    assert "a relative distance of 0, was not counted as drift." in sentence


def test_a_candidate_that_moved_nowhere_is_said_to():
    still = build_view(docs.document(scale=0.0)).compared.sentences
    assert still == ("No compared weight differs from the base's.",)
    assert build_view(docs.document(scale=1.0)).compared.sentences == ()


def test_layers_on_either_side_are_named_up_to_a_number_and_counted():
    layers = tuple(f"layers.{i}" for i in range(2, 14))
    missing, extra = compared(missing_layers=layers, extra_layers=("layers.1",)).sentences
    assert missing.startswith("12 layers only in the base: layers.2, layers.3, ")
    assert "layers.9 and 4 more. Not compared: coverage is 1." in missing
    assert extra.startswith("1 layer only in the candidate: layers.1. Not compared")


def test_coverage_that_lost_one_layer_of_very_many_is_not_shown_as_all():
    (sentence,) = compared(missing_layers=("layers.1",), coverage=0.99996).sentences
    assert sentence.endswith("coverage is 0.99996.")


def test_each_tensor_of_the_vocabulary_has_its_rows_in_a_line():
    section = build_view(docs.resized()).compared
    assert table(section, "vocabulary").rows == (
        ("model.embed_tokens.weight", "128,000", "2", "1.08", "0", "256 / 0"),
        ("lm_head.weight", "128,000", "0", ABSENT, "3", "256 / 0"),
    )


def test_padding_and_norms_are_explained_only_where_there_are_any():
    plain = {"base_padding_rows": 0, "added_norm_ratio": None}
    section = compared(vocabulary=(docs.vocabulary("w", **plain),))
    assert section.sentences == ("Vocabulary: only rows that both models have were compared.",)
    assert table(section, "vocabulary").rows[0][3:] == (ABSENT, "0", ABSENT)
    other = compared(vocabulary=(docs.vocabulary("w", **{**plain, "candidate_padding_rows": 1}),))
    assert "no token addresses" in other.sentences[0]
    assert table(other, "vocabulary").rows[0][5] == "0 / 1"


def test_many_tensors_of_the_vocabulary_are_counted():
    section = compared(vocabulary=tuple(docs.vocabulary(f"w.{i}") for i in range(23)))
    assert table(section, "vocabulary").omission == (
        "3 of 23 tensors of the vocabulary not shown; result.json has all."
    )


def test_a_quantisation_that_both_models_share_is_said_once():
    both = of_models(base={"quantisation": "so."}, candidate={"quantisation": "so."})
    assert both.compared.sentences == (
        "Quantisation of both models: so. Its error is in both alike.",
    )
    each = of_models(base={"quantisation": "so"}, candidate={"quantisation": "otherwise"})
    assert each.compared.sentences == (
        "Quantisation of the base: so.",
        "Quantisation of the candidate: otherwise.",
    )


@pytest.mark.parametrize(
    "method",
    ["bitsandbytes-nf4", "compressed-tensors (naive-quantized)", "gguf IQ4_XS, Q5_K, Q6_K"],
)
def test_what_a_quantised_model_says_of_itself_is_shown_whole(method):
    found = Quantisation(
        method=method,
        library="compressed-tensors",
        version="0.20.0",
        names=frozenset(f"layers.{i}.weight" for i in range(1234)),
        set_aside=tuple(map(str, range(1234))),
    )
    (sentence,) = of_models(candidate={"quantisation": found.description}).compared.sentences
    assert sentence == f"Quantisation of the candidate: {found.description}"
    assert "quantisation is part of what was measured" in sentence


def test_what_was_set_aside_is_counted_with_its_first_names():
    section = build_view(docs.quantised()).alignment
    assert table(section, "set-aside").rows == (
        (
            "Buffers, computed anew",
            "candidate",
            "16",
            (
                "model.layers.0.self_attn.rotary_emb.inv_freq, "
                "model.layers.1.self_attn.rotary_emb.inv_freq, "
                "model.layers.2.self_attn.rotary_emb.inv_freq and 13 more"
            ),
        ),
        ("Copies of tied tensors, counted once", "candidate", "1", "lm_head.weight"),
    )
    markdown = render_markdown(build_view(docs.quantised()))
    assert markdown.index(FOLDED) < markdown.index("Buffers, computed anew")


def test_what_was_compared_is_counted_by_role():
    section = build_view(docs.adapter()).alignment
    assert table(section, "roles").rows[1] == ("q", "16", "67,108,864")


@pytest.mark.parametrize(
    ("kind", "words"), [("adapter", "an adapter"), ("gguf", "a model, as GGUF")]
)
def test_the_provenance_says_what_the_weight_files_hold_if_it_is_no_plain_model(kind, words):
    rows = of_models(candidate={"kind": kind}).provenance.tables[0].rows
    assert rows[-1] == ("weight files hold", "a model", words)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("a",), "a"),
        (("a", "b"), "a, b"),
        (("a", "b", "c", "d"), "a, b and 2 more"),
        (("", "x\ny"), "(empty), x y"),
    ],
    ids=["one", "all", "more", "odd"],
)
def test_the_first_names_are_listed_and_the_rest_counted(names, text):
    assert listed(names, 2) == text


def test_a_list_of_long_names_is_cut_and_still_says_how_many_there_are():
    text = listed(("x" * 500,) * 9, 3, 120)
    assert len(text) == 120
    assert text.endswith("xx and 6 more")
