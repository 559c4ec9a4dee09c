"""Say what a pass over four benchmarks consists of, and what it takes from measured rates.

MMLU, TruthfulQA, ToxiGen and IFEval, as the evaluation harness sends them to a model. How many
requests there are is the benchmarks' size; how long they are is an assumption, stated here. There
are three readings, since a pass can be run more or less cleverly:

- ``least``: MMLU without examples, one forward pass for the four choices of a question; TruthfulQA
  in one of its two forms; answers of 400 tokens to IFEval.
- ``usual``: MMLU with five examples, one forward pass for the four choices (the harness shares it
  where each choice is one token); answers up to IFEval's bound, since a batch goes on until its
  longest answer ends.
- ``as requested``: every request by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

ANSWERS = 541
ANSWER_BOUND = 1280
# Tokens of a request, and of the prompt that is answered.
ZERO_SHOT, FIVE_SHOT, TRUTHFUL, TOXIC, PROMPT = 120, 700, 230, 90, 60
SHORT, LONG = ZERO_SHOT, FIVE_SHOT
_BETWEEN = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Say what a pass sends.

    Attributes:
        name: Its name.
        requests: Benchmark, number of forward passes, tokens of each.
        answer_tokens: Tokens generated for each of IFEval's prompts.
    """

    name: str
    requests: tuple[tuple[str, int, int], ...]
    answer_tokens: int


READINGS = (
    Reading(
        name="least",
        requests=(
            ("MMLU", 14_042, ZERO_SHOT),
            ("TruthfulQA", 5_882, TRUTHFUL),
            ("ToxiGen", 940, TOXIC),
        ),
        answer_tokens=400,
    ),
    Reading(
        name="usual",
        requests=(
            ("MMLU", 14_042, FIVE_SHOT),
            ("TruthfulQA", 9_996, TRUTHFUL),
            ("ToxiGen", 940, TOXIC),
        ),
        answer_tokens=ANSWER_BOUND,
    ),
    Reading(
        name="as requested",
        requests=(
            ("MMLU", 4 * 14_042, FIVE_SHOT),
            ("TruthfulQA", 9_996, TRUTHFUL),
            ("ToxiGen", 2 * 940, TOXIC),
        ),
        answer_tokens=ANSWER_BOUND,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Hold what was timed on a slice.

    Attributes:
        short_token_s: Seconds for each token of requests of `SHORT` tokens.
        long_token_s: The same of `LONG` tokens.
        step_s: Seconds for one token of every answer in a batch.
        answers_at_once: Answers in a batch.
        load_s: Seconds to load the model.
    """

    short_token_s: float
    long_token_s: float
    step_s: float
    answers_at_once: int
    load_s: float


def extrapolate(rates: Rates, reading: Reading) -> dict[str, float]:
    """Return the seconds of each benchmark, of loading, and of all.

    Args:
        rates: What was timed.
        reading: What is sent.
    """
    seconds = {
        name: count * tokens * (rates.short_token_s if tokens < _BETWEEN else rates.long_token_s)
        for name, count, tokens in reading.requests
    }
    batches = -(-ANSWERS // rates.answers_at_once)
    seconds["IFEval"] = batches * reading.answer_tokens * rates.step_s
    seconds["load"] = rates.load_s
    return seconds | {"all": sum(seconds.values())}
