"""Write workflow commands for the runner, and make any other line harmless to its parser.

The runner reads each line that a step prints, and takes ``::name properties::data`` at its start
and ``##[name properties]data`` anywhere for commands: they can mask words, set outputs, write
annotations. Names of models and branches, and texts of exceptions, must not have that power.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sdi_gate.policy.format.spelling import visible

MAX_MESSAGE: Final = 4096  # the runner cuts there, without a word
_MAX_TITLE: Final = 255
_MIN_TOKEN: Final = 16

_BREAK = re.compile(r"\r\n|\r|\n")
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")
# The runner compares texts as its language has it, and then overlooks some characters, all of them
# outside ASCII: they may stand before, and within, what it looks for.
_BRACKET = re.compile(r"#([^ -~]*)#([^ -~]*)\[")
_COLONS = re.compile(r"\A([^!-~]*):([^ -~]*):")


class Level(StrEnum):
    """Say how grave an annotation is.

    Attributes:
        ERROR: The gate is closed, or broken.
        WARNING: Somebody should act.
        NOTICE: Worth knowing.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Hold one workflow command.

    Attributes:
        name: What the runner is to do.
        data: What it is to do it with; may have line breaks.
        properties: Names and values; one without a value is left out.
    """

    name: str
    data: str = ""
    properties: tuple[tuple[str, str], ...] = ()

    @property
    def line(self) -> str:
        """Write the command.

        Returns:
            One line, without its end.
        """
        given = ",".join(f"{name}={_property(value)}" for name, value in self.properties if value)
        return f"::{self.name}{given and ' '}{given}::{_data(self.data)}"


def mask(secret: str) -> tuple[Command, ...]:
    """Ask the runner to write ``***`` for a secret from now on.

    The commands hold the secret: they may be printed only where a runner reads them, before
    `stop_commands`.

    Args:
        secret: The secret, in one line or several.

    Returns:
        Commands for the secret and each line of it; none if it is blank.
    """
    return tuple(Command(name="add-mask", data=text) for text in masked_texts(secret))


def masked_texts(secret: str) -> tuple[str, ...]:
    """List the texts that would give a secret away.

    Args:
        secret: The secret, in one line or several.

    Returns:
        The secret and each line of it, also without the blanks around them; nothing blank.
    """
    texts = (secret, *_BREAK.split(secret))
    return tuple(
        dict.fromkeys(form for text in texts for form in (text, text.strip()) if form.strip())
    )


def annotation(
    level: Level,
    message: str,
    *,
    title: str = "",
    file: str = "",
    line: int | None = None,
    column: int | None = None,
) -> Command:
    """Ask the runner to show a message beside a file, or on the page of the run.

    Args:
        level: How grave it is.
        message: What happened, which may be foreign text in several lines; cut to 4,096 characters
            as the runner counts them, in 16 bits, and then ends in ``…``.
        title: Its title; cut to 255 characters.
        file: Path of the file in the repository; empty for none.
        line: Line in the file, from 1; left out without a file.
        column: Column in the line, from 1; left out without a line.

    Returns:
        The command. Its texts hold no control characters, and no commands.
    """
    begun = message[: 2 * MAX_MESSAGE + 2]  # enough, even if every other character is dropped
    lines = "\n".join(neutral(part) for part in _BREAK.split(begun))
    path = neutral(file).strip()
    at = line if path and line and line > 0 else None
    within = column if at and column and column > 0 else None
    return Command(
        name=level.value,
        data=_cut(lines, MAX_MESSAGE),
        properties=(
            ("title", _cut(neutral(title).strip(), _MAX_TITLE)),
            ("file", path),
            ("line", str(at or "")),
            ("col", str(within or "")),
        ),
    )


def group(title: str) -> Command:
    """Ask the runner to fold the lines that follow.

    Args:
        title: What stands on the fold; may be foreign text.

    Returns:
        The command.
    """
    return Command(name="group", data=neutral(title))


def end_group() -> Command:
    """Ask the runner to end a fold.

    Returns:
        The command.
    """
    return Command(name="endgroup")


def stop_commands(token: str) -> Command:
    """Ask the runner to take no line for a command until the token is given back.

    Args:
        token: At least 16 letters, digits, dashes and underscores that nobody can guess.

    Returns:
        The command.
    """
    return Command(name="stop-commands", data=_checked(token))


def resume_commands(token: str) -> Command:
    """Ask the runner to read commands again.

    Args:
        token: The token with which they were stopped.

    Returns:
        The command.
    """
    return Command(name=_checked(token))


def neutral(line: str) -> str:
    """Make any text harmless as a line of a log.

    Args:
        line: Any text.

    Returns:
        One line that holds no command: control characters and line breaks are escaped, tabs are
        blanks, and a blank stands within every ``##[``, and within ``::`` at the start. What is
        harmless is returned as it is.
    """
    text = visible(line.replace("\t", "    "))
    text = _BRACKET.sub(r"#\1#\2 [", text)
    return _COLONS.sub(r"\1:\2 :", text)


def _checked(token: str) -> str:
    if len(token) < _MIN_TOKEN or not _TOKEN.fullmatch(token):
        msg = f"a token has at least {_MIN_TOKEN} letters, digits, dashes and underscores"
        raise ValueError(msg)
    return token


def _cut(text: str, limit: int) -> str:
    units = text.encode("utf-16-le")
    if len(units) <= 2 * limit:
        return text
    return units[: 2 * (limit - 1)].decode("utf-16-le", "ignore") + "…"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
