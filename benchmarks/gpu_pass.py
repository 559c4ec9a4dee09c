"""Time a slice of a benchmark pass: requests for log-likelihoods, and answers.

Prints JSON, which `benchmarks.passes` extrapolates. Each request is scored as the evaluation
harness does it: a forward pass, a log-softmax in single precision, the last token's entry. Answers
come from transformers' own ``generate``, greedy, with its cache.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.passes import LONG, PROMPT, SHORT, Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Hold the options of the command."""

    model: Path
    device: str
    batch: int
    batches: int
    answers: int
    steps: int


def measure(options: Options) -> Rates:
    """Load the model and time a slice.

    Args:
        options: What was asked for.
    """
    device = torch.device(options.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    began = time.perf_counter()
    # It comes in the mode of evaluation.
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=dtype)
    model.to(device)  # type: ignore[arg-type]
    _wait(device)
    load_s = time.perf_counter() - began
    with torch.inference_mode():
        return Rates(
            short_token_s=_forward(model, options, SHORT),
            long_token_s=_forward(model, options, LONG),
            step_s=_generate(model, options),
            answers_at_once=options.answers,
            load_s=load_s,
        )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _ids(model: PreTrainedModel, rows: int, length: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(3, model.config.vocab_size, (rows, length), generator=generator)
    return ids.to(model.device)


def _forward(model: PreTrainedModel, options: Options, length: int) -> float:
    ids = _ids(model, options.batch, length)
    _score(model, ids)  # the first call loads kernels
    _wait(model.device)
    began = time.perf_counter()
    for _ in range(options.batches):
        _score(model, ids)
    _wait(model.device)
    return (time.perf_counter() - began) / (options.batches * options.batch * length)


def _score(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    logits = model(ids[:, :-1], use_cache=False).logits
    scores = torch.log_softmax(logits, dim=-1, dtype=torch.float32)[:, -1]
    return scores.gather(1, ids[:, -1:])


def _generate(model: PreTrainedModel, options: Options) -> float:
    ids = _ids(model, options.answers, PROMPT)
    _answer(model, ids, 2)
    began = time.perf_counter()
    _answer(model, ids, options.steps)
    return (time.perf_counter() - began) / options.steps


def _answer(model: PreTrainedModel, ids: torch.Tensor, steps: int) -> None:
    model.generate(  # type: ignore[operator]
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        min_new_tokens=steps,
        max_new_tokens=steps,
        pad_token_id=0,
    )
    _wait(model.device)


def main(argv: list[str] | None = None) -> int:
    """Print the rates as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--batch", type=int, default=8, help="requests at once")
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--answers", type=int, default=32, help="answers at once")
    parser.add_argument("--steps", type=int, default=128, help="tokens of each answer")
    print(json.dumps(asdict(measure(Options(**vars(parser.parse_args(argv)))))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
