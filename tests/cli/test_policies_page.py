"""Run every command that docs/policies.md shows, and hold what it shows against what they print.

After a wanted change, `pytest tests/cli/test_policies_page.py --update-goldens` writes the page
anew: outputs only. A fence after ``<!-- file: NAME -->`` is a file that later commands read.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from commands import PROJECT, environment
from written_policies import write_results

from sdi_gate.cli.main import cli
from sdi_gate.policy.format.limits import BehaviourLimits, Limits, SignalLimits
from sdi_gate.policy.format.provisions import Metadata, Waiver
from sdi_gate.policy.format.schema import Policy
from sdi_gate.policy.format.section import Section, kebab
from sdi_gate.policy.loader import load_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from commands import Ended

PAGE = "docs/policies.md"
TEXT = (PROJECT / PAGE).read_text(encoding="utf-8")
_FENCE = re.compile(
    r"(?P<mark><!-- file: (?P<file>\S+) -->\n)?```(?P<kind>\w+)\n(?P<body>.*?)```", re.DOTALL
)
# The key is made anew each time that somebody follows the page; the page shows the one of its day.
_KEY = re.compile(r"(?<=, key )sha256:[0-9a-f]{16}")
# Made up for the page: how far four fine-tunes moved.
RESULTS = {"assistant-1": 0.1, "assistant-2": 0.2, "assistant-3": 0.8, "assistant-4": 1.0}


@dataclass(kw_only=True)
class Reader:
    """Do what the page says, in a folder of one's own, and write down what is printed."""

    run: Callable[..., Ended]
    env: Mapping[str, str]
    code: int = field(default=0)

    def fence(self, found: re.Match[str]) -> str:
        if found["file"]:
            Path(found["file"]).write_text(found["body"], encoding="utf-8")
        if found["kind"] != "console":
            return found[0]
        commands = [line for line in found["body"].splitlines() if line.startswith("$ ")]
        assert found["body"].startswith("$ ")
        shown = (f"{line}\n{self.output(line[2:])}" for line in commands)
        return "".join(("```console\n", *shown, "```"))

    def output(self, command: str) -> str:
        if command == "echo $?":
            return f"{self.code}\n"
        words = command.split()
        if words[0] == "sdi-gate" and not set(command) & set("|>'\""):
            ended = self.run(*words[1:])
            self.code = ended.code
            return ended.out + ended.err
        done = subprocess.run(  # noqa: S603 - the commands of a page of ours
            ["/bin/sh", "-c", command],
            check=False,
            capture_output=True,
            env=dict(self.env),
            text=True,
            timeout=60,
        )
        self.code = done.returncode
        return done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the page signs with openssl")
def test_every_output_on_the_page_is_what_the_command_prints(
    run_here, tmp_path, monkeypatch, assert_golden
):
    monkeypatch.chdir(tmp_path)
    write_results(tmp_path / "results", RESULTS)
    path = f"{Path(sys.executable).parent}:{environment(tmp_path)['PATH']}"
    reader = Reader(run=run_here, env=environment(tmp_path, PATH=path))
    printed = _FENCE.sub(reader.fence, TEXT)
    (shown,) = set(_KEY.findall(TEXT))
    assert len(set(_KEY.findall(printed))) == 1
    assert_golden(PAGE, _KEY.sub(shown, printed))


def _file(name: str) -> str:
    return next(found["body"] for found in _FENCE.finditer(TEXT) if found["file"] == name)


def test_the_annotated_example_is_valid_and_has_every_key_of_the_format(tmp_path):
    for name in ("house.yml", "full.yml"):
        (tmp_path / name).write_text(_file(name), encoding="utf-8")
    policy = load_policy(tmp_path / "full.yml").policy
    assert [*_unset((policy,), "policy")] == []


def _unset(sections: tuple[Section, ...], path: str) -> Iterator[str]:
    """Yield the keys that none of some sections of one kind has."""
    for name in type(sections[0]).model_fields:
        key = f"{path}.{kebab(name)}"
        values = [value for one in sections if (value := getattr(one, name)) is not None]
        # One of the two steps is enough.
        if not values and name not in {"warn", "fail"}:
            yield key
        below = [
            each for value in values for each in (value if isinstance(value, tuple) else [value])
        ]
        # What stands below names of the user's own, such as strata, has its keys in tables alone.
        inner = tuple(each for each in below if isinstance(each, Section))
        if inner and key != "policy.match.limits":
            yield from _unset(inner, key)


MODELS = {
    "": Policy,
    "metadata.": Metadata,
    "limits": Limits,
    "signals.": SignalLimits,
    "behaviour.": BehaviourLimits,
    "waivers": Waiver,
}


@pytest.mark.parametrize("prefix", MODELS, ids=[prefix.strip(".") or "top" for prefix in MODELS])
def test_every_key_has_a_row(prefix):
    tables = "\n".join(line for line in TEXT.splitlines() if line.startswith("| `"))
    before = prefix if prefix.endswith(".") else ""
    names = [info.alias or kebab(name) for name, info in MODELS[prefix].model_fields.items()]
    assert [name for name in names if not re.search(rf"`{before}{name}[`.]", tables)] == []


def test_every_section_that_is_pointed_to_is_there():
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", TEXT), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors


def test_every_command_in_a_shell_block_exists_with_its_options():
    blocks = [found["body"] for found in _FENCE.finditer(TEXT) if found["kind"] == "sh"]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    asked = [line.split() for line in lines if line.startswith("sdi-gate ")]
    assert asked
    for words in asked:
        command = cli
        rest = words[1:]
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]
        known = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known


def test_every_yaml_block_can_be_read_by_a_common_reader():
    for found in _FENCE.finditer(TEXT):
        if found["kind"] == "yaml":
            assert yaml.safe_load(found["body"])
