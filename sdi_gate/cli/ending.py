"""End a process: turn whatever happens into an exit code, which alone is the verdict."""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from sdi_gate.cli.output import fail, have_stderr, say, settle
from sdi_gate.errors import ExitCode, SdiGateError

if TYPE_CHECKING:
    from collections.abc import Callable

_logger = logging.getLogger(__name__)


def run_guarded(
    work: Callable[[], int | None], *, more: str = "sdi-gate --verbose … shows where"
) -> int:
    """Do the work of a command, and turn whatever it raises into an exit code.

    Args:
        work: Returns the exit code; None for 0.
        more: How to see where it crashed, if it does.

    Returns:
        The exit code; see `sdi_gate.errors`.
    """
    have_stderr()
    try:
        code = work()
    except click.ClickException as exc:
        with suppress(OSError):
            exc.show(sys.stderr)
        return ExitCode.USAGE
    except SdiGateError as exc:
        fail(exc)
        return exc.exit_code
    except KeyboardInterrupt:
        return _interrupted()
    except click.Abort as exc:
        # click makes one of these from an interrupt, and from an end of file that nobody expected.
        return (
            _crashed(exc.__cause__, more) if isinstance(exc.__cause__, EOFError) else _interrupted()
        )
    except BaseException as exc:  # noqa: BLE001 - the one place that catches everything
        # Not Exception alone: a panic of a library in Rust is none, and a library that ends the
        # process by itself must not end it with a 0. What fails while an interrupt is dealt with
        # is an interrupt still.
        interrupted = isinstance(exc.__context__, KeyboardInterrupt)
        return _interrupted() if interrupted else _crashed(exc, more)
    return int(code or ExitCode.OK)


def _interrupted() -> int:
    say("interrupted: no verdict was reached")
    return ExitCode.INTERRUPTED


def _crashed(exc: BaseException, more: str) -> int:
    # A gate that crashed says that it judged nothing.
    _logger.debug("internal error", exc_info=exc)
    say(f"internal error: {type(exc).__name__}: no verdict was reached")
    say(f"hint: {more}; please report it")
    return ExitCode.BUG


def end_with(main: Callable[[], int]) -> None:
    """Run a program and end the process with its exit code.

    Args:
        main: Returns the exit code.
    """
    try:
        code = main()
    except KeyboardInterrupt:  # the second one, while the first was dealt with
        code = ExitCode.INTERRUPTED
    # The code stands: an interrupt while threads and files are closed shall not change it.
    with suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    settle()
    sys.exit(code)
