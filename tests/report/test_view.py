import unicodedata

import pytest
import report_documents as docs
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.report.document import (
    CalibrationEntry,
    IndexEntry,
    LayerShareEntry,
    StageEntry,
    StatementEntry,
)
from sdi_gate.report.parts import ABSENT, Section, Table, clean
from sdi_gate.report.view import build_view
from sdi_gate.report.words import largest

DIGEST = f"Policy digest: sha256:{'ef' * 32}"
CASES = pytest.mark.parametrize("make", docs.CASES.values(), ids=docs.CASES.keys())


def sections(view):
    return [
        getattr(view, name)
        for name in type(view).__slots__
        if isinstance(getattr(view, name), Section)
    ]


def table(section, key):
    return next(table for table in section.tables if table.key == key)


def rows(section, key):
    return {line[0]: line for line in table(section, key).rows}


def judged(*findings, **options):
    return build_view(docs.document(verdict=docs.verdict(*findings, **options)))


def with_index(shares):
    whole = docs.document()
    entries = tuple(LayerShareEntry(layer=k, contribution=v) for k, v in shares)
    return docs.document(sdi=whole.sdi.model_copy(update={"by_layer": entries}))


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (docs.passing, "PASS: hf:org/tune against hf:org/base"),
        (docs.failing, "FAIL: hf:org/tune against hf:org/base"),
        (docs.inconclusive, "INCONCLUSIVE: hf:org/tune against hf:org/base"),
        (docs.observing, "FAIL (observe mode, not enforced): hf:org/tune against hf:org/base"),
        (
            docs.warned,
            "FAIL (warn mode, the gate would have been closed): hf:org/tune against hf:org/base",
        ),
        (docs.unjudged, "MEASURED, NOT JUDGED: hf:org/tune against hf:org/base"),
    ],
)
def test_the_first_line_is_the_verdict_and_the_two_models(make, line):
    assert build_view(make()).headline == line


def test_the_second_line_is_the_rule_that_decided_and_by_how_much():
    rule, consequence = build_view(docs.failing()).deciding
    assert rule == (
        "Decided by behaviour.nll-change: nll-change is 0.193 ± 0.021 nats per token, above the "
        "failing limit of 0.1 by 0.0934 (4.43 standard errors). It is largest in stratum "
        "multilingual."
    )
    assert consequence == (
        f"Under the policy production the gate is closed (exit code 10). {DIGEST}"
    )


def test_a_pass_names_the_rule_with_the_least_room():
    assert build_view(docs.passing()).deciding[0] == (
        "Nothing crossed a limit; closest is sdi: sdi (provisional) is 0.229 ± 0.012, within the "
        "warning limit of 0.45 by 0.221 (18.5 standard errors)."
    )


def test_a_rule_without_a_number_decides_by_its_reason():
    assert build_view(docs.inconclusive()).deciding == (
        "Decided by required-tier: The scan is of tier weights, and the policy requires tier full.",
        f"Under the policy production the gate is closed (exit code 11). {DIGEST}",
    )


def test_observe_mode_says_that_the_gate_stays_open():
    consequence = build_view(docs.observing()).deciding[1]
    assert consequence.endswith(f"the verdict is reported, and the gate stays open. {DIGEST}")


def test_a_pass_says_that_the_gate_is_open():
    assert "the gate is open (exit code 0)" in build_view(docs.passing()).deciding[1]


def test_without_a_policy_nothing_is_judged():
    view = build_view(docs.unjudged())
    assert view.status == "not-judged"
    assert view.deciding == ("No policy was given: the numbers below were held against no limit.",)
    assert view.findings.tables == view.finding_lines == ()


def test_findings_come_with_the_deciding_one_first_and_then_the_worst():
    lines = build_view(docs.failing()).finding_lines
    assert [line.status for line in lines] == ["FAIL", "WARN", "PASS", "PASS", "PASS"]
    assert lines[0].rule == "behaviour.nll-change"


def test_a_value_at_its_limit_is_said_to_keep_it():
    assert judged(docs.coverage_finding()).finding_lines[0].sentence == (
        "coverage is 1, exactly at the failing limit, which it keeps."
    )


def test_a_value_below_a_lower_bound_is_below_its_limit():
    low = docs.coverage_finding().model_copy(
        update={"status": "fail", "observed": 0.99996, "margin": 0.99996 - 1.0}
    )
    line = judged(low).finding_lines[0]
    assert line.sentence == ("coverage is 0.99996, below the failing limit of 1 by 4.00e-5.")
    assert table(judged(low).findings, "findings").rows[0][2:5] == (
        "0.99996",
        "fails below 1",
        "4.00e-5 over",
    )


