import html
import json
import re

import page_documents as pages
import pytest
import report_documents as docs
from cmarkgfm import github_flavored_markdown_to_html
from cmarkgfm.cmark import Options
from hypothesis import example, given, settings
from hypothesis import strategies as st
from node_packages import run_node

from sdi_gate.report.parts import clean
from sdi_gate.report.runs.comment import comment_marker, render_comment
from sdi_gate.report.runs.full import render_full, render_log
from sdi_gate.report.runs.summary import render_summary

KEY = "0123456789abcdef"
MARKER = f"<!-- sdi-gate:comment:v1:{KEY} -->"
ZERO_WIDTH_SPACE = "\u200b"
ATTACKS = (
    *docs.HOSTILE_NAMES,
    "a|b",
    "``` ` ~~~",
    "<img src=x onerror=alert(1)>",
    "@team",
    "@org/team",
    "-->",
    MARKER,
    "::error::x",
    "##[add-mask]x",
    "</details>",
    "</summary><b>",
    "[x](javascript:alert(1))",
    "\u202ereversed\u202c \u200b\u200d\ufeff",
    "$(touch x); `touch x` 'x' \"x\" \\",
    "$$x$$ $`x`$",
    "[!WARNING]",
    "1. x",
    "# x",
    "| --- | --- |",
    "org/tunes#1 #1 GH-1",
)
RENDERERS = {"comment": render_comment, "summary": render_summary, "full": render_full}
ALL = {**pages.CASES, "hostile": lambda: pages.hostile(ATTACKS)}
CASES = pytest.mark.parametrize("make", ALL.values(), ids=ALL.keys())
names = st.text() | st.text(alphabet="<>|`*_[]()!#@&\\~$:/\n-+=1. aw\"'", max_size=30)


def to_html(text):
    return github_flavored_markdown_to_html(text, Options.CMARK_OPT_UNSAFE)


def outside_code(text):
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def tables(page):
    for table in re.findall(r"<table>.*?</table>", page, re.DOTALL):
        rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
        yield [
            [
                html.unescape(cell).replace(ZERO_WIDTH_SPACE, "")
                for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
            ]
            for row in rows
        ]


@pytest.mark.parametrize("name", sorted(pages.CASES))
def test_the_comment_of_each_case_is_as_it_was_reviewed(name, assert_golden):
    assert_golden(f"tests/goldens/comment-{name}.md", render_comment(pages.CASES[name]()))


@pytest.mark.parametrize("name", ["fail", "none"])
def test_the_summary_is_as_it_was_reviewed(name, assert_golden):
    assert_golden(f"tests/goldens/summary-{name}.md", render_summary(pages.CASES[name]()))


@pytest.mark.parametrize("name", ["several", "error", "none", "observe"])
def test_the_lines_for_the_log_are_as_they_were_reviewed(name, assert_golden):
    assert_golden(f"tests/goldens/run-{name}.txt", render_log(pages.CASES[name]()))


@CASES
def test_the_marker_is_the_first_line_once_and_the_decision_is_the_first_that_is_seen(make):
    run = make()
    lines = render_comment(run).splitlines()
    assert lines[0] == MARKER == comment_marker(run.policy.key)
    assert "\n".join(lines).count("<!--") == 1
    decision = "NOTHING TO JUDGE" if run.decision == "none" else run.decision.upper()
    assert lines[1].startswith(f"## {decision}")
    assert sum(line.startswith("## ") for line in lines) == 1


@CASES
@pytest.mark.parametrize("render", RENDERERS.values(), ids=RENDERERS.keys())
def test_no_html_but_our_own_is_in_a_page(make, render):
    text = outside_code(render(make())).removeprefix(MARKER)
    assert "<" not in re.sub(r"^</?details>$|^<summary>|</summary>$", "", text, flags=re.MULTILINE)
    found = to_html(render(make()))
    assert found.count("<details>") == found.count("</details>") == found.count("<summary>")
    assert not re.search(r"<(?:img|script|b|a(?! href=\"https://github\.com/org/tunes/))\b", found)


@CASES
def test_no_mention_no_issue_and_no_link_but_that_to_the_run_is_in_a_comment(make):
    address = "(https://github.com/org/tunes/actions/runs/123/attempts/1)"
    text = outside_code(render_comment(make())).replace(f"[Open the run]{address}", "")
    assert not re.search(r"@\w|(?<!&)#\w|(?<!\\)\$\w", text)
    assert not re.search(r"://|(?i:www\.)|(?i:gh-\d)", text)
    assert not re.search(r"(?<!\\)\]\(", text)


@CASES
@pytest.mark.parametrize("render", [*RENDERERS.values(), render_log], ids=[*RENDERERS, "log"])
def test_no_control_character_and_no_turned_text_is_in_a_page(make, render):
    assert re.fullmatch(r"[^\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ufeff\u200d]*", render(make()))


@CASES
def test_every_row_of_every_table_has_a_cell_for_each_title(make):
    text = render_comment(make())
    written = len(re.findall(r"^\| -", text, re.MULTILINE))
    read = list(tables(to_html(text)))
    assert written == len(read)
    for table in read:
        assert {len(row) for row in table} == {len(table[0])}
    lines = [line for line in outside_code(text).splitlines() if line.startswith("|")]
    assert len(lines) == sum(len(table) + 1 for table in read)


