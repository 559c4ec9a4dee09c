"""Turn the probe set into tokens, the same for both models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdi_gate.errors import FormatError
from sdi_gate.models.tokenizer import encode, translated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from sdi_gate.models.probe import ProbeSample, ProbeSet

# A prediction needs a token before it, and the first position is dropped from the activations.
MIN_TOKENS = 3
# Some chat templates print today's date, which they take from `date_string` or ask of
# `strftime_now`: a probe must not age. A macro stands before the function of transformers, which
# passes no functions on to a template.
_TEMPLATE_DATE = "01 Jan 2025"
_DATE_PARTS = {
    "%d": "01",
    "%b": "Jan",
    "%B": "January",
    "%m": "01",
    "%Y": "2025",
    "%y": "25",
    "%A": "Wednesday",
    "%a": "Wed",
    "%H": "00",
    "%M": "00",
    "%S": "00",
}
_FIXED_CLOCK = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f"|replace('{code}', '{value}')" for code, value in _DATE_PARTS.items())
    + " }}{% endmacro %}\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSample:
    """Hold one probe sample as tokens.

    Attributes:
        stratum: Stratum of the sample.
        ids: Token ids, at least `MIN_TOKENS`.
    """

    stratum: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizedProbe:
    """Hold the probe set as the base's tokenizer reads it.

    Attributes:
        samples: One entry per probe sample, in the probe's order.
        chat_template: Whether samples with a prompt went through a chat template.
        max_tokens: Where samples were cut.
    """

    samples: tuple[TokenSample, ...]
    chat_template: bool
    max_tokens: int

    @property
    def strata(self) -> tuple[str, ...]:
        """Return the stratum of every sample."""
        return tuple(sample.stratum for sample in self.samples)

    @property
    def num_tokens(self) -> int:
        """Return the number of tokens of all samples."""
        return sum(len(sample.ids) for sample in self.samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Hold some samples, padded on the right to one length.

    Attributes:
        indices: Which samples, as positions in the probe.
        ids: Token ids, shape ``[b, t]``, int64.
        mask: 1 for tokens and 0 for padding, shape ``[b, t]``, int64.
    """

    indices: tuple[int, ...]
    ids: Tensor
    mask: Tensor


def tokenize(
    probe: ProbeSet, tokenizer: PreTrainedTokenizerBase, max_tokens: int
) -> TokenizedProbe:
    """Turn the probe set into tokens.

    Args:
        probe: The texts.
        tokenizer: The base's tokenizer, used for both models.
        max_tokens: Where to cut a sample.

    Returns:
        The tokens.

    Raises:
        FormatError: If the chat template cannot be used, or a sample has too few tokens.
    """
    templated = bool(getattr(tokenizer, "chat_template", None))
    samples = []
    for sample in probe.samples:
        ids = _encode(sample, tokenizer, templated=templated)[:max_tokens]
        if len(ids) < MIN_TOKENS:
            msg = (
                f"a probe sample of stratum {sample.stratum!r} has {len(ids)} tokens with this"
                f" tokenizer; expected at least {MIN_TOKENS}"
            )
            raise FormatError(msg, hint="use longer samples, or check the base's tokenizer")
        samples.append(TokenSample(stratum=sample.stratum, ids=tuple(ids)))
    return TokenizedProbe(samples=tuple(samples), chat_template=templated, max_tokens=max_tokens)


def _encode(
    sample: ProbeSample, tokenizer: PreTrainedTokenizerBase, *, templated: bool
) -> list[int]:
    if sample.prompt is None or not templated:
        text = sample.text if sample.prompt is None else f"{sample.prompt}\n\n{sample.text}"
        return encode(tokenizer, text)
    messages = [
        {"role": "user", "content": sample.prompt},
        {"role": "assistant", "content": sample.text},
    ]
    hint = "repair the chat template; tier weights needs none"
    with translated("the base's chat template cannot be used", hint):
        template = _FIXED_CLOCK + tokenizer.get_chat_template()
        text = str(
            tokenizer.apply_chat_template(
                messages, chat_template=template, tokenize=False, date_string=_TEMPLATE_DATE
            )
        )
    return encode(tokenizer, text, special=False)


def batches(samples: Sequence[TokenSample], batch_size: int, device: torch.device) -> list[Batch]:
    """Group samples of similar length.

    Args:
        samples: The samples.
        batch_size: Samples in a batch, at most.
        device: Where the tensors shall lie.

    Returns:
        Batches that together hold every sample once, the longest first.
    """
    order = sorted(range(len(samples)), key=lambda i: -len(samples[i].ids))
    groups = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [pad(samples, group, device) for group in groups]


def pad(samples: Sequence[TokenSample], indices: Sequence[int], device: torch.device) -> Batch:
    """Put some samples into one batch, padded on the right.

    Args:
        samples: All samples.
        indices: Which of them.
        device: Where the tensors shall lie.

    Returns:
        The batch. Padding repeats token 0, which the mask and causality keep from mattering.
    """
    length = max(len(samples[i].ids) for i in indices)
    ids = torch.zeros(len(indices), length, dtype=torch.int64)
    mask = torch.zeros(len(indices), length, dtype=torch.int64)
    for row, i in enumerate(indices):
        count = len(samples[i].ids)
        ids[row, :count] = torch.tensor(samples[i].ids)
        mask[row, :count] = 1
    return Batch(indices=tuple(indices), ids=ids.to(device), mask=mask.to(device))
