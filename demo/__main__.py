"""Train a base, fine-tune it gently and carelessly, and let the gate judge both."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import click
import torch
from transformers.utils import logging as transformers_logging

from demo.train import BASE, CARELESS, GENTLE, new_model, save, train, train_tokenizer
from sdi_gate.errors import ExitCode

_POLICY = Path("policies/default.yml")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo-out"))
def demo(out: Path) -> None:
    """Show one candidate passing and one blocked."""
    # The matrices of so small a model are not worth sharing between threads.
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    tokenizer = train_tokenizer()
    click.echo("Training a small base on the project's own texts")
    base = new_model(len(tokenizer), BASE.seed)
    train(base, tokenizer, BASE, click.echo)
    save(base, tokenizer, out / "models" / "base")
    for name, recipe in (("gentle", GENTLE), ("careless", CARELESS)):
        click.echo(f"Making the {name} fine-tune of it")
        candidate = copy.deepcopy(base)
        train(candidate, tokenizer, recipe, click.echo)
        save(candidate, tokenizer, out / "models" / name)
    codes = {name: _check(name, out) for name in ("gentle", "careless")}
    _conclude(codes, out)


def _check(name: str, out: Path) -> int:
    command = [
        *("check", "--base", f"file:{out}/models/base"),
        *("--candidate", f"file:{out}/models/{name}"),
        *("--policy", str(_POLICY), "--out", str(out / name), "--threads", "1"),
        # The second candidate finds there what the first one's scan measured of their base.
        *("--cache", str(out / "cache")),
    ]
    click.secho(f"\n$ sdi-gate {' '.join(command)}", bold=True)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    finished = subprocess.run(  # noqa: S603 - the arguments are ours
        [sys.executable, "-m", "sdi_gate", *command], check=False, env=environment
    )
    click.echo(f"exit code {finished.returncode}")
    return finished.returncode


def _conclude(codes: dict[str, int], out: Path) -> None:
    click.echo("")
    for name, code in codes.items():
        says = {ExitCode.OK: "let through", ExitCode.FAIL: "blocked"}.get(code, "neither")
        click.echo(
            f"The {name} fine-tune was {says} (exit code {code}): {out / name / 'report.md'}"
        )
    if codes != {"gentle": ExitCode.OK, "careless": ExitCode.FAIL}:
        click.echo("The demo expected the gentle one let through and the careless one blocked.")
        sys.exit(1)


if __name__ == "__main__":
    demo()
