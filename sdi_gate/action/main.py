"""The action's program: what the runner starts, and what it is told at the end."""

from __future__ import annotations

import io
import logging
import os
import secrets
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sdi_gate.action.declared import KNOWN_INPUTS, given_secrets
from sdi_gate.action.environment import configure
from sdi_gate.action.inputs import Command, read_inputs
from sdi_gate.action.session import Session
from sdi_gate.cli.ending import end_with, run_guarded
from sdi_gate.cli.output import VisibleFormatter, fail, have_stderr
from sdi_gate.errors import PublishError, SdiGateError, UsageError
from sdi_gate.integrations.runner.commands import Level, annotation
from sdi_gate.integrations.runner.files import set_outputs
from sdi_gate.integrations.runner.log import CommandLog, NeutralStream

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping, Sequence

_USAGE = "usage: sdi-gate-action [judge|comment]"
_MORE = "running the job again with debug logging shows where"
_COMMANDS = tuple(command.value for command in Command)


def main(
    arguments: Sequence[str] | None = None, environment: MutableMapping[str, str] | None = None
) -> int:
    """Run the action.

    Args:
        arguments: Arguments without the program's name; those of the process if None.
        environment: Where the runner has put inputs and variables; the process's if None.

    Returns:
        The exit code, which is the verdict; see `sdi_gate.errors`.
    """
    session = Session(environment=os.environ if environment is None else environment)
    with _speaking(session):
        given = sys.argv[1:] if arguments is None else arguments
        code = run_guarded(lambda: _work(session, given), more=_MORE)
        session.end(code)
        _hand_over(session)
    return code


def entry() -> None:
    """Run the action and end the process with its exit code."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        # The runner reads two pipes, in no order: a line of one could come before the command of
        # the other that makes it harmless. Native code writes to the second, too.
        have_stderr()
        sys.stderr.flush()
        with suppress(OSError):
            os.dup2(1, 2)
    end_with(main)


@contextmanager
def _speaking(session: Session) -> Iterator[None]:
    have_stderr()
    out, err = sys.stdout or io.StringIO(), sys.stderr
    hidden = given_secrets(session.environment)
    # Before anything else is written, whatever is wrong with the inputs.
    log = CommandLog(out, token=secrets.token_hex(16), secrets=hidden)
    sys.stdout = log.stream
    sys.stderr = log.stream if session.is_on_a_runner else NeutralStream(err, secrets=hidden)
    try:
        if session.is_on_a_runner:
            log.begin()
        with _logging(session):
            yield
    finally:
        log.end()
        if session.is_on_a_runner:
            log.stream.issue(*session.annotations)
        sys.stderr.flush()
        log.stream.flush()
        sys.stdout, sys.stderr = out, err


@contextmanager
def _logging(session: Session) -> Iterator[None]:
    # One line per stage; all of it where the runner is asked for more.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(VisibleFormatter("sdi-gate: %(message)s"))
    logger = logging.getLogger("sdi_gate")
    before = logger.handlers[:], logger.level
    logger.handlers[:] = [handler]
    is_verbose = session.environment.get("RUNNER_DEBUG") == "1"
    logger.setLevel(logging.DEBUG if is_verbose else logging.INFO)
    try:
        yield
    finally:
        logger.handlers[:] = before[0]
        logger.setLevel(before[1])


def _work(session: Session, arguments: Sequence[str]) -> int:
    match tuple(arguments):
        case ("--help" | "-h",):
            sys.stdout.write(_help())
            return session.settle(session.outputs, 0)
        case ():
            pass
        case (word,) if word in _COMMANDS:
            session.command = word
        case _:
            msg = f"expected no argument, judge or comment; got {len(arguments)} argument(s)"
            raise UsageError(msg, hint=f"{_USAGE}; everything else is an input")
    try:
        return _run(session)
    except SdiGateError as exc:
        told = f"{exc.message}\nHint: {exc.hint}" if exc.hint else exc.message
        session.annotations.append(annotation(Level.ERROR, told, title="sdi-gate"))
        raise


def _run(session: Session) -> int:
    inputs = read_inputs(session.environment, session.command)
    configure(inputs, session.environment)
    if inputs.command is Command.COMMENT:
        from sdi_gate.action.comment import comment  # noqa: PLC0415 - what judging does not need

        return comment(inputs, session)
    from sdi_gate.action.judge import judge  # noqa: PLC0415 - what commenting does not need

    return judge(inputs, session)


def _hand_over(session: Session) -> None:
    path = session.environment.get("GITHUB_OUTPUT")
    if not path or not session.is_on_a_runner:
        return
    try:
        set_outputs(Path(path), session.outputs, delimiter=f"sdi-gate-{secrets.token_hex(16)}")
    except PublishError as exc:
        fail(exc)
        session.annotations.append(annotation(Level.WARNING, exc.message, title="sdi-gate"))


def _help() -> str:
    width = max(map(len, KNOWN_INPUTS))
    lines = (f"  {name:<{width}}  {told}" for name, told in KNOWN_INPUTS.items())
    listed = "\n".join(lines)
    return f"{_USAGE}\n\nInputs, each as INPUT_NAME in the environment:\n{listed}\n"