def test_an_observed_value_never_rounds_to_its_limit():
    near = docs.finding(observed=0.100004, margin=0.1 - 0.100004, stderr=None)
    assert judged(near).finding_lines[0].sentence == (
        "nll-change is 0.100004 nats per token, above the failing limit of 0.1 by 4.00e-6."
    )


def test_a_rule_whose_metric_has_another_name_shows_both():
    cells = table(build_view(docs.failing()).findings, "findings").rows[1]
    assert cells == (
        "WARN",
        "signals.curvature-shift",
        "trace-shift 0.413 ± 0.032",
        "warns above 0.4, fails above 0.5",
        "0.0127 over",
        "layers.3, stratum multilingual",
    )


def test_an_index_that_was_not_measured_is_still_labelled_in_its_finding():
    missing = docs.plain_finding("limits.sdi", "inconclusive", "sdi was not measured.")
    line = judged(missing.model_copy(update={"metric": "sdi"})).finding_lines[0]
    assert line.sentence == "sdi (provisional): sdi was not measured."


def test_findings_beyond_the_fortieth_are_counted():
    view = judged(*[docs.finding()] * 45)
    assert len(view.finding_lines) == 40
    assert table(view.findings, "findings").omission == (
        "5 of 45 findings not shown; result.json has all."
    )


UNFITTED = pytest.mark.parametrize(
    "make",
    [make for name, make in docs.CASES.items() if name not in docs.FITTED],
    ids=[name for name in docs.CASES if name not in docs.FITTED],
)


@UNFITTED
def test_provisional_stands_wherever_an_index_value_does(make):
    whole = make()
    view = build_view(whole)
    for index, sentence in zip((whole.sdi, whole.sdi_plus), view.index.sentences, strict=False):
        assert "provisional" in sentence
        assert (index.estimate is None) == ("measured:" in sentence or "conclusive:" in sentence)
    for line in view.finding_lines:
        assert not line.rule.startswith("sdi") or "provisional" in line.sentence
    titles = [title for part in sections(view) for each in part.tables for title in each.head]
    assert all("provisional" in title for title in titles if title.startswith("Adds to"))
    assert "provisional" in view.worst_title
    assert view.chart is None or ("provisional" in view.chart.title + view.chart.axis)


def test_a_fitted_calibration_is_not_called_provisional():
    fitted = CalibrationEntry(name="llama-2", version=3, calibrated=True, note="On 200 pairs.")
    view = build_view(docs.document(calibration=fitted))
    assert view.index.sentences[0].startswith("sdi is 0.416 ± 0.012")
    assert view.index.sentences[-1] == "Calibration llama-2, version 3. On 200 pairs."
    assert "provisional" not in str(view)


def test_a_lower_tier_is_called_weaker_wherever_its_index_is_shown():
    view = build_view(docs.inconclusive())
    assert view.index.sentences[0].startswith("sdi (provisional, tier weights) is")
    assert view.index.sentences[2].endswith(
        "weaker formula over 2 of 4 signals. It does not compare with an index of another tier."
    )


def test_a_lower_tier_without_an_index_counts_the_signals_that_it_would_have():
    view = build_view(docs.document(ran="probe", sdi=docs.no_index("broken")))
    assert "3 of 4 signals" in view.index.sentences[2]


def test_a_signal_that_is_in_one_index_only_says_so():
    line = rows(build_view(docs.failing()).index, "contributions")["behaviour"]
    assert line == (
        "behaviour",
        "0.287",
        "0.365",
        ABSENT,
        "not part of it",
        "0.500",
        "0.182",
        "kl-divergence",
    )


def test_every_signal_has_its_row_with_headline_metric_place_and_meaning():
    lines = rows(build_view(docs.failing()).signals, "signals")
    assert list(lines) == list(docs.TIERS["full"])
    assert lines["curvature-shift"][1:4] == (
        "0.413 ± 0.032",
        "trace-shift",
        "layers.3, stratum multilingual",
    )
    assert all("0" in line[4] for line in lines.values())


@pytest.mark.parametrize("outcome", ["not-measured", "inconclusive"])
def test_a_signal_that_was_not_measured_shows_its_reason_and_no_number(outcome):
    reason = "the memory did not suffice"
    broken = docs.unmeasured("curvature-shift", reason, outcome)
    signals = (broken, *(docs.signal("weight-geometry", docs.layer_names(4), docs.STRATA, 1.0),))
    view = build_view(docs.document(signals=signals))
    line = rows(view.signals, "signals")["curvature-shift"]
    assert line[1:4] == (f"{outcome.replace('-', ' ')}: {reason}", "trace-shift", ABSENT)
    assert "curvature-shift" not in table(view.layers, "layers").head


