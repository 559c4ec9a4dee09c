"""The commands that explain a policy, compare two, and judge recorded results again."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Any

import click

from sdi_gate.cli.options import PATH
from sdi_gate.cli.output import put, say
from sdi_gate.cli.policy_options import TrustOptions, open_policy, trust_options
from sdi_gate.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sdi_gate.cli.recorded_results import Results
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.policy.telling.explaining import Explanation
    from sdi_gate.policy.telling.history import Replay


class _Moment(click.ParamType[datetime]):
    """Read a day, whose noon is meant, or a time; UTC where no zone is given."""

    name = "date"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        text = str(value)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"expected a day such as 2026-11-23, got {text!r}", param, ctx)
        if len(text) <= len("2026-11-23"):
            moment = datetime.combine(moment.date(), time(12))
        if moment.tzinfo is None:
            return moment.replace(tzinfo=UTC)
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            self.fail(f"{text!r} is outside the calendar", param, ctx)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Hold in which way a command answers.

    Attributes:
        at: As of when results are judged; None for the time of each.
        as_json: Whether it prints JSON.
        fail_on_change: Whether it ends with 10 if a verdict changes.
    """

    at: datetime | None
    as_json: bool
    fail_on_change: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Hold which candidate a policy is explained for.

    Attributes:
        result: Its result; None if there is none.
        family: Its family; None if it is not given.
        model: Its name; None if it is not given.
    """

    result: Path | None
    family: str | None
    model: str | None


_AT = click.option(
    "--at",
    type=_Moment(),
    metavar="DATE",
    help="Judge as of this day, UTC; default: the day of the result, without one today.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_FAIL_ON_CHANGE = click.option(
    "--fail-on-change", is_flag=True, help="End with 10 if a verdict changes."
)


def _family(context: click.Context, option: click.Parameter, family: str | None) -> str | None:
    # No model has such a family: what is said of it would look as if it held for one.
    if family is not None and family != family.lower():
        msg = f"families are in lower case: write {family.lower()!r}, got {family!r}"
        raise click.BadParameter(msg, ctx=context, param=option)
    return family


_ABOUT = (
    click.option("--result", type=PATH, metavar="FILE", help="A result.json to be judged."),
    click.option(
        "--family",
        metavar="NAME",
        callback=_family,
        help="Family of the candidate, such as llama.",
    ),
    click.option(
        "--model", metavar="NAME", help="Name of the candidate in the registry, or on the Hub."
    ),
)


def _gathered(
    name: str, kind: type[Way | About], *declarations: Callable[..., Any]
) -> Callable[..., Any]:
    # Declares options on a command, which receives them as one argument.
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(**given: Any) -> Any:  # noqa: ANN401 - click's calling convention
            keys = given.keys() & kind.__dataclass_fields__.keys()
            gathered = kind(**{key: given.pop(key) for key in keys})
            return function(**given, **{name: gathered})

        decorated: Callable[..., Any] = command
        for declaration in reversed(declarations):
            decorated = declaration(decorated)
        return decorated

    return decorate


@click.command()
@click.argument("policy", type=PATH)
@_gathered("about", About, *_ABOUT)
@_gathered("way", Way, _AT, _JSON)
@trust_options
def explain(*, policy: Path, about: About, way: Way, trust: TrustOptions) -> None:
    """Say every rule of a policy, where it stands, and what it makes of a result."""
    from sdi_gate.cli.policy_explain_output import explanation_json, explanation_text  # noqa: PLC0415

    loaded = open_policy(policy, trust)
    if about.result is None:
        explained = _explain_policy(loaded, about, way.at or _today())
    else:
        explained = _explain_result(loaded, about.result, about, way.at)
    put(_json(explanation_json(explained)) if way.as_json else explanation_text(explained))


@click.command()
@click.argument("before", type=PATH, metavar="A")
@click.argument("after", type=PATH, metavar="B")
@click.argument("results", nargs=-1, type=PATH)
@_gathered("way", Way, _AT, _FAIL_ON_CHANGE, _JSON)
@trust_options
def diff(
    *,
    before: Path,
    after: Path,
    results: tuple[Path, ...],
    way: Way,
    trust: TrustOptions,
) -> int:
    """Say what differs between the policies A and B, and which recorded RESULTS it changes.

    RESULTS are files, or folders that are searched for result.json. What is demanded of a
    policy's signature, digest and revision is demanded of B.
    """  # noqa: DOC201 - a help text
    from sdi_gate.cli.policy_diff_output import diff_json, diff_text  # noqa: PLC0415
    from sdi_gate.policy.telling.differing import diff as compare  # noqa: PLC0415

    old, new = open_policy(before, TrustOptions()), open_policy(after, trust)
    found = _results(results)
    judged = _replay(new, found, before=old, at=way.at)
    differing = compare(old, new)
    if way.as_json:
        put(_json(diff_json(differing, judged, found.unreadable)))
    else:
        put(diff_text(differing, judged, found.unreadable, given=bool(results)))
    return _ended(judged, found, fail_on_change=way.fail_on_change)


@click.command()
@click.argument("policy", type=PATH)
@click.argument("results", nargs=-1, required=True, type=PATH)
@click.option(
    "--try",
    "trials",
    multiple=True,
    metavar="RULE.STEP=NUMBER",
    help="Lay a limit over the policy, such as sdi.fail=0.35; can be given again.",
)
@_gathered("way", Way, _AT, _FAIL_ON_CHANGE, _JSON)
@trust_options
def replay(
    *,
    policy: Path,
    results: tuple[Path, ...],
    trials: tuple[str, ...],
    way: Way,
    trust: TrustOptions,
) -> int:
    """Judge recorded RESULTS by a policy, or by a limit that is tried.

    RESULTS are files, or folders that are searched for result.json.
    """  # noqa: DOC201 - a help text
    from sdi_gate.cli.policy_replay_output import Replayed, replay_json, replay_text  # noqa: PLC0415
    from sdi_gate.policy.telling.trying import parse_trial, tried  # noqa: PLC0415

    wanted = tuple(map(parse_trial, trials))
    loaded = open_policy(policy, trust)
    after = tried(loaded, wanted) if wanted else loaded
    found = _results(results)
    judged = _replay(after, found, before=loaded if wanted else None, at=way.at)
    replayed = Replayed(
        policy=after,
        untried=loaded,
        trials=wanted,
        judged=judged,
        unreadable=found.unreadable,
    )
    put(_json(replay_json(replayed)) if way.as_json else replay_text(replayed))
    return _ended(judged, found, fail_on_change=way.fail_on_change)


def _explain_policy(loaded: LoadedPolicy, about: About, now: datetime) -> Explanation:
    from sdi_gate.policy.telling.comparing import Candidates  # noqa: PLC0415
    from sdi_gate.policy.telling.explaining import explain_policy  # noqa: PLC0415

    candidates = Candidates(family=about.family or "", model=about.model or "")
    return explain_policy(loaded, candidates, now=now)


def _explain_result(
    loaded: LoadedPolicy, result: Path, about: About, at: datetime | None
) -> Explanation:
    from sdi_gate.cli.recorded_results import read_result  # noqa: PLC0415
    from sdi_gate.policy.telling.explaining import explain_result  # noqa: PLC0415

    facts = read_result(result).facts
    if facts.family is None:
        facts = replace(facts, family=about.family)
    elif about.family not in {None, facts.family}:
        msg = f"--family {about.family!r}: the result is of family {facts.family!r}"
        raise UsageError(msg, hint="leave --family out: the result says it")
    if about.model is not None:
        facts = replace(facts, registered_name=about.model)
    return explain_result(loaded, facts, now=at or facts.measured_at or _today())


def _results(paths: Sequence[Path]) -> Results:
    from sdi_gate.cli.recorded_results import read_results  # noqa: PLC0415

    return read_results(paths)


def _replay(
    after: LoadedPolicy, found: Results, *, before: LoadedPolicy | None, at: datetime | None
) -> Replay:
    from sdi_gate.policy.telling.history import replay as judge_again  # noqa: PLC0415

    return judge_again(after, found.read, before=before, at=at, today=_today())


def _ended(judged: Replay, found: Results, *, fail_on_change: bool) -> int:
    for message in found.unreadable:
        say(f"error: {message}")
    if found.unreadable:
        return ExitCode.USAGE
    return ExitCode.FAIL if fail_on_change and judged.num_changed else ExitCode.OK


def _today() -> datetime:
    return datetime.now(UTC)


def _json(plain: dict[str, Any]) -> str:
    return json.dumps(plain, indent=1, allow_nan=False) + "\n"
