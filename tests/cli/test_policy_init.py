"""Run `sdi-gate policy init`, and use what it writes."""

import os
import re
from pathlib import Path

import pytest
import yaml
from commands import POLICIES, assert_one_clear_error

from sdi_gate.cli import policy_init
from sdi_gate.policy.telling import starting

POSTURES = ("default", "observe", "strict", "regulated")
_OWN = re.compile(r"^  (name|owner): .*$|^policy: .*$", re.MULTILINE)


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("posture", POSTURES)
def test_what_is_written_is_valid_and_its_tests_pass(run_here, tmp_path, posture):
    out = tmp_path / "ours.yml"
    ended = run_here("policy", "init", "--posture", posture, "--name", "our-policy", "--out", out)
    assert (ended.code, ended.err) == (0, "")
    assert files_in(tmp_path) == {"ours.yml", "ours.test.yml"}
    validated = run_here("policy", "validate", out)
    assert (validated.code, validated.err) == (0, "")
    assert "Policy our-policy" in validated.out
    tested = run_here("policy", "test", "--require-crossed", tmp_path)
    assert (tested.code, tested.err) == (0, ""), tested.out


@pytest.mark.parametrize("posture", POSTURES)
def test_the_shipped_policies_are_the_texts_that_are_written(posture):
    folder = Path(starting.__file__).parents[1] / "postures"
    for kind in ("yml", "test.yml"):
        written = (folder / f"{posture}.{kind}").read_bytes().decode()
        shipped = (POLICIES / f"{posture}.{kind}").read_bytes().decode()
        assert _OWN.sub("@@", written) == _OWN.sub("@@", shipped)


def test_there_are_no_other_postures_than_the_command_offers():
    folder = Path(starting.__file__).parents[1] / "postures"
    stems = {path.name.removesuffix(".yml").removesuffix(".test") for path in folder.iterdir()}
    assert stems == set(starting.POSTURES) == set(policy_init._POSTURES) == set(POSTURES)


def test_the_next_commands_are_said_and_can_be_run(run_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = run_here("policy", "init")
    assert ended.code == 0
    commands = [line.split("#")[0].split() for line in ended.out.splitlines() if "#" in line]
    assert [command[:3] for command in commands] == [
        ["sdi-gate", "policy", "validate"],
        ["sdi-gate", "policy", "test"],
    ]
    for command in commands:
        assert run_here(*command[1:]).code == 0
    assert files_in(tmp_path) == {"sdi-gate-policy.yml", "sdi-gate-policy.test.yml"}


def test_the_digest_that_is_said_is_that_of_the_file(run_here, tmp_path):
    out = tmp_path / "p.yml"
    said = run_here("policy", "init", "--out", out).out
    assert run_here("policy", "digest", out).out.split()[-1] in said


@pytest.mark.parametrize("owner", ["risk", "a: b", 'x"y\\1', "no", "#", "Ω \\g<0>"])
def test_an_owner_is_written_as_it_was_given(run_here, tmp_path, owner):
    out = tmp_path / "p.yml"
    assert run_here("policy", "init", "--owner", owner, "--out", out).code == 0
    assert yaml.safe_load(out.read_text(encoding="utf-8"))["metadata"]["owner"] == owner
    assert run_here("policy", "validate", out).code == 0


@pytest.mark.parametrize("name", ["1", "no", "1e3", "-", "a-b"])
def test_a_name_that_yaml_takes_for_something_else_stays_a_name(run_here, tmp_path, name):
    out = tmp_path / "p.yml"
    assert run_here("policy", "init", "--name", name, "--out", out).code == 0
    assert yaml.safe_load(out.read_text(encoding="utf-8"))["metadata"]["name"] == name
    assert run_here("policy", "validate", out).code == 0


@pytest.mark.parametrize("stem", ["a b", "ü", "it's", "-x", "a#b", "a: b", '"'])
def test_a_file_of_any_name_is_found_by_its_test(run_here, tmp_path, stem):
    out = tmp_path / f"{stem}.yml"
    assert run_here("policy", "init", "--out", out).code == 0
    assert run_here("policy", "test", tmp_path).code == 0


BAD = {
    "name": (("--name", "Our Policy"), "--name"),
    "empty-name": (("--name", ""), "--name"),
    "owner": (("--owner", "two\nlines"), "--owner"),
    "empty-owner": (("--owner", ""), "--owner"),
    "control-owner": (("--owner", "a\x1bb"), "--owner"),
    "long-owner": (("--owner", "x" * 201), "--owner"),
    "suffix": (("--out", "policy.json"), "--out"),
    "no-suffix": (("--out", "policy"), "--out"),
    "test-suffix": (("--out", "x.test.yml"), "--out"),
    "no-folder": (("--out", "gone/x.yml"), "there is no folder 'gone'"),
}


@pytest.mark.parametrize(("options", "words"), BAD.values(), ids=BAD)
def test_what_cannot_be_is_refused_and_nothing_written(
    run_here, tmp_path, monkeypatch, options, words
):
    monkeypatch.chdir(tmp_path)
    assert_one_clear_error(run_here("policy", "init", *options), 2, words)
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("there", ["p.yml", "p.test.yml"])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_nothing_is_overwritten(run_here, tmp_path, there, kind):
    path = tmp_path / there
    if kind == "file":
        path.write_text("mine", encoding="utf-8")
    else:
        path.symlink_to(tmp_path / "nowhere")
    ended = run_here("policy", "init", "--out", tmp_path / "p.yml")
    assert_one_clear_error(ended, 2, there, "nothing is overwritten")
    assert files_in(tmp_path) == {there}
    assert kind == "link" or path.read_text(encoding="utf-8") == "mine"


def test_a_file_that_appears_meanwhile_is_kept_and_the_other_taken_back(
    run_here, tmp_path, monkeypatch
):
    link = os.link

    def late(source, target):
        if target.name == "p.yml":
            target.write_text("mine", encoding="utf-8")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    ended = run_here("policy", "init", "--out", tmp_path / "p.yml")
    assert_one_clear_error(ended, 2, "cannot write", "File exists")
    assert files_in(tmp_path) == {"p.yml"}
    assert (tmp_path / "p.yml").read_text(encoding="utf-8") == "mine"


def test_a_file_system_without_links_will_do(run_here, tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(1, "Operation not permitted", source, None, target)

    monkeypatch.setattr(os, "link", refuse)
    assert run_here("policy", "init", "--out", tmp_path / "p.yml").code == 0
    assert files_in(tmp_path) == {"p.yml", "p.test.yml"}


def test_a_disk_that_is_full_leaves_nothing_behind(run_here, tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ended = run_here("policy", "init", "--out", tmp_path / "p.yml")
    assert_one_clear_error(ended, 2, "No space left on device")
    assert files_in(tmp_path) == set()


def test_an_interrupt_between_the_two_files_leaves_neither(run_here, tmp_path, monkeypatch):
    link = os.link

    def interrupted(source, target):
        if target.name == "p.yml":
            raise KeyboardInterrupt
        link(source, target)

    monkeypatch.setattr(os, "link", interrupted)
    assert run_here("policy", "init", "--out", tmp_path / "p.yml").code == 130
    assert files_in(tmp_path) == set()


def test_whoever_may_read_the_folder_may_read_the_files(run_here, tmp_path):
    run_here("policy", "init", "--out", tmp_path / "p.yml")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}
