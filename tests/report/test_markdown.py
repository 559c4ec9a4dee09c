import re
from dataclasses import replace

import pytest
import report_documents as docs
from hypothesis import example, given
from hypothesis import strategies as st
from jinja2 import DictLoader, UndefinedError
from markdown_it import MarkdownIt  # the parser that rich brings

from sdi_gate.report import markdown as module
from sdi_gate.report.blocks import markdown_environment, render_chart, render_table
from sdi_gate.report.escaping import escape_markdown, escape_mermaid
from sdi_gate.report.markdown import (
    MARKER,
    MAX_CHARACTERS,
    MissingMarkerError,
    _render,
    render_markdown,
)
from sdi_gate.report.parts import clean
from sdi_gate.report.view import build_view

CASES = pytest.mark.parametrize("make", docs.CASES.values(), ids=docs.CASES.keys())
ZERO_WIDTH_SPACE = "\u200b"
OUR_HTML = re.compile(r"<(?:!-- sdi-gate:report:v1 --|/?details|/?summary)>")
# Strings of the signs that mean something somewhere are likelier to break a renderer.
names = st.text() | st.text(alphabet="<>|`*_[]()!#@&\\~$:/\n-+=1. aw\"'", max_size=30)


def render(document):
    return render_markdown(build_view(document))


def parse(text):
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def cells(text):
    inline = [t for t in parse(text) if t.type == "inline"]
    assert {child.type for t in inline for child in t.children} <= {"text", "text_special"}
    return ["".join(child.content for child in t.children) for t in inline]


# Nobody reviews a golden as long as the other cases; laws check them.
@pytest.mark.parametrize("name", sorted(docs.CASES.keys() - {"hostile", "large"}))
def test_the_markdown_of_each_case_is_as_it_was_reviewed(name, assert_golden):
    assert_golden(f"tests/goldens/report-{name}.md", render(docs.CASES[name]()))


@CASES
def test_the_marker_comes_once_and_the_verdict_is_the_first_visible_line(make):
    view = build_view(make())
    lines = render_markdown(view).splitlines()
    assert lines[0] == MARKER
    assert lines[1] == f"# {escape_markdown(view.headline)}"
    assert sum(line.startswith("# ") for line in lines) == 1
    assert "\n".join(lines).count(MARKER) == 1


def test_a_template_without_its_marker_is_a_bug():
    environment = markdown_environment(DictLoader({"report.md.j2": "# {{ view.headline }}"}))
    with pytest.raises(MissingMarkerError, match="expected <!-- sdi-gate:report:v1 --> once"):
        _render(environment, build_view(docs.passing()))


def test_a_template_that_names_what_is_not_there_is_a_bug():
    environment = markdown_environment(DictLoader({"report.md.j2": "{{ view.nothing }}"}))
    with pytest.raises(UndefinedError, match="nothing"):
        _render(environment, build_view(docs.passing()))


def test_a_template_escapes_without_asking_for_it():
    environment = markdown_environment(DictLoader({"report.md.j2": MARKER + "{{ view.headline }}"}))
    assert "<script>" not in _render(environment, build_view(docs.hostile()))


@CASES
def test_nothing_but_our_own_html_is_in_a_report(make):
    assert "<" not in OUR_HTML.sub("", render(make()))


@CASES
def test_no_report_has_a_link_a_mention_or_an_issue(make):
    # GitHub links nothing inside a block of code.
    text = re.sub(r"```.*?```", "", render(make()), flags=re.DOTALL)
    assert not re.search(r"@\w|(?<!&)#\w", text)
    assert not re.search(r"://|(?i:www\.)|(?i:gh-\d)", text)
    assert not re.search(r"(?<!\\)\]\(", text)


@CASES
def test_no_control_character_is_in_a_report(make):
    assert re.fullmatch(r"[^\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]*", render(make()))