def test_a_signal_without_reason_says_that_none_was_recorded():
    signals = (docs.unmeasured("curvature-shift", None),)
    line = rows(build_view(docs.document(signals=signals)).signals, "signals")["curvature-shift"]
    assert line[1] == "not measured: no reason was recorded"


def test_signals_that_the_document_lacks_are_shown_as_not_measured():
    view = build_view(docs.document(signals=()))
    cells = {line[1] for line in table(view.signals, "signals").rows}
    assert cells == {"not measured: the result has no entry for it"}
    assert view.behaviour.sentences == (
        "Behaviour was not measured: the result has no entry for it.",
    )


def test_behaviour_shows_the_worst_stratum_and_the_unit():
    lines = rows(build_view(docs.failing()).behaviour, "behaviour")
    assert lines["nll-change"][1:3] == ("multilingual", "0.193 ± 0.021 nats per token")
    assert lines["top1-flip-rate"][2] == "0.152 ± 0.010"


def test_a_behaviour_metric_without_rows_is_not_measured():
    behaviour = docs.document().signals[-1].model_copy(update={"measurements": ()})
    lines = rows(build_view(docs.document(signals=(behaviour,))).behaviour, "behaviour")
    assert lines["nll-change"][1:3] == (ABSENT, "not measured")


def test_identical_models_show_exact_zeros_no_worst_stratum_and_no_chart():
    view = build_view(docs.document(scale=0.0))
    assert view.chart is None
    assert view.worst_layers == ()
    assert "*" not in str(view.strata.tables)
    assert {line[2] for line in table(view.behaviour, "behaviour").rows} == {
        "0 ± 0.018 nats per token",
        "0 ± 0.021 nats per token",
        "0 ± 0.010",
    }


def test_the_chart_and_the_table_say_the_same_contributions():
    view = build_view(docs.failing())
    lines = rows(view.layers, "layers")
    assert [bar.label for bar in view.chart.bars] == list(docs.layer_names(4))
    for bar in view.chart.bars:
        assert float(bar.text) == pytest.approx(float(lines[bar.label][1]), rel=5e-3)


def test_the_layers_that_add_most_come_first():
    view = build_view(docs.failing())
    assert [bar.label for bar in view.worst_layers] == [
        "layers.3",
        "layers.2",
        "layers.1",
        "layers.0",
        "embedding",
    ]
    assert next(iter(rows(view.layers, "layers"))) == "layers.3"


def test_a_layer_without_a_value_has_a_dash_and_not_a_zero():
    assert rows(build_view(docs.failing()).layers, "layers")["embedding"][3] == ABSENT


def test_many_layers_are_drawn_as_sums_over_neighbours():
    whole = docs.document(layers=docs.layer_names(119))
    chart = build_view(whole).chart
    assert len(chart.bars) == 24
    assert chart.note == "Each bar is the sum over up to 5 neighbouring layer groups."
    assert chart.bars[0].label == "embedding to layers.3"
    assert chart.bars[1].label == "layers.4 to 8"
    assert sum(bar.value for bar in chart.bars) == pytest.approx(whole.sdi.estimate.value)


@pytest.mark.parametrize(
    "shares",
    [[(f"layers.{i}", 1.0) for i in range(25)], [("a", 1e-9)], []],
    ids=["too large together", "too small", "none"],
)
def test_contributions_that_no_scale_fits_are_not_drawn(shares):
    assert build_view(with_index(shares)).chart is None


def test_without_an_index_the_layers_have_the_signals_alone():
    view = build_view(docs.broken())
    assert table(view.layers, "layers").head == (
        "Layer group",
        "representation-drift",
        "curvature-shift",
    )


def test_without_layers_there_is_a_sentence():
    empty = IndexEntry(
        outcome="inconclusive", estimate=None, reason=None, contributions=(), by_layer=()
    )
    view = build_view(docs.document(signals=(), sdi=empty))
    assert view.layers.sentences == ("Nothing was measured by layer.",)
    assert view.strata.sentences == ("Nothing was measured by stratum.",)


def test_a_layer_that_adds_to_no_index_has_a_dash():
    view = build_view(with_index([("layers.0", 0.1)]))
    assert rows(view.layers, "layers")["layers.1"][1] == ABSENT


def test_the_worst_stratum_of_each_metric_is_marked():
    lines = rows(build_view(docs.failing()).strata, "strata")
    assert lines["multilingual"] == (
        "multilingual",
        "0.297 *",
        "0.413 ± 0.032 *",
        "0.287 ± 0.018 *",
        "0.193 ± 0.021 *",
        "0.152 *",
        "4.50 ± 0.041",
        "4.69 ± 0.044",
        "111",
    )
    assert not any("*" in cell for cell in lines["general"])


