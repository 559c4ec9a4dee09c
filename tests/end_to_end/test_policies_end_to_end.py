"""Policies from where they are kept to the report: fetched, trusted, judged, and judged again."""

from __future__ import annotations

import base64
import json
import logging
import re
import shutil
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch
from adapter_files import save_adapter
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from git_host import GitHost
from hub_server import HubServer
from huggingface_hub import constants
from huggingface_hub.utils import close_session
from tiny_models import add_noise, build_base, perturb
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

import sdi_gate.cli.scanning as scanning_module
from sdi_gate.cli.main import main
from sdi_gate.gate.procedure import Effects
from sdi_gate.report.document import load
from sdi_gate.report.recorded import facts_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HEAD = "apiVersion: sdi-gate/v1\nkind: Policy\nmetadata: {name: %s, revision: 7}\n"
# The candidate ``far`` is beyond it, ``near`` is not.
LIMIT = "required-tier: weights\nlimits: {sdi: {fail: 0.2}}\n"
PARENT = (
    HEAD % "house" + "required-tier: weights\nlimits: {sdi: {fail: 0.3}, coverage: {fail: 0.9}}\n"
)
WAIVER = """waivers:
  - id: W-1
    owner: research
    reason: The new domain is meant to be read otherwise.
    approved-by: risk-committee
    granted: 2026-06-01
    expires: 2026-06-30
    model: tune
    metric: sdi
    limit: 1.0
"""


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass
class World:
    """A folder with models and policies, and the command line."""

    folder: Path
    models: Path
    main: Callable[..., Ended]
    opened: list[str] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def report(self) -> str:
        return (self.out / "report.md").read_text(encoding="utf-8").partition("\n")[2]

    @property
    def result(self) -> dict:
        return json.loads((self.out / "result.json").read_text(encoding="utf-8"))

    @property
    def verdict(self) -> dict:
        return self.result["verdict"]

    def policy(self, text: str, name: str = "own") -> Path:
        path = self.folder / f"{name}.yml"
        path.write_text(text if "apiVersion" in text else HEAD % name + text, encoding="utf-8")
        return path

    def check(self, policy: Path, candidate: str, *more: object, base: str = "") -> Ended:
        named = candidate if ":" in candidate else f"file:{self.models / candidate}"
        models = ("--base", base or f"file:{self.models / 'base'}", "--candidate", named)
        written = ("--policy", policy, "--out", self.out)
        return self.main("check", *models, *written, "--tier", "weights", "--threads", 1, *more)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with ``base``, ``near``, ``far`` and ``adapter``; not to be changed."""
    folder = tmp_path_factory.mktemp("models")
    base = build_base(folder / "base")
    perturb(base, folder / "near", add_noise(0.001))
    perturb(base, folder / "far", add_noise(2.0))
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM", r=2)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    save_adapter(folder / "adapter", model, config)
    return folder


@pytest.fixture
def world(models, tmp_path, monkeypatch, capsys):
    for name in ("SDI_GATE_POLICY_PUBLIC_KEY", "GITHUB_TOKEN", "GH_TOKEN", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("SDI_GATE_CACHE", str(tmp_path / "profiles"))
    logger = logging.getLogger("sdi_gate")
    before = torch.get_num_threads(), transformers_logging.get_verbosity(), list(logger.handlers)

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ended(code=code, out=captured.out, err=captured.err)

    world = World(folder=tmp_path, models=models, main=run)
    whole = scanning_module.run_scan

    def opened(request, effects):
        world.opened.append(str(request.candidate))
        return whole(request, effects)

    monkeypatch.setattr(scanning_module, "run_scan", opened)
    yield world
    torch.set_num_threads(before[0])
    torch.use_deterministic_algorithms(mode=False)
    transformers_logging.set_verbosity(before[1])
    transformers_logging.enable_progress_bar()
    logger.handlers[:] = before[2]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    # The client reads the environment when it is imported, and asks for itself where it should not.
    with HubServer() as server:
        files = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        yield server
        close_session()


@pytest.fixture
def on_day(monkeypatch):
    """Let scans run at noon of a day."""

    def freeze(day):
        now = datetime.fromisoformat(f"{day}T12:00:00+00:00")
        monkeypatch.setattr(scanning_module, "Effects", partial(Effects, now=lambda: now))

    return freeze


# What a policy extends, and what is expected of it.


@pytest.fixture
def git(monkeypatch):
    with GitHost() as host:
        monkeypatch.setenv("GITHUB_API_URL", host.url)
        yield host


@pytest.fixture(params=["git", "hub"])
def trusted(request, world):
    """A signed policy whose parent is elsewhere; what is expected of it; how to swap the parent."""
    host = request.getfixturevalue(request.param)
    loose = PARENT.replace("coverage: {fail: 0.9}", "coverage: {fail: 0.1}").encode()
    if request.param == "git":
        name = ("owner/rules", COMMIT, "rules/house.yml")
        host.files[name] = PARENT.encode()
        parent = f"owner/rules//rules/house.yml@{COMMIT}"

        def swap():
            host.files[name] = loose
    else:
        folder = world.folder / "rules"
        folder.mkdir()
        (folder / "house.yml").write_text(PARENT, encoding="utf-8")
        commit = host.commit("org/rules", folder)
        parent = f"hf:org/rules@{commit}//house.yml"

        def swap():
            # The Hub itself serves and promises other bytes at the commit.
            shutil.rmtree(world.folder / "hub")
            host.repos["org/rules"].commits[commit]["house.yml"] = loose

    policy = world.policy(f"extends: {parent}\n{LIMIT}")
    line = world.main("policy", "digest", policy).out
    signature = world.folder / "own.yml.sig"
    signature.write_bytes(base64.b64encode(KEY.sign(line.encode())))
    key = world.folder / "key.pub"
    key.write_bytes(KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    expected = {
        "--policy-public-key": key,
        "--expect-policy-digest": line.split()[-1],
        "--minimum-policy-revision": 7,
    }
    return policy, expected, swap


def given(expected):
    return [word for pair in expected.items() for word in pair]


def test_a_policy_from_elsewhere_that_is_as_expected_judges(world, trusted):
    policy, expected, _ = trusted
    ended = world.check(policy, "far", *given(expected))
    assert ended.code == 10, ended.err
    verdict = world.verdict
    assert verdict["signature"] == "verified"
    assert verdict["policy_digest"] == expected["--expect-policy-digest"]
    assert re.fullmatch("sha256:[0-9a-f]{16}", verdict["signature_key"])
    assert f"| policy signature | verified with key {verdict['signature_key']} |" in world.report
    assert f"Signature: verified with {expected['--policy-public-key']}" in ended.err
    assert world.check(policy, "near", *given(expected)).code == 0


def test_a_signature_that_nobody_checks_is_not_said_to_be_verified(world, trusted):
    policy, _, _ = trusted
    assert world.check(policy, "near").code == 0
    assert (world.verdict["signature"], world.verdict["signature_key"]) == ("not-checked", None)
    assert "| policy signature | not checked |" in world.report


def swap_parent(_world, _expected, swap):
    swap()


def strip_signature(world, *_):
    (world.folder / "own.yml.sig").unlink()


def expect_another_digest(_world, expected, _swap):
    expected["--expect-policy-digest"] = f"sha256:{'0' * 64}"


def expect_a_later_revision(_world, expected, _swap):
    expected["--minimum-policy-revision"] = 8


BREAKING = {
    swap_parent: "none by this key over this policy",
    strip_signature: "No such file",
    expect_another_digest: "digest: expected sha256:000",
    expect_a_later_revision: "revision: expected at least 8, got 7",
}


@pytest.mark.parametrize("break_it", BREAKING, ids=lambda way: way.__name__.replace("_", " "))
def test_nothing_is_measured_under_a_policy_that_is_not_as_expected(world, trusted, break_it):
    policy, expected, swap = trusted
    world.out.mkdir()
    for name in ("result.json", "report.md"):
        (world.out / name).write_text("of a former run", encoding="utf-8")
    break_it(world, expected, swap)
    ended = world.check(policy, "near", *given(expected))
    assert (ended.code, ended.out, world.opened) == (3, "", []), ended.err
    assert BREAKING[break_it] in ended.err
    assert list(world.out.iterdir()) == []


# Waivers and modes.


def test_a_waiver_lets_a_candidate_through_on_its_last_day_and_not_on_the_next(world, on_day):
    policy = world.policy(LIMIT + WAIVER)
    on_day("2026-06-30")
    ended = world.check(policy, "far", "--registered-name", "tune")
    assert (ended.code, world.verdict["status"]) == (0, "warn"), ended.err
    first = world.report.splitlines()[:12]
    assert first[0].startswith("# WARN: ")
    assert any("Not a FAIL by waiver W-1" in line for line in first)
    on_day("2026-07-01")
    ended = world.check(policy, "far", "--registered-name", "tune")
    assert (ended.code, world.verdict["status"]) == (10, "fail")
    assert "Waiver W-1 expired on 2026-06-30" in ended.out.replace("\n", " ")
    assert world.report.startswith("# FAIL: ")


MODES = {
    "warn": ("FAIL (warn mode, the gate would have been closed): ", True),
    "observe": ("FAIL (observe mode, not enforced): ", False),
}


@pytest.mark.parametrize(("mode", "words"), MODES.items(), ids=MODES)
def test_a_mode_that_does_not_enforce_says_so_and_stays_open(world, mode, words):
    ended = world.check(world.policy(f"mode: {mode}\n{LIMIT}"), "far")
    head, warns = words
    assert ended.code == 0
    assert ended.out.startswith(head)
    assert world.report.startswith(f"# {head}")
    assert ("in enforce mode the gate would have been closed" in ended.err) is warns
    assert world.main("report", world.out / "result.json").out.startswith(head)


# Match blocks.


BLOCKS = {
    "family": ("family: llama", (), "family llama"),
    "registered name": ("model: tune", ("--registered-name", "tune"), "model tune"),
}


@pytest.mark.parametrize(("selector", "named", "told"), BLOCKS.values(), ids=BLOCKS)
def test_a_block_changes_the_limit_that_decides_and_is_named(world, selector, named, told):
    block = f"match:\n  - match: {{{selector}}}\n    limits: {{sdi: {{fail: 1.0}}}}\n"
    policy = world.policy(LIMIT + block)
    ended = world.check(policy, "far", *named)
    assert (ended.code, world.verdict["status"]) == (0, "pass"), ended.err
    assert world.verdict["blocks"] == [told]
    (finding,) = (each for each in world.verdict["findings"] if each["rule"] == "limits.sdi")
    assert (finding["fail"], finding["origin"]["line"]) == (1.0, 8)
    assert finding["origin"]["block"] == told
    assert f"with what it says for {told}" in world.report
    assert world.check(world.policy(LIMIT + block.replace("llama", "gemma")), "far").code == 10


def test_a_block_for_a_model_holds_under_every_name_that_the_hub_answers_to(world, hub):
    hub.commit("org/tune", world.models / "near")
    hub.answer_to("Org/Tune", "org/tune")
    hub.answer_to("org/former", "org/tune")
    block = "match:\n  - match: {model: org/tune}\n    limits: {sdi: {fail: 0.0}}\n"
    policy = world.policy(LIMIT + block)
    assert world.check(policy, "hf:org/tune").code == 10
    assert not any("the Hub calls" in notice for notice in world.result["notices"])
    for typed in ("Org/Tune", "org/former"):
        ended = world.check(policy, f"hf:{typed}")
        assert (ended.code, world.verdict["blocks"]) == (10, ["model org/tune"]), ended.err
        candidate = world.result["candidate"]
        assert (candidate["reference"], candidate["name"]) == (f"hf:{typed}", "org/tune")
        assert f"the Hub calls hf:{typed} org/tune" in world.result["notices"]
        document = load((world.out / "result.json").read_bytes(), "result.json")
        assert facts_of(document).candidate.name == "org/tune"


def test_offline_a_model_keeps_the_name_that_the_hub_gave(world, hub, monkeypatch):
    hub.commit("org/tune", world.models / "near")
    hub.answer_to("Org/Tune", "org/tune")
    block = "match:\n  - match: {model: org/tune}\n    limits: {sdi: {fail: 0.0}}\n"
    policy = world.policy(LIMIT + block)
    assert world.check(policy, "hf:Org/Tune").code == 10
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert world.check(policy, "hf:Org/Tune").code == 10
    assert world.result["candidate"]["name"] == "org/tune"


def test_an_allowed_base_is_known_by_the_name_that_the_hub_gives_it(world, hub):
    hub.commit("org/base", world.models / "base")
    hub.answer_to("org/former", "org/base")
    policy = world.policy(LIMIT + "allowed-bases: [{name: org/base}]\n")
    ended = world.check(policy, "near", base="hf:org/former")
    assert (ended.code, world.verdict["status"]) == (0, "warn"), ended.err
    policy = world.policy(LIMIT + "allowed-bases: [{name: org/former}]\n")
    assert world.check(policy, "near", base="hf:org/former").code == 10


# What a candidate may be.


def finding(world, rule):
    return next(each["status"] for each in world.verdict["findings"] if each["rule"] == rule)


def test_a_base_is_allowed_by_its_digest(world):
    world.check(world.policy(LIMIT), "near")
    digest = world.result["base"]["digest"]
    policy = world.policy(f"{LIMIT}allowed-bases: [{{digest: '{digest}'}}]\n")
    assert world.check(policy, "near").code == 0
    assert finding(world, "allowed-bases") == "pass"
    ended = world.check(policy, "base", base=f"file:{world.models / 'near'}")
    assert (ended.code, finding(world, "allowed-bases")) == (10, "fail")


FORMATS = {
    "adapter as adapter": ("adapter", "[adapter]", "pass"),
    "adapter as full": ("adapter", "[full]", "fail"),
    "full as adapter": ("near", "[adapter]", "fail"),
    "full as either": ("near", "[full, adapter]", "pass"),
}


@pytest.mark.parametrize(("candidate", "formats", "status"), FORMATS.values(), ids=FORMATS)
def test_a_candidate_is_accepted_by_its_format(world, candidate, formats, status):
    text = LIMIT.replace("0.2", "1.0") + f"accepted-formats: {formats}\n"
    ended = world.check(world.policy(text), candidate)
    assert finding(world, "accepted-formats") == status
    assert ended.code == (0 if status == "pass" else 10), ended.err


# Judged again, from what was written.


AGAIN = {
    "pass": ("near", LIMIT, (), 0),
    "fail": ("far", LIMIT, (), 10),
    "waived": ("far", LIMIT + WAIVER, ("--registered-name", "tune"), 0),
    "inconclusive": ("near", LIMIT.replace("weights", "full"), (), 11),
    "observed": ("far", f"mode: observe\n{LIMIT}", (), 0),
}


@pytest.mark.parametrize("case", AGAIN.values(), ids=AGAIN)
def test_every_command_that_judges_a_result_again_agrees_with_the_check(world, case, on_day):
    candidate, text, named, code = case
    on_day("2026-06-15")
    policy = world.policy(text)
    assert world.check(policy, candidate, *named).code == code
    verdict, path = world.verdict, world.out / "result.json"
    decided = verdict["findings"][verdict["deciding"]]["rule"]
    told = (verdict["status"], verdict["mode"], verdict["exit_code"], decided)

    explained = json.loads(world.main("policy", "explain", policy, "--result", path, "--json").out)
    assert told == facts_told(explained["verdict"])

    replayed = world.main("policy", "replay", policy, path, "--fail-on-change", "--json")
    assert replayed.code == 0, replayed.err
    (each,) = json.loads(replayed.out)["results"]
    assert told == facts_told(each["after"])
    assert (each["changed"], each["recorded"]["decided_by"]) == (False, decided)

    gate = "closed" if code else "open"
    cases = world.folder / "own.test.yml"
    cases.write_text(
        "apiVersion: sdi-gate/v1\nkind: PolicyTest\npolicy: ./own.yml\nat: 2026-06-15\n"
        "cases:\n  - name: as it was recorded\n    result: out/result.json\n"
        f"    expect: {{verdict: {told[0]}, gate: {gate}, decided-by: {decided}}}\n",
        encoding="utf-8",
    )
    tested = world.main("policy", "test", cases)
    assert tested.code == 0, tested.out + tested.err
    wrong = cases.read_text(encoding="utf-8").replace(f"gate: {gate}", "gate: half")
    other = {"open": "closed", "closed": "open"}[gate]
    cases.write_text(wrong.replace("half", other), encoding="utf-8")
    assert world.main("policy", "test", cases).code == 10


def facts_told(plain):
    return plain["status"], plain["mode"], plain["exit_code"], plain["decided_by"]
