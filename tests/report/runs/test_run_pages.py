import re

import page_documents as pages
import pytest
import report_documents as docs

from sdi_gate.report.runs.comment import MAX_BYTES, MAX_CHARACTERS, render_comment
from sdi_gate.report.runs.full import render_full
from sdi_gate.report.runs.pages import Limit
from sdi_gate.report.runs.reproduce import reproduce
from sdi_gate.report.runs.summary import MAX_BYTES as MAX_SUMMARY
from sdi_gate.report.runs.summary import render_summary

WIDE = "\U0001f600"


def judged(result):
    """The result as the run's policy judged it."""
    update = {"policy_name": "production", "policy_digest": pages.DIGEST}
    return result.model_copy(update={"verdict": result.verdict.model_copy(update=update)})


def crowd(num, *, num_failed=0, name="c"):
    """Many candidates; those that fail come last."""
    passing, failing = docs.passing(), docs.failing()
    return pages.run(
        *(
            pages.subject(failing if i >= num - num_failed else passing, name=f"{name}{i}")
            for i in range(num)
        )
    )


def deep(num_layers):
    layers = tuple(f"model.layers.{i}" for i in range(num_layers))
    verdict = docs.failing().verdict
    return docs.document(layers=layers, ran="weights", verdict=verdict)


def fits(text):
    units = len(text.encode("utf-16-le")) // 2
    return units <= MAX_CHARACTERS and len(text.encode()) <= MAX_BYTES


def decisions(text):
    rows = text.split("### Candidates")[1].split("\n### ")[0]
    return re.findall(r"^\| (PASS|FAIL|ERROR)", rows, re.MULTILINE)


def test_two_hundred_candidates_fit_and_all_that_fail_come_first():
    text = render_comment(crowd(200, num_failed=30))
    assert fits(text)
    found = decisions(text)
    assert found == ["FAIL"] * 30 + ["PASS"] * (len(found) - 30)
    left = 200 - len(found)
    assert f"{left} of 200 candidates not shown; run.json has all." in text or left == 0
    assert "Shortened to fit a comment; left out in part or whole:" in text
    assert "The run wrote the full report as report.md, and every number as run.json." in text
    assert text.count("<details>") == text.count("</details>")


def test_what_passes_loses_its_details_before_what_fails():
    text = render_comment(crowd(30, num_failed=4))
    assert "<summary>FAIL: c27, sdi" in text
    assert text.count("<summary>FAIL") == 3
    assert text.count("<summary>PASS") < 26


def test_ten_thousand_layers_fit():
    run = pages.run(*(pages.subject(deep(10_000), name=f"c{i}") for i in range(3)))
    text = render_comment(run)
    assert fits(text)
    assert decisions(text) == ["FAIL"] * 3
    assert "```mermaid" in text
    assert len(render_summary(run).encode()) <= MAX_SUMMARY


@pytest.mark.parametrize("char", ["|", WIDE])
@pytest.mark.parametrize("saved", [False, True], ids=["failed", "saved by waivers"])
def test_the_longest_possible_run_fits(char, saved):
    worst = char * 300
    result = judged(docs.largest(char, saved=saved))
    many = (
        pages.subject(
            name=f"{i}{worst}",
            base=worst,
            candidate=worst,
            former_base=worst,
            error=pages.error(exit_code=1 + i % 6, message=3 * worst, hint=3 * worst),
        )
        for i in range(199)
    )
    run = pages.run(
        pages.subject(result, name=worst, former_base=worst, registered_name=worst),
        *many,
        policy=pages.policy(reference=worst, owner=worst, contact=worst),
        event=pages.event(name=worst, repository=worst, run_url=worst),
        manifest=worst,
        version=worst,
        edit=pages.PolicyEditEntry(files=(worst,) * 50, changes=(worst,) * 500, problem=worst),
    )
    text = render_comment(run, note=3 * worst)
    assert fits(text)
    assert decisions(text)
    assert text.count("<details>") == text.count("</details>")
    assert len(render_summary(run, max_bytes=100_000 * (4 if char == WIDE else 1)).encode()) <= (
        100_000 * (4 if char == WIDE else 1)
    )


@pytest.mark.parametrize("limit", [8_000, 12_000, 20_000, 30_000])
def test_a_shorter_limit_is_respected_by_leaving_out_and_never_by_cutting(limit):
    run = pages.several()
    text = render_comment(run, max_characters=limit)
    assert len(text) <= limit
    assert "Shortened to fit a comment" in text
    assert text.count("<details>") == text.count("</details>")
    assert decisions(text)[0] == "FAIL"
    assert "### What to do next" in text