def with_fisher_in_place_of_the_hessian():
    """Curvature from first derivatives alone: the same rows under the name of their headline."""

    def renamed(entry):
        lines = (*entry.measurements, docs.row("hessian-trace-base", 1.0, stratum="code"))
        return entry.model_copy(
            update={
                "metric": "fisher-trace-shift",
                "measurements": tuple(
                    line.model_copy(update={"metric": "fisher-trace-shift"})
                    if line.metric == "trace-shift"
                    else line
                    for line in lines
                ),
            }
        )

    signals = docs.failing().signals
    return build_view(
        docs.document(
            signals=tuple(renamed(s) if s.name == "curvature-shift" else s for s in signals)
        )
    )


def test_a_stand_in_for_the_trace_has_its_own_words_and_its_own_column_of_strata():
    view = with_fisher_in_place_of_the_hessian()
    line = rows(view.signals, "signals")["curvature-shift"]
    assert line[2] == "fisher-trace-shift"
    assert line[3] == "layers.3, stratum multilingual"
    assert "in place of the Hessian's trace" in line[4]
    strata = table(view.strata, "strata")
    assert strata.head[2] == "fisher-trace-shift"
    assert "trace-shift" not in strata.head
    assert rows(view.strata, "strata")["multilingual"][2] == "0.413 ± 0.032 *"
    assert table(view.strata_brief, "strata").essential == 6
    assert "does not average" in " ".join(view.layers.sentences)


def test_the_fisher_trace_is_no_column_where_the_hessian_was_measured():
    def with_fisher_rows(entry):
        more = tuple(docs.row("fisher-trace-shift", 0.2, stratum=name) for name in docs.STRATA)
        return entry.model_copy(update={"measurements": (*entry.measurements, *more)})

    signals = tuple(
        with_fisher_rows(entry) if entry.name == "curvature-shift" else entry
        for entry in docs.failing().signals
    )
    view = build_view(docs.document(signals=signals))
    assert table(view.strata, "strata").head[2] == "trace-shift"
    assert "fisher-trace-shift" not in table(view.strata, "strata").head
    assert "sharpness" in rows(view.signals, "signals")["curvature-shift"][4]


def test_the_brief_strata_have_no_standard_errors():
    assert "±" not in str(build_view(docs.failing()).strata_brief.tables)


def test_strata_that_the_probe_does_not_list_are_shown_all_the_same():
    lines = rows(build_view(docs.document(probe=None)).strata, "strata")
    assert lines["code"][-1] == ABSENT


def test_a_metric_that_one_stratum_lacks_has_a_dash_there():
    wide = docs.probe((*docs.STRATA, "extra"))
    assert rows(build_view(docs.document(probe=wide)).strata, "strata")["extra"][1] == ABSENT


def test_an_absent_probe_signal_is_named_under_the_strata():
    assert "behaviour is inconclusive: a model predicts NaN." in (
        build_view(docs.broken()).strata.sentences
    )


def test_a_place_is_only_named_where_values_differ():
    same = {name: docs.row("x", 1.0, layer=name) for name in "ab"}
    assert largest(same) is None


def test_coverage_that_is_not_all_is_not_shown_as_all():
    view = build_view(docs.hostile())
    assert "Coverage 0.99996 (1 is everything)" in view.alignment.sentences[0]


def test_unpaired_tensors_are_listed_up_to_a_number_and_counted():
    view = build_view(docs.large())
    listed = table(view.alignment, "base-only")
    assert len(listed.rows) == 20
    assert listed.omission == (
        "380 of 400 tensors of the base alone not shown; result.json has all."
    )


def test_a_table_without_rows_counts_what_it_leaves_out():
    shortened = Table(
        key="k", nouns="rows", head=("a",), rows=(), total=3, essential=1, is_numeric=(False,)
    )
    assert shortened.omission == "3 of 3 rows not shown; result.json has all."


@pytest.mark.parametrize(
    ("same", "text"),
    [(True, "agree"), (False, "differ"), (None, "were not compared")],
    ids=["same", "different", "not looked at"],
)
def test_the_tokenizer_is_said_to_be_the_same_or_not(same, text):
    tokenizer = docs.document().tokenizer.model_copy(update={"same": same})
    view = build_view(docs.document(tokenizer=tokenizer))
    assert view.alignment.sentences[1] == (f"Tokenizers {text}: Vocabularies and merges are equal.")


def test_settings_that_differ_are_named_up_to_a_number_and_counted():
    def sentence(num_names):
        names = tuple(f"setting_{i}" for i in range(num_names))
        changed = docs.alignment(config_differences=names)
        return build_view(docs.document(alignment=changed)).alignment.sentences[2]

    start = "may change what is computed:"
    assert sentence(1) == f"Configuration: 1 setting {start} setting_0."
    assert sentence(12).startswith(f"Configuration: 12 settings {start} setting_0, setting_1,")
    assert sentence(12).endswith("setting_9 and 2 more.")


