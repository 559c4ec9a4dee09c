"""How the action's program ends: exit code, outputs and annotations, whatever happens."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from action_job import Job
from run_documents import error, failing, nothing, run, subject

import sdi_gate.action.main as main_module
import sdi_gate.action.publish as publish_module
from sdi_gate.action.environment import choose_out, configure
from sdi_gate.action.folder import OutFolder
from sdi_gate.action.inputs import KNOWN_INPUTS, ActionInputs, CommentMode
from sdi_gate.action.main import main
from sdi_gate.action.outcome import OUTPUTS, outputs_of, without_verdict
from sdi_gate.action.posting import CommentPlan, plan_comment
from sdi_gate.action.publish import Publisher
from sdi_gate.action.scans import in_order_of_bases
from sdi_gate.action.session import Session
from sdi_gate.action.surroundings import event_of, github_of, run_url_of
from sdi_gate.errors import UsageError
from sdi_gate.integrations.runner.event import Event, Kind

INPUTS = ActionInputs(policy="p.yml", manifest="m.yml", comment=CommentMode.NEVER)
PULL = Event(
    name="pull_request",
    kind=Kind.PULL_REQUEST,
    repository="acme/models",
    head_sha="1" * 40,
    pull_request=7,
)


def changed(event, **fields):
    kept = {name: getattr(event, name) for name in Event.__dataclass_fields__}
    return Event(**(kept | fields))


def publisher(folder, **environment):
    folder = OutFolder(folder)
    session = Session(environment=environment)
    return Publisher(
        inputs=INPUTS,
        event=PULL,
        folder=folder,
        github=lambda: github_of(INPUTS, {"GITHUB_API_URL": "http://127.0.0.1:9"}),
        session=session,
    )


# The program.


def test_help_names_every_input_and_ends_with_0(capsys):
    assert main(["--help"], {}) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in KNOWN_INPUTS)


@pytest.mark.parametrize("words", [["gate"], ["judge", "x"], ["--verbose"]])
def test_other_words_on_the_command_line_are_refused(words, capsys):
    assert main(words, {}) == 2
    assert "expected no argument, judge or comment" in capsys.readouterr().err


def test_the_command_line_chooses_the_command(capsys):
    assert main(["comment"], {}) == 2
    assert "run: required for command comment" in capsys.readouterr().err


def test_without_a_runner_nothing_is_a_command_and_secrets_are_hidden(capsys):
    before = sys.stdout, sys.stderr, logging.getLogger("sdi_gate").level
    environment = {"INPUT_HF-TOKEN": "canary canary", "INPUT_TIER": "canary canary"}
    assert main([], environment) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "::" not in captured.err
    assert "canary" not in captured.err
    assert (sys.stdout, sys.stderr, logging.getLogger("sdi_gate").level) == before


@pytest.mark.parametrize("debug", ["1", ""])
def test_where_it_crashed_is_logged_for_a_runner_that_asks_for_more(debug, tmp_path, monkeypatch):
    def broken(*_: object) -> None:
        msg = "::error::x"
        raise RuntimeError(msg)

    monkeypatch.setattr(main_module, "read_inputs", broken)
    job = Job(folder=tmp_path, api_url="http://127.0.0.1:9", variables={"RUNNER_DEBUG": debug})
    ended = job.here("push", {})
    assert (ended.code, ended.outputs) == (1, without_verdict())
    assert ("Traceback" in ended.shown) == bool(debug)
    assert len(ended.log.done) == 1


def test_outputs_that_cannot_be_handed_over_are_a_warning_and_no_other_exit_code(tmp_path, capsys):
    environment = {"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(tmp_path / "none")}
    assert main([], environment) == 2
    assert "::warning title=sdi-gate::cannot write the file" in capsys.readouterr().out


def test_a_process_ends_with_the_code_and_speaks_on_one_pipe_only(tmp_path):
    job = Job(folder=tmp_path, api_url="http://127.0.0.1:9")
    ended = job.start("push", {}, "0" * 40, "judge")
    assert (ended.code, ended.outputs) == (2, without_verdict())
    assert "policy: required" in ended.shown
    assert ended.annotations("error")


@pytest.mark.parametrize("module", ["main", "comment", "judge", "publish"])
def test_torch_is_not_loaded_before_there_is_something_to_scan(module):
    code = f"import sys, sdi_gate.action.{module}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=120)  # noqa: S603
    assert done.returncode == 0


# What is told at the end.


def test_an_exit_code_that_is_not_the_runs_takes_its_outputs_away():
    session = Session(environment={})
    assert session.settle({"decision": "pass"}, 0) == 0
    session.end(0)
    assert session.outputs == {"decision": "pass"}
    session.end(130)
    assert session.outputs == without_verdict()
    assert [told.name for told in session.annotations] == ["error"]


def test_outputs_are_of_the_candidate_that_decided():
    found = outputs_of(run(subject("a"), subject("b", result=failing())), {})
    assert (found["decision"], found["candidates"]) == ("fail", "2")
    assert found["sdi"] == f"{failing().sdi.estimate.value:.6g}"
    assert tuple(found) == OUTPUTS


def test_outputs_without_a_number_are_empty():
    found = outputs_of(run(subject("a", error=error())), {})
    told = (found["decision"], found["sdi"], found["predicted-degradation"], found["run-path"])
    assert told == ("error", "", "", "")
    assert outputs_of(nothing(), {})["decision"] == "none"


# Files.


def test_a_report_that_cannot_be_written_turns_0_into_6_and_hides_no_10(tmp_path):
    for judged, code in ((run(subject()), 6), (run(subject(result=failing())), 10)):
        publishing = publisher(tmp_path / "none")
        assert publishing.publish(judged) == code
        assert publishing.session.outputs["run-path"] == ""
        assert publishing.session.annotations[0].name == "error"


def test_a_candidates_files_that_could_not_be_written_turn_0_into_6(tmp_path):
    assert publisher(tmp_path).publish(run(subject()), is_whole=False) == 6
    assert publisher(tmp_path).publish(run(subject())) == 0


@pytest.mark.parametrize("name", ["render_full", "render_comment", "render_log", "annotations_of"])
def test_a_view_that_fails_changes_no_verdict(name, tmp_path, monkeypatch):
    def broken(*_: object) -> None:
        msg = "hostile"
        raise RuntimeError(msg)

    monkeypatch.setattr(publish_module, name, broken)
    publishing = publisher(tmp_path)
    assert publishing.publish(run(subject(result=failing()))) == 10
    told = [told for told in publishing.session.annotations if "internal error" in told.data]
    assert len(told) == 1
    assert "RuntimeError" in told[0].data
    assert "hostile" not in told[0].data


def test_a_summary_that_cannot_be_written_is_a_warning(tmp_path):
    publishing = publisher(tmp_path, GITHUB_STEP_SUMMARY=str(tmp_path / "none"))
    assert publishing.publish(run(subject())) == 0
    assert "the summary could not be written" in publishing.session.annotations[0].data


def test_a_folder_that_cannot_be_used_is_told_before_anything_else(tmp_path):
    (tmp_path / "run.json" / "x").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"cannot remove the former run\.json"):
        OutFolder(tmp_path).prepare()


def test_files_are_left_to_root_where_the_runner_is_root(tmp_path):
    folder = OutFolder(tmp_path)
    (tmp_path / "x").touch()
    folder.hand_over(None)
    folder.hand_over(str(tmp_path))
    folder.hand_over(str(tmp_path / "none"))
    assert (tmp_path / "x").stat().st_uid == os.geteuid()


def test_there_is_no_folder_without_the_runners_unless_one_is_given(tmp_path):
    with pytest.raises(UsageError, match="RUNNER_TEMP is not set"):
        choose_out(INPUTS, {})
    assert choose_out(INPUTS, {"RUNNER_TEMP": str(tmp_path)}) == tmp_path / "sdi-gate"
    linked = tmp_path / "link"
    linked.symlink_to(tmp_path / "workspace")
    given = ActionInputs(policy="p", manifest="m", out=linked / "x")
    with pytest.raises(UsageError, match="outside the workspace"):
        choose_out(given, {"GITHUB_WORKSPACE": str(tmp_path / "workspace")})


# The environment.


def test_inputs_reach_the_libraries_and_an_empty_secret_is_none():
    environment = {"HF_TOKEN": "", "MLFLOW_TRACKING_TOKEN": " ", "HF_HOME": "/elsewhere"}
    configure(INPUTS, environment)
    assert environment == {"HF_HOME": "/elsewhere"}
    given = ActionInputs(
        policy="p",
        manifest="m",
        hf_token="a",  # noqa: S106 - nobody's
        mlflow_tracking_uri="https://b",
        mlflow_tracking_token="c",  # noqa: S106
        cache=Path("/cache"),
    )
    configure(given, environment)
    assert environment == {
        "HF_HOME": "/cache/huggingface",
        "HF_TOKEN": "a",
        "MLFLOW_TRACKING_TOKEN": "c",
        "MLFLOW_TRACKING_URI": "https://b",
        "SDI_GATE_CACHE": "/cache/profiles",
    }


@pytest.mark.parametrize("path", ["", "/none/event.json", "/dev/zero", "a\0b"])
def test_an_event_that_cannot_be_read_is_one_error(path):
    with pytest.raises(UsageError, match="GITHUB_EVENT_PATH"):
        event_of({"GITHUB_EVENT_PATH": path})


@pytest.mark.parametrize(
    ("server", "number", "expected"),
    [
        ("https://github.com", "12", "https://github.com/o/r/actions/runs/12"),
        ("https://ghe.example.com/", "12", "https://ghe.example.com/o/r/actions/runs/12"),
        ("http://github.com", "12", None),
        ("https://github.com", "1/../2", None),
        ("https://a\nb", "12", None),
        ("", "", None),
    ],
)
def test_the_address_of_a_run_is_made_of_what_the_runner_says(server, number, expected):
    environment = {"GITHUB_SERVER_URL": server, "GITHUB_RUN_ID": number}
    assert run_url_of(environment, "o/r") == expected


# When there is a comment.


@pytest.mark.parametrize(
    ("event", "mode", "judged", "expected"),
    [
        (PULL, "always", run(subject()), False),
        (PULL, "always", nothing(), True),
        (PULL, "on-failure", run(subject()), True),
        (PULL, "on-failure", run(subject(result=failing())), False),
        (PULL, "on-failure", run(subject("a", error=error())), False),
        (PULL, "never", run(subject(result=failing())), None),
        (changed(PULL, is_fork=True), "always", run(subject()), None),
        (changed(PULL, is_fork=True, name="pull_request_review"), "always", run(subject()), None),
        (changed(PULL, is_fork=True, name="pull_request_target"), "always", run(subject()), False),
        (changed(PULL, kind=Kind.MERGE_GROUP), "always", run(subject(result=failing())), None),
        (changed(PULL, pull_request=None), "always", run(subject()), None),
    ],
)
def test_a_comment_is_made_where_it_is_news_and_may_be_made(event, mode, judged, expected):
    plan = plan_comment(judged, event, CommentMode(mode))
    wanted = None if expected is None else CommentPlan(number=7, only_existing=expected)
    assert plan == wanted


def test_candidates_of_one_base_are_scanned_one_after_the_other():
    assert in_order_of_bases(["a", "b", None, "a", "b", None]) == [0, 3, 1, 4, 2, 5]
    assert in_order_of_bases([]) == []