@settings(max_examples=25)
@given(name=names, base=names)
@example(name="|", base="\\|")
@example(name="\\", base="`")
@example(name="</summary>", base="-->")
def test_any_names_are_read_back_from_the_table_as_they_are(name, base):
    run = pages.run(
        pages.subject(docs.failing(), name=name),
        pages.subject(name=f"{name}x", base=base, error=pages.error(message=name)),
    )
    text = render_comment(run)
    page = to_html(text)
    first, second = next(tables(page))[1:]
    assert first[1] == f"{clean(name, 60)} (changed)"
    assert second[1] == f"{clean(name + 'x', 60)} (changed)"
    assert second[5] == clean(name)[:240] or len(name) > 100
    assert text.count("<!--") == 1
    assert page.count("<details>") == page.count("</details>") == page.count("<summary>")
    for table in tables(page):
        assert {len(row) for row in table} == {len(table[0])}


@given(text=names)
def test_any_note_is_a_paragraph_of_plain_text(text):
    page = to_html(render_comment(pages.nothing(), note=f"x{text}"))
    told = re.findall(r"<p>(.*?)</p>", page)
    shown = [html.unescape(each).replace(ZERO_WIDTH_SPACE, "") for each in told]
    assert clean(f"x{text}", 600) in shown


def test_every_chart_is_read_by_mermaid_itself():
    whole = [render_full(make()) for make in ALL.values()]
    whole.append(render_full(pages.run(pages.subject(docs.large()))))
    text = "\n".join(whole)
    charts = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    assert len(charts) > 8
    script = """
    const { JSDOM } = require('jsdom');
    const { window } = new JSDOM('');
    globalThis.window = window; globalThis.document = window.document;
    (async () => {
      const mermaid = (await import('mermaid')).default;
      const charts = JSON.parse(require('fs').readFileSync(0, 'utf8'));
      const found = [];
      for (const chart of charts) {
        try { found.push((await mermaid.parse(chart)).diagramType); }
        catch (problem) { found.push(String(problem)); }
      }
      console.log(JSON.stringify(found));
    })();
    """
    broken = charts[0].replace("0.", "1e-", 1)
    found = json.loads(run_node(script, stdin=json.dumps([broken, *charts])))
    assert "rror" in found[0]
    assert set(found[1:]) == {"xychart"}


def test_warn_and_observe_say_that_the_check_is_green_nevertheless():
    text = render_comment(pages.observing())
    assert "## FAIL (observe mode): support-bot is beyond policy production" in text
    assert "This check is green nevertheless: the policy is in observe mode." in text
    assert "In mode enforce it would have been red." in text


def test_an_error_beside_what_is_observed_is_why_the_check_is_red():
    run = pages.run(
        pages.subject(docs.observing()), pages.subject(name="other", error=pages.error())
    )
    assert "This check is red (exit code 4): what could not be judged" in render_comment(run)


def test_another_base_than_before_is_told_before_the_table():
    text = render_comment(pages.several())
    told = text.index("coder has another base than before: hf:org/base@")
    assert "> [!WARNING]\n> coder has" in text
    assert told < text.index("### Candidates")


def test_more_than_five_candidates_with_another_base_are_counted():
    moved = [
        pages.subject(name=f"c{i}", former_base="hf:org/old", error=pages.error()) for i in range(8)
    ]
    assert "3 further candidates with another base than before." in render_comment(
        pages.run(*moved)
    )


def test_an_edit_of_the_policy_is_told_and_changes_nothing():
    text = render_comment(pages.editing())
    assert text.splitlines()[1].startswith("## FAIL")
    assert "judged by the policy as it is without the edit. The edit loosens the policy." in text
    (rows,) = [rows for rows in tables(to_html(text)) if rows[0][0] == "Candidate"]
    assert rows[1][:3] == ["support-bot", "FAIL", "WARN"]


@pytest.mark.parametrize(
    "url",
    [
        "http://github.com/org/tunes/actions/runs/1",
        "https://github.com/org/other/actions/runs/1",
        "https://github.com/org/tunes/actions/runs/1)[x](https://evil.example",
        "https://evil@github.com/org/tunes/actions/runs/1",
        "javascript:alert(1)//https://github.com/org/tunes/actions/runs/1",
        "https://github.com/org/tunes/actions/runs/1\n# x",
        "",
        None,
    ],
)
def test_an_address_that_is_not_that_of_a_run_of_the_repository_is_no_link(url):
    text = render_comment(pages.run(event=pages.event(run_url=url)))
    assert "](" not in text


def test_what_is_changed_and_left_is_counted_where_nothing_was_judged():
    assert "2 candidates of sdi-gate.yml were left as they are" in render_comment(pages.nothing())
    empty = render_comment(pages.run(num_unchanged=0, manifest=None))
    assert "the manifest has no entry to judge: nothing was measured." in empty


def test_no_line_of_the_log_starts_with_a_name():
    for line in render_log(pages.hostile(ATTACKS)).splitlines():
        assert re.match(r"(?:PASS|FAIL|ERROR)[^:]*: |  - |- |$", line)
