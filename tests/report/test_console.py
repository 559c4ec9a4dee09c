import io
import re

import pytest
import report_documents as docs
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sdi_gate.report.console import print_report
from sdi_gate.report.view import build_view

CASES = pytest.mark.parametrize("make", docs.CASES.values(), ids=docs.CASES.keys())


def printed(document, *, encoding="utf-8", **options):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="replace")
    print_report(build_view(document), Console(file=stream, width=80, **options))
    stream.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize(
    "name",
    [
        *("pass", "notice", "fail-full", "inconclusive-weights", "no-policy", "calibrated"),
        *("adapter", "quantised", "resized", "warn", "waived", "expired"),
    ],
)
def test_the_console_report_of_each_case_is_as_it_was_reviewed(name, assert_golden):
    lines = printed(docs.CASES[name]()).splitlines()
    text = "".join(f"{line.rstrip()}\n" for line in lines)
    assert_golden(f"tests/goldens/console-{name}.txt", text)


@CASES
def test_the_first_line_is_the_verdict(make):
    whole = make()
    status = "MEASURED" if whole.verdict is None else whole.verdict.status.upper()
    assert printed(whole).startswith(status)


@CASES
def test_no_line_is_longer_than_the_console(make):
    assert max(map(len, printed(make()).splitlines())) <= 80


@CASES
def test_without_a_terminal_there_is_neither_colour_nor_a_control_character(make):
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", printed(make()))


def test_on_a_terminal_the_verdict_has_its_colour():
    options = {"force_terminal": True, "color_system": "standard", "legacy_windows": False}
    assert printed(docs.failing(), **options).startswith("\x1b[1;31mFAIL: ")


def test_markup_in_a_name_is_text():
    assert "[bold red]markup[/]" in printed(docs.hostile())


def test_bars_are_plain_where_the_encoding_has_no_blocks():
    text = printed(docs.failing(), encoding="latin-1")
    assert re.search(r"^layers\.3 +0\.163 +#{24}", text, re.MULTILINE)


def test_the_bars_show_the_worst_layers_in_proportion():
    text = printed(docs.failing())
    bars = re.findall(r"^(\S+) +([0-9.]+) +(█+)", text, re.MULTILINE)
    assert [len(bar) for _, _, bar in bars] == [24, 18, 12, 6, 1]


def test_without_contributions_there_are_no_bars():
    assert "What the layer groups add" not in printed(docs.document(scale=0.0))


def test_defects_are_shown_before_the_numbers():
    text = printed(docs.broken())
    assert text.index("Defects") < text.index("Index")


def test_rows_that_are_not_shown_are_counted():
    many = docs.document(verdict=docs.verdict(*[docs.finding()] * 41), defects=("x",) * 21)
    text = printed(many)
    assert "1 of 41 findings not shown" in text
    assert "1 of 21 defects not shown" in text


def test_without_a_policy_the_findings_say_so():
    assert "There are none: no policy was given." in printed(docs.unjudged())


@CASES
def test_every_number_of_the_strata_is_whole(make):
    view = build_view(make())
    text = printed(make())
    for table in view.strata_brief.tables:
        for row in table.rows[:3]:
            assert all(cell in text for cell in row[1 : table.essential])


@given(name=st.text())
def test_any_layer_name_can_be_printed(name):
    whole = docs.document(layers=("embedding", name, "last"))
    assert "\x1b" not in printed(whole)
