"""The commands that look at policies; none of them loads a model or the library that runs one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from sdi_gate.cli.options import PATH
from sdi_gate.cli.output import fail, printable, put
from sdi_gate.cli.policy_history import diff, explain, replay
from sdi_gate.cli.policy_init import init_command
from sdi_gate.cli.policy_options import (
    TrustOptions,
    open_policy,
    signature_line,
    trust_options,
)
from sdi_gate.cli.policy_test import test_command
from sdi_gate.errors import ExitCode, SdiGateError

if TYPE_CHECKING:
    from pathlib import Path

    from sdi_gate.policy.loader import LoadedPolicy

_VALIDATE_SCHEMA = "sdi-gate/policy-validate/v1"


@click.group(name="policy")
def policy_group() -> None:
    """Write, check, test and explain policies."""


@policy_group.command()
@click.argument("files", nargs=-1, required=True, type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@trust_options
def validate(files: tuple[Path, ...], *, as_json: bool, trust: TrustOptions) -> int:
    """Check policy files and say what they demand.

    Remarks, such as one on a waiver that ends soon, change no exit code.
    """  # noqa: DOC201 - a help text
    now = datetime.now(UTC)
    code = ExitCode.OK
    entries = []
    for file in files:
        try:
            loaded = open_policy(file, trust)
        except SdiGateError as exc:
            fail(exc)
            code = exc.exit_code
            entries.append({"file": str(file), "valid": False, "error": exc.message})
            continue
        entries.append(_entry(file, loaded, now))
        if not as_json:
            put(_validated(loaded, now))
            if line := signature_line(loaded, trust):
                put(printable(line).replace("\n", "\\n") + "\n")
    if as_json:
        put(json.dumps({"schema": _VALIDATE_SCHEMA, "policies": entries}, indent=1) + "\n")
    return code


@policy_group.command()
@click.argument("file", type=PATH)
def digest(file: Path) -> None:
    """Print the line that a signature is over, with the digest.

    The digest is that of everything that the policy demands, with all that it extends.
    """
    from sdi_gate.policy.chain.trust import signed_line  # noqa: PLC0415

    # Nothing is demanded of it: whoever signs a policy needs the line before the signature.
    put(signed_line(open_policy(file, TrustOptions()).digest).decode())


@policy_group.command()
@click.option(
    "--kind",
    type=click.Choice(("Policy", "PolicyTest")),
    default="Policy",
    show_default=True,
    help="Of policies, or of policy tests.",
)
def schema(kind: str) -> None:
    """Print the JSON Schema of policies or of policy tests."""
    from sdi_gate.policy.format import schema as policies  # noqa: PLC0415
    from sdi_gate.policy.format.published import schema_text  # noqa: PLC0415
    from sdi_gate.policy.testing import cases  # noqa: PLC0415

    if kind == cases.KIND:
        put(schema_text(cases.PolicyTest, cases.SCHEMA_ID))
    else:
        put(schema_text(policies.Policy, policies.SCHEMA_ID))


def _validated(loaded: LoadedPolicy, now: datetime) -> str:
    from sdi_gate.models.families import families  # noqa: PLC0415
    from sdi_gate.policy.telling.describe import describe  # noqa: PLC0415
    from sdi_gate.policy.telling.remarks import remarks_on  # noqa: PLC0415

    remarks = (f"Remark: {remark}\n" for remark in remarks_on(loaded, now, families=families()))
    return describe(loaded, now=now) + "\n" + "".join(remarks)


def _entry(file: Path, loaded: LoadedPolicy, now: datetime) -> dict[str, Any]:
    from sdi_gate.cli.policy_history_output import policy_json  # noqa: PLC0415
    from sdi_gate.models.families import families  # noqa: PLC0415
    from sdi_gate.policy.telling.remarks import remarks_on  # noqa: PLC0415

    return {
        "file": str(file),
        "valid": True,
        "policy": policy_json(loaded),
        "remarks": list(remarks_on(loaded, now, families=families())),
    }


for command in (init_command, test_command, explain, diff, replay):
    policy_group.add_command(command)
