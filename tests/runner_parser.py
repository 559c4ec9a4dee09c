"""Read logs and files of commands by the rules of the runner, written anew from its description."""

import re
from dataclasses import dataclass, field

REGISTERED = frozenset(
    {
        "stop-commands", "internal-set-repo-path", "set-env", "set-output", "save-state",
        "add-mask", "add-path", "add-matcher", "remove-matcher", "debug", "warning", "error",
        "notice", "group", "endgroup", "echo",
    }
)  # fmt: skip
# What .NET takes for white space.
BLANKS = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)


@dataclass(frozen=True)
class Parsed:
    name: str
    data: str
    properties: dict = field(default_factory=dict)


def _unescaped(text, marks):
    for mark in marks:
        text = text.replace(f"%{ord(mark):02X}", mark)
    return text.replace("%25", "%")


def _properties(text, separator, marks):
    found = {}
    for part in filter(None, text.split(separator)):
        # Entries that are empty do not count, so that marks of equality at the start vanish.
        name, _, value = part.lstrip("=").partition("=")
        if name and value.lstrip("="):
            found[name] = _unescaped(value.lstrip("="), marks)
    return found


def _named(info, registered):
    name, _, rest = info.partition(" ")
    return (name, rest) if name.lower() in {known.lower() for known in registered} else (None, "")


def parse_colons(line, registered=REGISTERED):
    """`::name properties::data` at the start of the line."""
    line = line.lstrip(BLANKS)
    end = line.find("::", 2)
    if not line.startswith("::") or end < 0:
        return None
    name, rest = _named(line[2:end], registered)
    if name is None:
        return None
    properties = _properties(rest.strip(BLANKS), ",", "\r\n:,")
    return Parsed(name, _unescaped(line[end + 2 :], "\r\n"), properties)


def parse_brackets(line, registered=REGISTERED):
    """`##[name properties]data` anywhere in the line."""
    start = line.find("##[")
    end = line.find("]", max(start, 0))
    if start < 0 or end < 0:
        return None
    name, rest = _named(line[start + 3 : end], registered)
    if name is None:
        return None
    properties = _properties(rest, ";", ";\r\n]")
    return Parsed(name, _unescaped(line[end + 1 :], ";\r\n]"), properties)


def parse_command(line, registered=REGISTERED):
    return parse_colons(line, registered) or parse_brackets(line, registered)


def split_lines(text):
    """Lines as the runner reads them from a process; the last may lack its end."""
    lines = re.split("\r\n|\r|\n", text)
    return lines if lines[-1] else lines[:-1]


class Runner:
    """Carry out the commands of a log: what was asked for, and what a reader then sees."""

    def __init__(self):
        self.done, self.shown, self.masks = [], [], set()
        self.token = None

    def read(self, text):
        for line in split_lines(text):
            self._line(line)
        return self

    def _line(self, line):
        known = REGISTERED | ({self.token} if self.token else set())
        command = parse_command(line, known)
        if command is None or (self.token and command.name.lower() != self.token.lower()):
            self._show(line)
        elif self.token:
            self.token = None
        elif command.name.lower() == "stop-commands":
            assert command.data not in REGISTERED | {"", "pause-logging"}
            self.token = command.data
        elif command.name.lower() == "add-mask":
            assert command.data.strip(BLANKS), "the runner warns of masks that are blank"
            self.masks |= {command.data, *filter(None, split_lines(command.data))}
        else:
            self.done.append(command)

    def _show(self, line):
        for mask in sorted(self.masks, key=len, reverse=True):
            line = line.replace(mask, "***")
        self.shown.append(line)


class BrokenFileError(Exception):
    """The runner fails the step."""


def parse_outputs(text):
    """Outputs of a file, in `name=value` or between delimiters."""
    found, lines = {}, iter(text.split("\n"))
    for line in lines:
        if not line:
            continue
        equals, heredoc = line.find("="), line.find("<<")
        if equals >= 0 and not 0 <= heredoc < equals:
            name, value = line.split("=", 1)
        elif heredoc >= 0:
            name, delimiter = line.split("<<", 1)
            if not name or not delimiter:
                raise BrokenFileError(line)
            value = _value(lines, delimiter)
        else:
            raise BrokenFileError(line)
        if not name:
            raise BrokenFileError(line)
        found[name] = value
    return found


def _value(lines, delimiter):
    taken = []
    for line in lines:
        if line == delimiter:
            return "\n".join(taken)
        taken.append(line)
    raise BrokenFileError(delimiter)
