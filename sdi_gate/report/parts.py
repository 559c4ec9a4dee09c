"""Define the parts of a report: plain text, rounded and bounded, that any renderer can show.

Every string here is one line without control characters. It is still untrusted: a model, a layer
or a stratum can be named ``<script>``. A renderer escapes for its own format, and decides nothing.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.report.numbers import count

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME_LIMIT = 100
SENTENCE_LIMIT = 240
# Times the length that is shown.
_LOOKED_AT = 20
ABSENT = "–"  # noqa: RUF001 - an en dash, so that nobody reads a minus

# Control, format (which hides text or turns its direction), lone surrogates, line separators.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Hold the rows of one table, most important first where they have a rank.

    Law: every row has as many cells as ``head``.

    Attributes:
        key: Name by which a renderer that has to be short finds it.
        nouns: What the rows are, in the plural.
        head: Column titles.
        rows: The rows that are shown.
        total: How many rows there are, shown or not.
        essential: How many of the first columns a narrow renderer keeps.
        is_numeric: For each column whether it holds numbers.
    """

    key: str
    nouns: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    total: int
    essential: int
    is_numeric: tuple[bool, ...]

    @property
    def omission(self) -> str:
        """Return a sentence on the rows that are not shown; empty if all are."""
        return self.omission_from("result.json")

    def omission_from(self, file: str) -> str:
        """Say which rows are not shown.

        Args:
            file: Name of the file that has all.

        Returns:
            A sentence; empty if all are shown.
        """
        missing = self.total - len(self.rows)
        if missing == 0:
            return ""
        return f"{count(missing)} of {count(self.total)} {self.nouns} not shown; {file} has all."


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Hold a text of somebody else under its title.

    Attributes:
        title: What it is about.
        paragraphs: The text.
    """

    title: str
    paragraphs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Hold one part of the report.

    Attributes:
        title: Heading.
        sentences: Text, one paragraph each.
        tables: Tables, after the text.
        statements: Texts of others, after the tables.
    """

    title: str
    sentences: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    statements: tuple[Statement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingLine:
    """Hold one finding for a renderer without tables.

    Attributes:
        status: ``PASS``, ``WARN``, ``INCONCLUSIVE`` or ``FAIL``.
        rule: Place of the rule in the policy.
        sentence: What came of it.
    """

    status: str
    rule: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Hold one bar of a bar chart.

    Attributes:
        label: What it stands for.
        value: Its length, at least 0.
        text: Its length as text.
    """

    label: str
    value: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Hold one bar chart.

    Law: there is a bar, and the longest is longer than 0. Labels may be equal.

    Attributes:
        title: Heading of the chart.
        axis: What the length of a bar is.
        bars: Bars in model order.
        note: Sentence on how the bars were made; empty if each is one layer group.
    """

    title: str
    axis: str
    bars: tuple[Bar, ...]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportView:
    """Hold everything that a reader sees, in the order of reading.

    Attributes:
        status: Status of the verdict in lower case, or ``not-judged``.
        headline: The verdict and the two models: the first line.
        deciding: The rule that decided, by how much, what follows, and settings that are unusual.
        finding_lines: One line per finding.
        findings: The findings as a table.
        compared: What the two models are beyond two plain checkpoints of one shape.
        index: The two indices and their contributions.
        signals: The four signals.
        chart: Contribution to the index by layer group; None if there is nothing to draw.
        worst_title: Heading of the layer groups that add most to the index.
        worst_layers: The layer groups that add most to the index.
        layers: The layer groups.
        strata: The strata of the probe set.
        strata_brief: The same table without standard errors, for narrow renderers.
        behaviour: What changed in the predictions.
        waivers: What became of each waiver that names this model; no sentences if none does.
        waivers_brief: The same as sentences, for narrow renderers.
        documentation: Texts that the policy's authors had copied; no sentences without any.
        defects: What is wrong with the input.
        notices: What was seen and cannot be judged by a number.
        alignment: How the tensors and tokenizers match.
        tier: How much was looked at.
        provenance: What was compared, and with what.
        cost: Time and memory.
        claims: What the report does not say.
    """

    status: str
    headline: str
    deciding: tuple[str, ...]
    finding_lines: tuple[FindingLine, ...]
    findings: Section
    waivers: Section
    waivers_brief: Section
    documentation: Section
    compared: Section
    index: Section
    signals: Section
    chart: Chart | None
    worst_title: str
    worst_layers: tuple[Bar, ...]
    layers: Section
    strata: Section
    strata_brief: Section
    behaviour: Section
    defects: Section
    notices: Section
    alignment: Section
    tier: Section
    provenance: Section
    cost: Section
    claims: Section


def clean(text: str, limit: int = NAME_LIMIT) -> str:
    """Bring untrusted text to one printable line of bounded length.

    Args:
        text: Any text.
        limit: Greatest length, at least 3.

    Returns:
        The text with runs of white space as one space, each unprintable character as U+FFFD, and
        the middle left out if it is too long: the ends of a tensor's name say most.
    """
    # Of a text that is far too long only the ends are looked at, for a hostile one has megabytes.
    most = _LOOKED_AT * limit
    if len(text) > 2 * most:
        text = f"{text[:most]} … {text[-most:]}"
    visible = "".join(
        "\ufffd" if unicodedata.category(char) in _UNPRINTABLE and not char.isspace() else char
        for char in text
    )
    line = " ".join(visible.split())
    if len(line) > limit:
        head, tail = limit - limit // 3 - 1, limit // 3
        line = f"{line[:head]}…{line[-tail:]}"
    return line or "(empty)"


def listed(names: Sequence[str], most: int, limit: int = SENTENCE_LIMIT) -> str:
    """Name the first of several things, and count the rest.

    Args:
        names: Untrusted names; at least one.
        most: How many are named.
        limit: Greatest length of the whole.

    Returns:
        Such as ``a, b and 3 more``.
    """
    more = f" and {count(len(names) - most)} more" if len(names) > most else ""
    return clean(f"{', '.join(map(clean, names[:most]))}{more}", limit)