@given(name=names)
@example(name="\\|")
@example(name="a\\")
@example(name="---")
@example(name="1. x")
@example(name="__init__")
@example(name=":smile:")
def test_any_layer_name_gives_a_table_that_a_parser_reads_back(name):
    whole = docs.document(layers=("embedding", name, f"{name}x"), ran="weights")
    view = build_view(whole)
    table = view.layers.tables[0]
    lines = [line for line in render_table(table)[0].splitlines() if line]
    assert all(line.count("|") == len(table.head) + 1 for line in lines)
    assert "<" not in "".join(lines)
    shown = [cell.replace(ZERO_WIDTH_SPACE, "") for cell in cells("\n".join(lines))]
    assert shown == [cell for row in (table.head, *table.rows) for cell in row]
    assert "<" not in OUR_HTML.sub("", render_markdown(view))


@given(name=names)
def test_any_text_is_one_paragraph_or_list_item_of_plain_text(name):
    line = clean(name)
    for lead in ("", "- "):
        assert [c.replace(ZERO_WIDTH_SPACE, "") for c in cells(lead + escape_markdown(line))] == [
            line
        ]


@given(labels=st.lists(names, min_size=1, max_size=24))
def test_any_layer_names_give_a_chart_with_as_many_labels_as_bars(labels):
    chart = build_view(docs.failing()).chart
    bars = tuple(replace(chart.bars[0], label=clean(label)) for label in labels)
    text = render_chart(replace(chart, bars=bars))
    axis = next(line for line in text.splitlines() if line.startswith("    x-axis"))
    found = re.findall(r'"([^"]+)"', axis)
    assert axis == "    x-axis [" + ", ".join(f'"{label}"' for label in found) + "]"
    assert len(found) == len(set(found)) == len(labels)
    assert text.count("\n") == 6


@given(text=st.text())
def test_a_mermaid_label_holds_nothing_but_plain_characters(text):
    assert re.fullmatch(r"[A-Za-z0-9 ._,()-]+", escape_mermaid(text))


@CASES
def test_a_chart_has_the_form_that_mermaid_documents(make):
    charts = re.findall(r"```mermaid\n(.*?)```", render(make()), re.DOTALL)
    for chart in charts:
        assert re.fullmatch(
            r"xychart-beta horizontal\n"
            r' +title "[^"\n]+"\n'
            r' +x-axis \["[^"\n]+"(?:, "[^"\n]+")*\]\n'
            r' +y-axis "[^"\n]+" 0 --> \d\.\d+\n'
            r" +bar \[\d\.\d+(?:, \d\.\d+)*\]\n",
            chart,
        )


def test_a_large_model_fits_into_a_comment_in_full():
    text = render(docs.large())
    assert len(text) <= MAX_CHARACTERS
    assert "Shortened" not in text


def test_a_report_that_is_too_long_leaves_out_rows_by_rank_and_says_so(monkeypatch):
    monkeypatch.setattr(module, "MAX_CHARACTERS", 20_000)
    text = render(docs.large())
    assert len(text) <= 20_000
    assert "4 of 4 stages not shown; result.json has all." in text
    assert "60 of 120 layer groups not shown" in text
    assert (
        "Shortened to fit a comment; left out in part or whole: the cost by stage, files of the "
        "models, tensors without a partner, layer groups that add least. result.json has all."
    ) in text


def test_a_cut_that_takes_nothing_away_is_not_told(monkeypatch):
    monkeypatch.setattr(module, "MAX_CHARACTERS", 20_000)
    assert "roles of the tensors" not in render(docs.large())
    roles = docs.by_role().roles
    whole = docs.large()
    named = whole.alignment.model_copy(update={"roles": roles})
    text = render(whole.model_copy(update={"alignment": named}))
    assert "roles of the tensors" in text
    assert "3 of 3 roles not shown; result.json has all." in text


@pytest.mark.parametrize("saved", [False, True], ids=["failed", "saved by waivers"])
@pytest.mark.parametrize("char", ["#", "@", "|", "<", "&", "\\"])
def test_the_longest_possible_report_fits(char, saved):
    text = render(docs.largest(char, saved=saved))
    assert len(text) <= MAX_CHARACTERS
    assert text.rstrip().endswith("result.json has all.")
    assert text.count("<details>") == text.count("</details>") == 5


def test_a_report_that_no_cut_makes_short_enough_is_a_bug_and_is_not_cut_off(monkeypatch):
    monkeypatch.setattr(module, "MAX_CHARACTERS", 1000)
    with pytest.raises(AssertionError, match="the shortest report is bounded"):
        render(docs.passing())
