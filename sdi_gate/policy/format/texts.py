"""Define the kinds of text that a policy takes, and say in words how each is written."""

from __future__ import annotations

from datetime import date
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

_TEXT = r"\S"
_LINE = r"^\S([^\n\t]*\S)?$"
_NAME = r"^[a-z0-9][a-z0-9_.-]*$"
_POLICY_NAME = "^[a-z0-9-]+$"
_MODEL_NAME = r"^\S+$"
_DIGEST = "^sha256:[0-9a-f]{64}$"
_COMMIT = "^[0-9a-f]{40}$"
_DAY = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_WAIVER_ID = "^[A-Za-z0-9][A-Za-z0-9._-]*$"
# A layer's number has no leading zero, so that no two spellings mean one layer.
_NUMBER = "(0|[1-9][0-9]{0,3})"
_LAYERS = rf"^(embedding|head|other|layers\.(\*|{_NUMBER}|{_NUMBER}-{_NUMBER}))$"

EXPECTED = MappingProxyType(
    {
        _TEXT: "text that is more than blanks",
        _LINE: "text on one line, with no blank before or after it",
        _NAME: (
            "lower-case letters, digits, hyphens, underscores and dots, a letter or a digit first"
        ),
        _POLICY_NAME: "lower-case letters, digits and hyphens",
        _MODEL_NAME: "a name without blanks, such as org/name",
        _DIGEST: "sha256: and 64 lower-case hexadecimal digits",
        _COMMIT: "a commit (40 lower-case hexadecimal digits; a branch or a tag can move)",
        _DAY: "a day such as 2026-11-23",
        _WAIVER_ID: "letters, digits, dots, hyphens and underscores, a letter or a digit first",
        # Those of policy tests.
        r"^[^\x00-\x1f\x7f]+$": "a path without control characters, such as ./default.yml",
        r"^[a-z0-9][A-Za-z0-9*_.-]*$": "the name of a rule, such as limits.sdi",
        r"^[a-z][a-z0-9_-]*(\.[0-9]{1,4})?$": "one layer group, such as embedding or layers.3",
        _LAYERS: "embedding, head, other, layers.* or layers with numbers (layers.3, layers.0-3)",
    }
)
"""How a text is written that matches a pattern, for messages."""


def _real_day(text: str) -> str:
    try:
        date.fromisoformat(text)
    except ValueError as exc:
        raise PydanticCustomError(
            "day", "there is no day {day} in the calendar", {"day": text}
        ) from exc
    return text


def _seen(name: str) -> str:
    # No candidate has such a name: what is said of it would hold for nobody, and look as if it did.
    if not name.isprintable():
        message = "a name has no character that cannot be seen, got {name}"
        raise PydanticCustomError("unseen", message, {"name": ascii(name)})
    return name


def _ascending(selector: str) -> str:
    first, hyphen, last = selector.partition(".")[2].partition("-")
    if hyphen and int(first) > int(last):
        raise PydanticCustomError(
            "range", "the range {range} ends before it begins", {"range": selector}
        )
    return selector


Text = Annotated[str, Field(min_length=1, max_length=2000, pattern=_TEXT)]
Line = Annotated[str, Field(min_length=1, max_length=200, pattern=_LINE)]
Name = Annotated[str, Field(min_length=1, max_length=60, pattern=_NAME)]
# Strata are named by a probe set, axes by a calibration, in words of their own.
Label = Annotated[str, Field(min_length=1, max_length=60, pattern=_LINE)]
PolicyName = Annotated[str, Field(min_length=1, max_length=64, pattern=_POLICY_NAME)]
ModelName = Annotated[
    str, Field(min_length=1, max_length=200, pattern=_MODEL_NAME), AfterValidator(_seen)
]
Digest = Annotated[str, Field(pattern=_DIGEST)]
Commit = Annotated[str, Field(pattern=_COMMIT)]
Day = Annotated[
    str, Field(pattern=_DAY, json_schema_extra={"format": "date"}), AfterValidator(_real_day)
]
WaiverId = Annotated[str, Field(min_length=1, max_length=64, pattern=_WAIVER_ID)]
LayerSelector = Annotated[str, Field(pattern=_LAYERS), AfterValidator(_ascending)]
# The roles of sdi_gate.models.roles, which stands above policies.
RoleName = Literal[
    "embedding",
    "head",
    "norm",
    "q",
    "k",
    "v",
    "o",
    "gate",
    "up",
    "down",
    "expert",
    "router",
    "other",
]
