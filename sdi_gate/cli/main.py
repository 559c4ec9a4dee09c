"""The command line: a composition root, which alone reads the environment, prints and exits."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING

import click

from sdi_gate.cli.cache import cache
from sdi_gate.cli.calibrate import calibrate
from sdi_gate.cli.ending import end_with, run_guarded
from sdi_gate.cli.options import PATH, RegisteredName, ScanOptions, scan_options
from sdi_gate.cli.output import VisibleFormatter, printable, put, say
from sdi_gate.cli.policy import policy_group
from sdi_gate.cli.policy_options import open_policy, signature_line, trust_options
from sdi_gate.cli.profile import profile
from sdi_gate.cli.study import study
from sdi_gate.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from sdi_gate.cli.policy_options import TrustOptions

_logger = logging.getLogger(__name__)
# Who warns of what a scan goes on without.
_WARNING = ("sdi_gate.gate", "sdi_gate.profiles")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Arguments without the program's name; those of the process if None.

    Returns:
        The exit code; see `sdi_gate.errors`.
    """
    return run_guarded(lambda: cli.main(arguments, prog_name="sdi-gate", standalone_mode=False))


def entry() -> None:
    """Run the command line and end the process with its exit code."""
    end_with(main)


class _SayingHandler(logging.Handler):
    """Say a warning as every other message is said."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say the record's text.

        Args:
            record: The record.
        """
        if record.levelno >= logging.WARNING:
            say(f"warning: {record.getMessage()}")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--verbose", is_flag=True, help="Log each step to standard error.")
@click.version_option(package_name="sdi-gate")
def cli(*, verbose: bool) -> None:
    """Compare a language model with its fine-tune, and stop the one that moved too far.

    A model is named hf:org/name, hf:org/name@revision or file:path/to/folder.

    \b
    Exit codes: 0 pass or warn, 1 bug, 2 usage, 3 policy, 4 source,
    5 incomparable models, 6 judged 0 but not published, 10 fail,
    11 inconclusive, 130 interrupted
    """  # noqa: D301 - click's mark for a paragraph that is not to be wrapped
    for name in _WARNING:
        logging.getLogger(name).handlers[:] = [] if verbose else [_SayingHandler()]
    if verbose:
        # Ours alone: the clients below log URLs whole, with the signatures in them.
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(VisibleFormatter("%(name)s: %(message)s"))
        logger = logging.getLogger("sdi_gate")
        logger.handlers[:] = [handler]
        logger.setLevel(logging.DEBUG)


@cli.command()
@scan_options
@click.option("--policy", required=True, type=PATH, help="The policy to judge by.")
@trust_options
@click.option(
    "--registered-name",
    type=RegisteredName(),
    metavar="NAME",
    help="Name under which the candidate is, or is to be, registered: match blocks and waivers of"
    " the policy go by it; default: its name on the Hub.",
)
def check(
    options: ScanOptions, policy: Path, trust: TrustOptions, registered_name: str | None
) -> int:
    """Measure a candidate and judge it by a policy."""
    from sdi_gate.cli.precheck import look_ahead  # noqa: PLC0415

    look_ahead(options)
    # Before anything is measured: hours of work for a policy that cannot be used are wasted.
    loaded = open_policy(policy, trust)
    if line := signature_line(loaded, trust):
        say(line)
    from sdi_gate.cli.scanning import run  # noqa: PLC0415 - loads torch

    return run(options, loaded, registered_name)


@cli.command()
@scan_options
def scan(options: ScanOptions) -> int:
    """Measure a candidate without judging it."""
    from sdi_gate.cli.precheck import look_ahead  # noqa: PLC0415

    look_ahead(options)
    from sdi_gate.cli.scanning import run  # noqa: PLC0415 - loads torch

    return run(options, None)


@cli.command()
@click.argument("result", type=PATH)
@click.option(
    "--format",
    "form",
    type=click.Choice(("console", "markdown")),
    default="console",
    show_default=True,
    help="What to print.",
)
def report(result: Path, form: str) -> None:
    """Render a result.json again, without measuring; the exit code is 0 whatever it says."""
    from sdi_gate.cli.rendering import render_document  # noqa: PLC0415
    from sdi_gate.files import read_at_most  # noqa: PLC0415
    from sdi_gate.report.document import MAX_BYTES, load  # noqa: PLC0415

    try:
        content = read_at_most(result, MAX_BYTES)
    except OSError as exc:
        msg = f"cannot read {str(result)!r}: {exc.strerror}"
        raise UsageError(msg, hint="give the result.json that a check or a scan wrote") from exc
    put(render_document(load(content, str(result)), form))


@cli.command()
@click.option(
    "--model",
    metavar="SIZE|REF",
    help="Say how much memory a scan of this model takes: 7B, 70B, or a model to look up.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(model: str | None, *, as_json: bool) -> None:
    """Say what this machine can run: device, memory, tiers, cache, tokens. Shows no secrets."""
    from sdi_gate.cli.precheck import check_endpoint  # noqa: PLC0415

    check_endpoint(needed=True)
    if model is not None:
        from sdi_gate.cli.doctor_model import rows_of, text_of  # noqa: PLC0415 - loads torch

        put(json.dumps(rows_of(model), indent=1) + "\n" if as_json else printable(text_of(model)))
        return
    from sdi_gate.cli.doctor import examine  # noqa: PLC0415 - loads torch

    rows = examine()
    if as_json:
        put(json.dumps(dict(rows), indent=1) + "\n")
        return
    width = max(len(name) for name, _ in rows)
    put("".join(f"{name:<{width}}  {printable(value)}\n" for name, value in rows))


cli.add_command(policy_group)
cli.add_command(study)
cli.add_command(calibrate)
cli.add_command(profile)
cli.add_command(cache)