def test_defects_are_listed_or_said_to_be_absent():
    assert build_view(docs.passing()).defects.sentences == ("None was found.",)
    assert len(table(build_view(docs.broken()).defects, "defects").rows) == 1


def test_notices_are_listed_or_said_to_be_absent():
    assert build_view(docs.passing()).notices.sentences == ("None was found.",)
    assert table(build_view(docs.noticed()).notices, "notices").rows[1] == (
        "The chat templates differ.",
    )


def test_settings_that_are_not_the_defaults_stand_under_the_verdict():
    (sentence,) = build_view(docs.noticed()).deciding[2:]
    assert sentence == (
        "Not the default settings: probe set own: sdi-probe-1; depth weights 1,1,0,0.5,0.25; "
        "seed 3."
    )
    assert len(build_view(docs.passing()).deciding) == 2


@pytest.mark.parametrize(
    ("device", "dtype", "ran", "remarks"),
    [
        ("cpu", "float32", "probe", ()),
        ("cpu", "bfloat16", "probe", ("Not the default settings: computed in bfloat16.",)),
        ("cpu", "bfloat16", "weights", ()),  # no model ran
        ("a GPU", "bfloat16", "probe", ()),
        ("a GPU", "float32", "probe", ("Not the default settings: computed in float32.",)),
    ],
)
def test_another_type_than_the_usual_one_of_the_device_is_no_default(device, dtype, ran, remarks):
    environment = docs.environment().model_copy(update={"device": device, "compute_dtype": dtype})
    view = build_view(docs.document(ran=ran, environment=environment))
    assert view.deciding[1:] == remarks


def test_what_was_cut_stands_under_the_verdict_and_under_the_tier():
    cuts = ("no curvature, to keep to the budget", "100 probe samples instead of 333")
    tier = docs.document().tier.model_copy(update={"cuts": cuts})
    view = build_view(docs.document(tier=tier))
    assert view.deciding[1:] == (f"Less was measured than was asked for: {'; '.join(cuts)}.",)
    assert view.tier.sentences[1:] == tuple(f"Less was measured: {cut}." for cut in cuts)


def test_the_reason_of_a_tier_with_every_kind_of_cut_is_shown_whole():
    reason = (
        "The scan is of tier probe, whole up to tier weights, and the policy requires tier full: "
        "with a budget of 1h30m this machine does no more; less was measured: curvature by first "
        "derivatives alone (Fisher), without the Hessian's, for memory is short; less was "
        "measured: 2 curvature draws for each stratum instead of 8, to keep to the budget of 1h30m;"
        " less was measured: 315 probe samples instead of 1000, at least 35 of every stratum, to"
        " keep to the budget of 1h30m."
    )
    finding = docs.plain_finding("required-tier", "inconclusive", reason)
    assert judged(finding).finding_lines[0].sentence == reason
    assert reason in judged(finding).deciding[0]


def test_a_probe_set_of_another_name_and_another_scheme_of_depth_are_no_defaults_either():
    whole = docs.noticed()
    linear = docs.ParameterEntry(name="depth-weights", value="linear")
    view = build_view(
        docs.document(
            probe=whole.probe.model_copy(update={"name": "sdi-probe-0"}),
            signals=(whole.signals[0].model_copy(update={"parameters": (linear,)}),),
        )
    )
    assert view.deciding[-1] == (
        "Not the default settings: probe set sdi-probe-0; depth weights linear."
    )


@pytest.mark.parametrize(
    ("requested", "ran", "reason", "sentence"),
    [
        ("probe", "probe", "tier probe was asked for", "Tier probe was asked for, and ran."),
        ("auto", "full", "auto takes the highest", "Tier full ran: auto takes the highest."),
        (
            "full",
            "weights",
            "the tokenizers differ.",
            "Asked for: full. Tier weights ran: the tokenizers differ.",
        ),
    ],
)
def test_the_tier_is_told_in_one_breath(requested, ran, reason, sentence):
    entry = docs.TierEntry(requested=requested, ran=ran, reason=reason)
    assert build_view(docs.document(ran=ran, tier=entry)).tier.sentences == (sentence,)


def test_a_hundred_standard_errors_and_more_are_not_counted():
    sure = docs.finding(stderr=0.0001)
    sentence = judged(sure).finding_lines[0].sentence
    assert sentence.endswith("by 0.0934 (more than 100 standard errors).")


