"""The command that tests policies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from sdi_gate.cli.options import PATH
from sdi_gate.cli.output import fail, put
from sdi_gate.cli.policy_options import TrustOptions, open_policy, trust_options
from sdi_gate.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from sdi_gate.policy.facts import Facts
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.policy.testing.case_outcomes import TestRun


@click.command(name="test")
@click.argument("cases", nargs=-1, required=True, type=PATH)
@click.option(
    "--require-crossed",
    is_flag=True,
    help="Fail, too, if a rule is broken in no case that was tested.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@trust_options
def test_command(
    cases: tuple[Path, ...], *, require_crossed: bool, as_json: bool, trust: TrustOptions
) -> int:
    """Test policies: measurements in, expected decisions out.

    CASES are test files, or folders that are searched for names that end with .test.yml or
    .test.yaml. Every file is read, and every case that comes otherwise is shown.

    \b
    Exit codes: 0 all as expected, 2 nothing to test or a recorded result
    that cannot be read, 3 a policy or a test file that cannot be used,
    10 a case that came otherwise
    """  # noqa: D301, DOC201 - a help text; click's mark for a paragraph that is not wrapped
    from sdi_gate.cli.policy_test_output import run_json, run_text  # noqa: PLC0415
    from sdi_gate.policy.testing.case_files import find_case_files  # noqa: PLC0415
    from sdi_gate.policy.testing.run import run_cases  # noqa: PLC0415

    run = run_cases(find_case_files(cases), _Reader(trust=trust), datetime.now(UTC))
    put(json.dumps(run_json(run), indent=1) + "\n" if as_json else run_text(run))
    # A policy that several files test is wrong once.
    for error in dict.fromkeys(run.errors):
        fail(error)
    return _ended(run, require_crossed=require_crossed)


def _ended(run: TestRun, *, require_crossed: bool) -> int:
    if run.errors:
        # What could not be judged is worse than what was; of the two kinds, the policy's.
        return max(error.exit_code for error in run.errors)
    missed = require_crossed and any(tested.not_crossed for tested in run.policies)
    return ExitCode.FAIL if run.failed or missed else ExitCode.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Read policies that are trusted as far as the options say, and recorded results."""

    trust: TrustOptions

    def policy(self, path: Path) -> LoadedPolicy:
        return open_policy(path, self.trust)

    def result(self, path: Path) -> Facts:
        from sdi_gate.cli.recorded_results import read_result  # noqa: PLC0415 - few cases need it

        return read_result(path).facts
