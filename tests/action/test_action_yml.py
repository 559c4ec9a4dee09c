"""Hold action.yml, the launcher and the Dockerfile to the program, and to their linters."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from sdi_gate.action.declared import KNOWN_INPUTS, forms_of
from sdi_gate.action.outcome import OUTPUTS

PROJECT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
ACTION = yaml.safe_load((PROJECT / "action.yml").read_text(encoding="utf-8"))
STEP = ACTION["runs"]["steps"][0]
DOCKERFILE = (PROJECT / "Dockerfile").read_text(encoding="utf-8")


def ran(tool, *arguments):
    command = [BIN / tool, *arguments]
    return subprocess.run(  # noqa: S603 - the linter of the environment that runs this
        command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_action_has_every_input_of_the_program_and_an_image_besides():
    assert list(ACTION["inputs"]) == [*KNOWN_INPUTS, "image"]


@pytest.mark.parametrize("name", KNOWN_INPUTS)
def test_an_input_is_described_as_the_program_describes_it(name):
    assert ACTION["inputs"][name]["description"] == KNOWN_INPUTS[name]


def test_defaults_are_the_programs_but_for_the_jobs_token_and_checks_that_are_not_asked_for():
    defaults = {name: of["default"] for name, of in ACTION["inputs"].items() if "default" in of}
    checks = ("expect-policy-digest", "minimum-policy-revision", "policy-public-key")
    assert defaults == {"github-token": "${{ github.token }}", **dict.fromkeys(checks, "none")}


def test_each_input_reaches_the_program_under_a_name_that_a_shell_can_hold():
    underscored = {name: forms_of(name)[1] for name in ACTION["inputs"]}
    assert STEP["env"] == {
        variable: f"${{{{ inputs.{name} }}}}" for name, variable in underscored.items()
    }
    assert all(re.fullmatch("[A-Z_]+", variable) for variable in underscored.values())


def test_the_outputs_are_those_that_the_program_writes():
    assert {name: of["value"] for name, of in ACTION["outputs"].items()} == {
        name: f"${{{{ steps.{STEP['id']}.outputs.{name} }}}}" for name in OUTPUTS
    }


def test_no_value_stands_in_the_script_of_the_step():
    assert "${{" not in STEP["run"]
    assert len(ACTION["runs"]["steps"]) == 1


def test_githubs_schema_has_nothing_against_the_action():
    found = ran("check-jsonschema", "--builtin-schema", "vendor.github-actions", "action.yml")
    assert found.returncode == 0, found.stdout


def test_zizmor_has_nothing_against_the_action():
    found = ran("zizmor", "--offline", "--no-progress", "--no-config", "action.yml")
    assert found.returncode == 0, found.stdout + found.stderr


def test_hadolint_has_nothing_against_the_dockerfile():
    found = ran("hadolint", "--no-color", "Dockerfile")
    assert (found.returncode, found.stdout) == (0, "")


def test_hadolint_would_say_what_is_wrong(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM debian:latest\nENTRYPOINT run\n", encoding="utf-8")
    found = ran("hadolint", "--no-color", str(tmp_path / "Dockerfile"))
    assert found.returncode == 1
    assert "DL3007" in found.stdout
    assert "DL3025" in found.stdout


def test_every_stage_of_the_image_stands_on_the_one_base_which_is_pinned():
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", DOCKERFILE, re.MULTILINE)
    named = {name for _, name in stages}
    assert [of for of, _ in stages if of not in named] == ["${BASE}"]
    base = re.search(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE)[1]
    assert re.fullmatch(r"[a-z0-9:.-]+@sha256:[0-9a-f]{64}", base)


def test_the_image_runs_python_without_a_shell_and_without_modules_of_the_checkout():
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    entry = '["/opt/sdi-gate/bin/python", "-I", "-u", "-m", "sdi_gate.action"]'
    assert re.findall("^ENTRYPOINT (.*)$", last, re.MULTILINE) == [entry]
    # A container action runs as root in /github/workspace: the runner relies on it.
    assert not re.search("^(USER|WORKDIR|RUN|CMD|SHELL) ", last, re.MULTILINE)


def test_the_image_is_labelled_with_the_version_of_the_project():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"\nARG VERSION={project['version']}\n" in DOCKERFILE


def test_the_builder_sees_only_what_the_image_is_made_of():
    lines = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "*"
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = set()
    for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        copied |= set(sources.split())
    assert copied == allowed