def test_the_units_under_the_strata_are_those_of_the_columns_that_are_shown():
    mark = "* marks the worst stratum of a metric."
    view = build_view(docs.failing())
    assert view.strata.sentences[0] == (
        f"{mark} cka-angle is in rad; kl-divergence, nll-change, base-nll and candidate-nll are in "
        "nats per token."
    )
    assert view.strata_brief.sentences[0] == (
        f"{mark} cka-angle is in rad; kl-divergence and nll-change are in nats per token."
    )


@pytest.mark.parametrize(
    ("metrics", "units"),
    [
        (("representation-drift",), " cka-angle is in rad."),
        (("curvature-shift",), ""),
        (("behaviour",), " kl-divergence is in nats per token."),
    ],
)
def test_the_strata_name_no_unit_of_a_column_that_is_not_there(metrics, units):
    signals = tuple(
        entry.model_copy(
            update={
                "measurements": tuple(
                    line for line in entry.measurements if line.metric == entry.metric
                )
            }
        )
        for entry in docs.failing().signals
        if entry.name in metrics
    )
    view = build_view(docs.document(signals=signals))
    assert view.strata.sentences[0] == f"* marks the worst stratum of a metric.{units}"


def test_curvature_by_layer_is_said_not_to_average_to_the_headline():
    assert "does not average" in " ".join(build_view(docs.failing()).layers.sentences)
    assert "does not average" not in " ".join(build_view(docs.unjudged()).layers.sentences)


def test_the_provenance_names_everything_that_the_numbers_depend_on():
    provenance = build_view(docs.failing()).provenance
    assert rows(provenance, "models")["commit"][1] == docs.failing().base.commit
    assert set(rows(provenance, "settings")) == {
        "policy",
        "policy digest",
        "policy mode",
        "probe set",
        "probe texts",
        "calibration",
        "seed",
        "device",
        "computed in",
        "sdi-gate",
        "python",
        "torch",
        "transformers",
        "safetensors",
        "platform",
    }
    assert table(provenance, "files").rows[0] == (
        "base",
        "model.safetensors",
        "2.30 GiB",
        "cd" * 32,
    )


def test_a_model_without_commit_has_a_dash():
    provenance = build_view(docs.hostile()).provenance
    assert rows(provenance, "models")["commit"][2] == ABSENT


def test_the_cost_shows_device_memory_where_there_is_a_device():
    stage = StageEntry(stage="probe", seconds=3.0, peak_host_bytes=1, peak_device_bytes=2**30)
    cost = docs.cost().model_copy(update={"stages": (stage,)})
    view = build_view(docs.document(cost=cost))
    assert table(view.cost, "cost").rows == (("probe", "3.00 s", "1 B", "1.00 GiB"),)


def test_the_claims_say_what_a_pass_does_not_mean():
    claims = " ".join(build_view(docs.passing()).claims.sentences)
    assert "predicts no benchmark score" in claims
    assert "not that the model is safe" in claims
    assert "flag big moves, not bad ones" in claims


def test_a_scan_of_the_weights_alone_says_that_no_model_ran():
    assert "Neither model was run" in build_view(docs.inconclusive()).claims.sentences[-1]


@CASES
def test_every_row_has_as_many_cells_as_its_table_has_columns(make):
    for section in sections(build_view(make())):
        for each in section.tables:
            assert len(each.head) == len(each.is_numeric)
            assert all(len(line) == len(each.head) for line in each.rows)