def test_more_room_never_shows_less():
    run = pages.several()
    shown = [
        len(render_comment(run, max_characters=n)) for n in (8_000, 12_000, 20_000, 30_000, 60_000)
    ]
    assert shown == sorted(shown)


def test_a_limit_below_the_shortest_page_is_a_bug_and_nothing_is_cut_off():
    with pytest.raises(AssertionError, match="the shortest page is bounded"):
        render_comment(pages.several(), max_characters=1_000)


@pytest.mark.parametrize(
    ("limit", "text", "holds"),
    [
        (Limit(characters=3), "abc", True),
        (Limit(characters=3), "abcd", False),
        (Limit(characters=3), "a" + WIDE, True),
        (Limit(characters=3), WIDE + WIDE, False),
        (Limit(size_bytes=4), WIDE, True),
        (Limit(size_bytes=3), WIDE, False),
        (Limit(), "x" * 10**6, True),
    ],
    ids=["full", "over", "wide full", "wide over", "bytes full", "bytes over", "none"],
)
def test_a_limit_counts_as_the_strictest_reader_does(limit, text, holds):
    assert limit.holds(text) is holds


def test_the_full_report_has_every_candidate_whole():
    text = render_full(crowd(20, num_failed=2))
    assert len(decisions(text)) == 20
    assert "Shortened" not in text
    assert text.count("<summary>Provenance</summary>") == 20
    assert "<!--" not in text


def commands(result=None, event=None, policy=None, **overrides):
    found = docs.failing() if result is None else result
    subject = pages.subject(found, **overrides)
    run = pages.run(subject, event=event or pages.event(), policy=policy or pages.policy())
    return reproduce(run, subject)


def test_the_commands_pin_the_models_and_the_policy():
    found = commands(registered_name="support bot")
    assert f"--base hf:org/base@{pages.COMMIT}" in found.text
    assert f"--candidate hf:org/tune@{pages.COMMIT}" in found.text
    assert f"--expect-policy-digest {pages.DIGEST}" in found.text
    assert "--registered-name 'support bot'" in found.text
    assert f"git worktree add --detach ../sdi-gate-policy {pages.COMMIT}" in found.text


@pytest.mark.parametrize(
    ("reference", "line"),
    [
        ("org/policies//a/b.yml@" + pages.HEAD, "# in a clone of org/policies\n"),
        (
            f"hf:org/policies@{pages.HEAD}//a/b.yml",
            f"hf download org/policies a/b.yml --revision {pages.HEAD} --local-dir ../sdi-gate",
        ),
    ],
    ids=["git", "hub"],
)
def test_a_policy_of_another_repository_is_fetched_at_its_commit(reference, line):
    text = commands(policy=pages.policy(reference=reference)).text
    assert line in text
    assert pages.HEAD in text
    assert "--policy ../sdi-gate-policy/a/b.yml" in text


@pytest.mark.parametrize(
    "policy",
    ["/etc/passwd", "../x.yml", "a//b.yml", "-x", "a\nb", "$(x).yml", "https://x.example/p.yml"],
)
def test_a_policy_that_misleads_is_in_no_command(policy):
    found = commands(policy=pages.policy(reference=policy))
    assert found.text == ""
    assert found.sentences[0].startswith("The command is not shown: ")


@pytest.mark.parametrize("name", ["`x`", "-x", "a\nb", "\u202ex", "$(x)", "'", "<!-- x", "x" * 400])
def test_a_name_that_misleads_is_in_no_command(name):
    found = commands(registered_name=name)
    assert found.text == ""
    assert "the value of --registered-name" in found.sentences[0]


def test_what_was_not_judged_has_no_commands():
    subject = pages.subject(error=pages.error())
    assert reproduce(pages.run(subject), subject) is None


def test_folders_are_said_to_be_those_of_the_head():
    result = docs.adapter()
    found = commands(judged(result))
    assert "--candidate file:runs/7/adapter" in found.text
    assert f"Folders are those of commit {pages.HEAD}." in found.sentences
    assert (
        "Folders are the repository's."
        in commands(judged(result), event=pages.event(head_sha=None)).sentences
    )


def test_a_cut_budget_and_an_unknown_commit_are_said():
    tier = docs.failing().tier.model_copy(update={"cuts": ("2 of 9 strata",)})
    result = docs.failing().model_copy(update={"tier": tier})
    told = " ".join(commands(result, policy=pages.policy(commit=None)).sentences)
    assert "The budget cut what was measured" in told
    assert "The commit of the policy is not known" in told
