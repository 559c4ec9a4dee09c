"""Hold what a run of the action tells the runner at its end, whatever has happened until then."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sdi_gate.action.outcome import without_verdict
from sdi_gate.integrations.runner.commands import Command, Level, annotation

if TYPE_CHECKING:
    from collections.abc import MutableMapping


@dataclass(slots=True, kw_only=True)
class Session:
    """Hold the process's environment, and what is told at the end.

    Attributes:
        environment: The process's.
        command: Command of the command line, if one was given.
        outputs: Outputs of the step. Until a run has ended as it should, they say ``error``.
        code: The exit code that goes with them; None before that.
        annotations: Annotations of the step, in order.
    """

    environment: MutableMapping[str, str]
    command: str | None = None
    outputs: dict[str, str] = field(default_factory=without_verdict)
    code: int | None = None
    annotations: list[Command] = field(default_factory=list)

    @property
    def is_on_a_runner(self) -> bool:
        """Say whether commands are for somebody."""
        return self.environment.get("GITHUB_ACTIONS") == "true"

    def settle(self, outputs: dict[str, str], code: int) -> int:
        """Take down how a run has ended.

        Args:
            outputs: Outputs of the step.
            code: The exit code.

        Returns:
            The exit code.
        """
        self.outputs, self.code = outputs, code
        return code

    def end(self, code: int) -> None:
        """Take down how the process ends.

        Args:
            code: Its exit code. If it is not that of the run, no output of the run is left to be
                taken for a verdict.
        """
        if code == self.code:
            return
        self.outputs = without_verdict()
        if not any(told.name == Level.ERROR for told in self.annotations):
            told = f"no verdict was reached (exit code {code}); the log says why"
            self.annotations.append(annotation(Level.ERROR, told, title="sdi-gate"))