@given(text=st.text())
def test_cleaned_text_is_one_printable_line_of_bounded_length(text):
    line = clean(text, 20)
    assert 1 <= len(line) <= 20
    assert line == line.strip()
    assert not any(unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"} for char in line)
    assert clean(line, 20) == line


def test_a_long_name_keeps_both_ends():
    assert clean("model.layers." + "x" * 100 + ".weight", 20) == "model.layers.…weight"


def test_text_that_is_nothing_but_space_is_called_empty():
    assert clean(" \n\t") == "(empty)"


def test_what_is_predicted_stands_with_its_interval_and_its_level():
    sentences = build_view(docs.calibrated()).index.sentences
    assert (
        "Predicted degradation is 0.0831 (90 % interval 0.0213 to 0.145): the mean loss over the "
        "axes that the calibration was fitted to, for models like those it was fitted on."
    ) in sentences
    assert not any("benchmark score." in s for s in build_view(docs.calibrated()).claims.sentences)


def test_the_threshold_is_said_with_what_it_missed_and_flagged_in_vain():
    (sentence,) = [s for s in build_view(docs.calibrated()).index.sentences if "threshold" in s]
    assert sentence == (
        "The calibration's threshold is 0.4, and this sdi, 0.416, is at or above it. It is set to "
        "miss at most 15 % of high regressions; on models that had no part in the fit, 12 of 101 "
        "were missed, and 23 of 139 others were flagged."
    )


def test_a_weight_of_zero_has_its_reason_and_the_metric_its_aggregation():
    view = build_view(docs.calibrated())
    assert "weight-geometry has weight 0 in sdi and sdi_plus: it adds nothing." in (
        view.index.sentences
    )
    lines = rows(view.index, "contributions")
    assert lines["representation-drift"][-1] == "cka-angle, mean of strata"
    assert lines["weight-geometry"][3] == "0"
    assert (
        "Signals that do not enter by their headline: "
        "representation-drift by cka-angle, mean of strata."
    ) in view.index.sentences


def test_an_index_without_scope_is_called_uncalibrated_and_predicts_nothing():
    view = build_view(docs.out_of_scope())
    reason = "calibrated on organisms of 0.1 M to 0.6 M parameters; this model has 1.2 B parameters"
    assert view.index.sentences[0].startswith("sdi (uncalibrated) is 0.416")
    assert f"No degradation is predicted: {reason}." in view.index.sentences
    assert any(
        s.startswith(
            f"Calibration organisms-1, version 1 does not speak for these models: {reason}."
        )
        for s in view.index.sentences
    )
    assert not any("Predicted" in s or "threshold" in s for s in view.index.sentences)
    assert "The index predicts no benchmark score." in view.claims.sentences
    assert "uncalibrated" in view.claims.sentences[0]


def test_a_calibration_of_ones_own_is_an_unusual_setting():
    own = docs.calibrated().calibration.model_copy(update={"own": True})
    view = build_view(docs.calibrated().model_copy(update={"calibration": own}))
    assert "Not the default settings: calibration own: organisms-1." in view.deciding


def test_no_more_than_ten_sentences_tell_what_was_reused():
    whole = docs.document()
    told = tuple(f"number {index}" for index in range(99))
    cost = whole.cost.model_copy(update={"reused": told})
    section = build_view(whole.model_copy(update={"cost": cost})).cost
    assert section.sentences[1:] == tuple(f"{each.capitalize()}." for each in told[:10])


def test_a_gate_that_only_warns_and_would_stay_open_is_not_said_to_be_closed():
    view = build_view(docs.document(verdict=docs.verdict(docs.tier_finding(), mode="warn")))
    assert view.headline.startswith("PASS (warn mode, not enforced): ")
    assert view.deciding[1].endswith(
        f"is in warn mode: the verdict is reported, and the gate stays open. {DIGEST}"
    )


def test_warn_mode_says_that_the_gate_would_have_been_closed():
    assert build_view(docs.warned()).deciding[1] == (
        "The policy production is in warn mode: in enforce mode the gate would have been closed, "
        f"and now it stays open. {DIGEST}"
    )


def test_the_first_lines_say_where_the_rule_stands_which_blocks_hold_and_what_was_waived():
    rule, consequence, waiver = build_view(docs.waived()).deciding
    assert rule.endswith("The rule stands at policies/production.yml:54, for family llama.")
    assert "held as 0.214 (standard errors added), above the warning limit of 0.05" in rule
    assert "W-1, which raises the failing limit from 0.1 to 0.25, it would fail." in rule
    assert consequence == (
        "Under the policy production, with what it says for family llama, model tune, the gate is "
        f"open (exit code 0). {DIGEST}"
    )
    assert waiver == (
        "Not a FAIL by waiver W-1: it raises the failing limit of behaviour.nll-change until "
        "2026-12-31 (38 days left). Owner: model-governance. Approved by: risk-committee."
    )


def test_a_default_that_no_file_states_has_no_line():
    entry = docs.tier_finding("inconclusive", "weights")
    stated = entry.model_copy(update={"origin": docs.origin(0)})
    assert judged(stated).deciding == judged(entry).deciding
    assert "stands at" not in judged(stated).deciding[0]


def test_a_waiver_that_did_not_keep_the_gate_open_is_not_in_the_first_lines():
    decided = docs.waived().verdict.findings
    worse = docs.plain_finding("allowed-bases", "fail", "The base is not allowed.")
    waivers = docs.waived().verdict.waivers
    view = judged(worse, *decided, waivers=waivers)
    assert len(view.deciding) == 2
    assert "W-1" in view.waivers_brief.sentences[0]


def test_more_than_two_saved_findings_are_counted():
    saved = docs.waived().verdict.findings[0]
    view = judged(*[saved] * 5, waivers=(docs.waiver(),))
    assert len(view.deciding) == 5
    assert view.deciding[-1] == "3 further limits would fail without a waiver."


STATES = [
    ("waived", "waived: "),
    ("unused", "unused: "),
    ("not-yet", "not yet in force"),
    ("expired", "expired: "),
    ("clock-behind", "without effect: the clock"),
    ("other-digest", "for other weights"),
    ("no-limit", "no such limit"),
]


@pytest.mark.parametrize(("state", "words"), STATES, ids=[state for state, _ in STATES])
def test_every_waiver_is_shown_whatever_became_of_it(state, words):
    if state == "waived":
        view = build_view(docs.waived())
    else:
        other = docs.waiver(state=state)
        view = judged(docs.tier_finding(), waivers=(other,))
    first = table(view.waivers, "waivers").rows[0]
    assert first[0] == "W-1"
    assert first[1].startswith(words)
    assert first[2:] == (
        "behaviour.nll-change to 0.25",
        "2026-12-31 (38 days left)",
        "model-governance",
        "risk-committee",
        "GOV-12",
        "The new domain is meant to be read otherwise.",
    )


def test_a_waiver_that_ends_soon_says_so_and_waivers_with_an_effect_come_first():
    view = build_view(docs.waived())
    states = [cells[1] for cells in table(view.waivers, "waivers").rows]
    assert [state.split(":")[0] for state in states] == ["waived", "unused"]
    assert states[1].endswith("; it expires soon")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("expired", "Waiver W-1 expired on 2026-12-31."),
        ("not-yet", "Waiver W-1 is not yet in force."),
        ("clock-behind", "Waiver W-1 does not hold, for the clock is behind the scan."),
        ("other-digest", "Waiver W-1 is for other weights of this model."),
    ],
    ids=["expired", "not yet", "clock", "weights"],
)
def test_a_failure_names_the_waiver_that_did_not_help(state, words):
    view = judged(docs.finding(), waivers=(docs.waiver(state=state),))
    assert view.finding_lines[0].sentence.endswith(words)
    passed = docs.sdi_finding(0.1, status="pass")
    assert words not in str(judged(passed, waivers=(docs.waiver(state=state),)).finding_lines)


