"""Let the evaluation harness run a model that is already loaded."""

from __future__ import annotations

import logging
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from lm_eval.models.huggingface import HFLM

from sdi_gate.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lm_eval.api.instance import Instance
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LOG = logging.getLogger(__name__)
# The choices of an item follow each other and share their prompt.
_REMEMBERED_TEXTS = 64


class HarnessModel(HFLM):  # type: ignore[misc] # the harness has no types
    """Adapt a loaded model to the harness.

    Three things differ from the harness's own class. A text always begins with exactly one bos
    where the tokenizer has a bos, and nothing is added behind it, whatever the tokenizer's
    post-processor does. A generation always ends at the tokenizer's eos, also where the model's
    generation configuration names none. There are no progress bars.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, batch_size: int
    ) -> None:
        super().__init__(
            pretrained=model, tokenizer=tokenizer, batch_size=batch_size, backend="causal"
        )
        self._ids = lru_cache(maxsize=_REMEMBERED_TEXTS)(self._ids_of)

    def _ids_of(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **_options: object,
    ) -> list[int]:
        """Turn a text into token ids.

        Args:
            string: The text.
            add_special_tokens: False for a continuation, which gets no bos.
            left_truncate_len: Tokens to keep, counted from the end; all if None.

        Returns:
            The ids.
        """
        ids = list(self._ids(string))
        bos = self.tokenizer.bos_token_id
        if add_special_tokens is not False and bos is not None and ids[:1] != [bos]:
            ids.insert(0, bos)
        return ids[-left_truncate_len:] if left_truncate_len else ids

    def tok_batch_encode(
        self,
        strings: Sequence[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,  # noqa: ARG002 - part of the harness's interface
    ) -> tuple[Tensor, Tensor]:
        """Turn prompts into one batch.

        Args:
            strings: The prompts.
            padding_side: ``left`` or ``right``.
            left_truncate_len: Tokens to keep of a prompt, counted from its end; all if None.
            truncation: Ignored; prompts are cut by `left_truncate_len` only.

        Returns:
            Ids and mask, shape ``[b, t]``, int64.
        """
        rows = [self.tok_encode(text, left_truncate_len=left_truncate_len) for text in strings]
        length = max(map(len, rows))
        ids = torch.full((len(rows), length), self.tokenizer.pad_token_id, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(rows):
            start = length - len(tokens) if padding_side == "left" else 0
            ids[row, start : start + len(tokens)] = torch.tensor(tokens)
            mask[row, start : start + len(tokens)] = 1
        return ids, mask

    def loglikelihood(
        self,
        requests: list[Instance],
        disable_tqdm: bool = True,  # noqa: ARG002 - part of the harness's interface
    ) -> list[tuple[float, bool]]:
        """Score continuations; see the harness.

        Args:
            requests: Contexts with their continuations.
            disable_tqdm: Ignored; there is no progress bar.

        Returns:
            Log likelihood of each continuation, in nats, and whether it is the greedy one.
        """
        scores: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return scores

    def generate_until(
        self,
        requests: list[Instance],
        disable_tqdm: bool = True,  # noqa: ARG002 - part of the harness's interface
    ) -> list[str]:
        """Continue prompts; see the harness.

        Args:
            requests: Prompts with their settings.
            disable_tqdm: Ignored; there is no progress bar.

        Returns:
            The generated texts, cut where they stop.
        """
        self._fit_generations([request.args[1] for request in requests])
        texts: list[str] = super().generate_until(requests, disable_tqdm=True)
        return texts

    def _fit_generations(self, settings: list[dict[str, Any]]) -> None:
        limit = self.max_length
        too_long = [one for one in settings if one.get("max_gen_toks", self.max_gen_toks) >= limit]
        for one in too_long:
            one["max_gen_toks"] = limit // 2
        if too_long:
            _LOG.warning(
                "%d generations were to be longer than the %d tokens of the model's context and"
                " end after %d",
                len(too_long),
                limit,
                limit // 2,
            )

    def _loglikelihood_tokens(
        self, requests: list[Any], **options: object
    ) -> list[tuple[float, bool]]:
        longest = self.max_length + 1
        cut = sum(len(context) + len(choice) > longest for _, context, choice in requests)
        if cut:
            _LOG.warning(
                "%d of %d texts are longer than the %d tokens of the model's context and lose"
                " their beginning",
                cut,
                len(requests),
                longest - 1,
            )
        scores: list[tuple[float, bool]] = super()._loglikelihood_tokens(requests, **options)
        # The harness takes the first choice that is not a number for the likeliest of all.
        broken = sum(not math.isfinite(score) for score, _ in scores)
        if broken:
            msg = f"the model gives {broken} of {len(scores)} texts no finite likelihood"
            raise FormatError(msg, hint="its weights or activations are not finite")
        return scores

    def _model_generate(
        self, context: Tensor, max_length: int, stop: list[str], **options: object
    ) -> Tensor:
        if self.model.generation_config.eos_token_id is None:
            options["eos_token_id"] = self.tokenizer.eos_token_id
        tokens: Tensor = super()._model_generate(context, max_length, stop, **options)
        return tokens
