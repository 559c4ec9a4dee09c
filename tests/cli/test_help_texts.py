import subprocess
import sys

import pytest
from commands import POLICIES, environment

STUDY = ("build", "measure", "evaluate", "collect", "merge", "fit", "report")
POLICY = ("init", "validate", "test", "explain", "diff", "replay", "digest", "schema")
COMMANDS = {
    "sdi-gate": (),
    "check": ("check",),
    "scan": ("scan",),
    "report": ("report",),
    "policy": ("policy",),
    **{f"policy-{command}": ("policy", command) for command in POLICY},
    "doctor": ("doctor",),
    "profile": ("profile",),
    "cache": ("cache",),
    "cache-list": ("cache", "list"),
    "cache-prune": ("cache", "prune"),
    "study": ("study",),
    **{f"study-{step}": ("study", step) for step in STUDY},
    "calibrate": ("calibrate",),
}
DEFAULT = str(POLICIES / "default.yml")
LIGHT = {
    **{f"{name}-help": (*command, "--help") for name, command in COMMANDS.items()},
    "version": ("--version",),
    "validate": ("policy", "validate", DEFAULT),
    "schema": ("policy", "schema"),
    "test-schema": ("policy", "schema", "--kind", "PolicyTest"),
    "digest": ("policy", "digest", DEFAULT),
    "test": ("policy", "test", str(POLICIES)),
    "explain": ("policy", "explain", DEFAULT),
    "diff": ("policy", "diff", DEFAULT, str(POLICIES / "strict.yml")),
}
_HEAVY = """
import sys
from sdi_gate.cli.main import main
code = main(sys.argv[1:])
heavy = {"torch", "transformers", "mlflow", "safetensors", "huggingface_hub"} & set(sys.modules)
sys.exit(f"loaded {heavy}" if heavy else code)
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_text_is_the_one_that_was_agreed_on(name, run_here, assert_golden):
    ended = run_here(*COMMANDS[name], "--help")
    assert (ended.code, ended.err) == (0, "")
    assert_golden(f"tests/goldens/help-{name}.txt", ended.out)


def test_the_short_option_shows_the_same_help(run_here):
    assert run_here("check", "-h") == run_here("check", "--help")


@pytest.mark.parametrize("arguments", LIGHT.values(), ids=LIGHT)
def test_help_and_policy_commands_load_no_machine_learning_library(arguments, tmp_path):
    loads_nothing_heavy(arguments, tmp_path)


def test_a_policy_is_begun_without_a_machine_learning_library(tmp_path):
    loads_nothing_heavy(("policy", "init", "--out", str(tmp_path / "p.yml")), tmp_path)


def loads_nothing_heavy(arguments, tmp_path):
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        [sys.executable, "-c", _HEAVY, *arguments],
        check=False,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_without_a_command_the_help_is_shown_as_an_error(run_here):
    ended = run_here()
    assert (ended.code, ended.out) == (2, "")
    assert "Usage: sdi-gate" in ended.err


def test_the_exit_codes_of_the_help_are_those_of_the_program(run_here):
    text = " ".join(run_here("--help").out.split())
    for words in ("0 pass or warn", "1 bug", "2 usage", "3 policy", "4 source", "10 fail"):
        assert words in text
    for words in ("5 incomparable models", "6 judged 0 but not published", "11 inconclusive"):
        assert words in text