def test_waivers_beyond_the_fortieth_are_counted():
    many = tuple(docs.waiver(id=f"W-{i}", state="unused") for i in range(45))
    view = judged(docs.finding(), waivers=many)
    assert "5 of 45 waivers not shown" in table(view.waivers, "waivers").omission
    assert view.waivers_brief.sentences[-1] == "5 waivers not shown; result.json has all."


def test_without_waivers_and_documentation_there_are_no_such_sections():
    view = build_view(docs.failing())
    assert view.waivers.tables == view.waivers_brief.sentences == ()
    assert view.documentation.sentences == view.documentation.statements == ()


def test_what_the_authors_say_stands_under_its_title_with_who_says_it():
    found = build_view(docs.waived()).documentation
    assert "claims no compliance" in found.sentences[0]
    (statement,) = found.statements
    assert statement.title == "intended-change"
    assert statement.paragraphs == (
        "Answers in the tone of the house.",
        "Nothing else is meant to change.",
    )


def test_statements_beyond_the_fortieth_are_counted():
    text = StatementEntry(title="t", text="x", file="p.yml")
    view = judged(docs.tier_finding(), documentation=(text,) * 50)
    assert len(view.documentation.statements) == 40
    assert view.documentation.sentences[1] == "10 of 50 are not shown; result.json has all."


def test_the_provenance_names_the_policy_with_all_that_is_known_of_it():
    found = rows(build_view(docs.waived()).provenance, "settings")
    assert found["policy"][1] == "production, version 2.1, revision 7"
    assert found["policy digest"][1] == docs.waived().verdict.policy_digest
    assert found["policy signature"][1] == "verified with key sha256:0123456789abcdef"
    assert found["policy mode"][1] == "enforce"
    assert found["policy file"][1] == "policies/production.yml"
    assert found["policy extends"][1] == "policies/default.yml"
    assert found["match blocks"][1] == "family llama, model tune"
    assert found["policy owner"][1] == "model-governance"
    assert found["policy contact"][1] == "governance@example.com"
    assert found["registered as"][1] == "tune"


def test_the_provenance_says_that_a_signature_was_not_checked_and_nothing_if_that_is_unknown():
    def settings(document):
        return rows(build_view(document).provenance, "settings")

    assert settings(docs.warned())["policy signature"][1] == "not checked"
    assert "policy signature" not in settings(docs.failing())


def test_the_upper_end_of_an_interval_is_what_was_held():
    found = docs.finding(
        rule="limits.predicted-degradation.mean",
        metric="mean",
        observed=0.05,
        stderr=None,
        judged=0.2,
        margin=0.1 - 0.2,
        stratum=None,
    )
    assert judged(found).finding_lines[0].sentence == (
        "predicted degradation (mean) is 0.05, held as 0.200 (the worse end of its interval), "
        "above the failing limit of 0.1 by 0.100."
    )
