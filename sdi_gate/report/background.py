"""Say what was compared, with what, at what cost, and what the report does not say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report.compared import roles_table, set_aside_table
from sdi_gate.report.numbers import count, duration, number, plural, size
from sdi_gate.report.parts import ABSENT, SENTENCE_LIMIT, Section, Table, clean, listed
from sdi_gate.report.policies import policy_facts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdi_gate.report.document import (
        MismatchEntry,
        ModelEntry,
        ResultDocument,
        SignalEntry,
        TensorEntry,
        TokenizerEntry,
    )

_MAX_TENSORS = 20
_MAX_SETTINGS = 10
_MAX_FILES = 40
_MAX_STAGES = 40
_MAX_PARAMETERS = 20
_MAX_REUSED = 10
_DIGEST_LIMIT = 80


def alignment_section(document: ResultDocument) -> Section:
    """Return how the tensors and the tokenizers of both models match.

    Args:
        document: The result.

    Returns:
        The section, with the tensors that could not be compared.
    """
    alignment, tokenizer = document.alignment, document.tokenizer
    tables = (
        _tensors("base-only", "tensors of the base alone", alignment.base_only),
        _tensors("candidate-only", "tensors of the candidate alone", alignment.candidate_only),
        _mismatched(alignment.mismatched),
        set_aside_table(document),
        roles_table(document),
    )
    coverage = number(alignment.coverage, (0.0, 1.0))
    compared = (
        f"Coverage {coverage} (1 is everything): {plural(alignment.num_paired, 'tensor')} with "
        f"{plural(alignment.paired_parameters, 'parameter')} were compared. Tensors only in the "
        f"base: {count(len(alignment.base_only))}; only in the candidate: "
        f"{count(len(alignment.candidate_only))}; of another shape: "
        f"{count(len(alignment.mismatched))}."
    )
    read = _tokenizer_sentence(tokenizer)
    return Section(
        title="Alignment",
        sentences=(compared, read, _settings_that_differ(alignment.config_differences)),
        tables=tuple(table for table in tables if table.total),
    )


def _tokenizer_sentence(tokenizer: TokenizerEntry) -> str:
    same = {True: "agree", False: "differ", None: "were not compared"}[tokenizer.same]
    return f"Tokenizers {same}: {clean(tokenizer.detail, SENTENCE_LIMIT).rstrip('.')}."


def _settings_that_differ(names: Sequence[str]) -> str:
    if not names:
        return "Configuration: no setting differs that changes what a model computes."
    differing = listed(names, _MAX_SETTINGS)
    return (
        f"Configuration: {plural(len(names), 'setting')} may change what is computed: {differing}."
    )


def provenance_section(document: ResultDocument) -> Section:
    """Return everything that the numbers depend on.

    Args:
        document: The result.

    Returns:
        The section: models, files, settings, signals.
    """
    models = (
        *zip(_MODEL_FACTS, *map(_model_facts, _models(document)), strict=True),
        *_kinds(document),
    )
    files = tuple(
        (side, clean(file.name), size(file.size_bytes), file.sha256)
        for side, model in zip(("base", "candidate"), _models(document), strict=True)
        for file in model.files
    )
    settings = tuple(_settings(document))
    signals = tuple(_signal_row(signal) for signal in document.signals[:_MAX_PARAMETERS])
    signal_head = ("Signal", "Version", "Parameters")
    return Section(
        title="Provenance",
        tables=(
            _table("models", "facts", ("", "Base", "Candidate"), models, len(models)),
            _table("settings", "settings", ("Setting", "Value"), settings, len(settings)),
            _table("signal-ids", "signals", signal_head, signals, len(document.signals)),
            _table(
                "files",
                "files",
                ("Model", "File", "Size", "sha256"),
                files[:_MAX_FILES],
                len(files),
            ),
        ),
    )


def cost_section(document: ResultDocument) -> Section:
    """Return time and memory by stage.

    Args:
        document: The result.

    Returns:
        The section.
    """
    cost = document.cost
    # A part of a stage is busy while others are: its time is in the stage's.
    stages = [stage for stage in cost.stages if "/" not in stage.stage]
    rows = tuple(
        (
            clean(stage.stage),
            duration(stage.seconds),
            size(stage.peak_host_bytes),
            ABSENT if stage.peak_device_bytes is None else size(stage.peak_device_bytes),
        )
        for stage in stages[:_MAX_STAGES]
    )
    head = ("Stage", "Time", "Peak host memory", "Peak device memory")
    total = duration(sum(stage.seconds for stage in stages))
    told = cost.reused[:_MAX_REUSED]
    reused = [clean(found, SENTENCE_LIMIT).rstrip(".") for found in told]
    return Section(
        title="Cost",
        sentences=(
            f"Started {clean(cost.started_at)} (UTC); {total} in all.",
            *map(_as_sentence, reused),
        ),
        tables=(_table("cost", "stages", head, rows, len(stages)),),
    )


def _as_sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def claims_section(document: ResultDocument) -> Section:
    """Return what the report does not say.

    Args:
        document: The result.

    Returns:
        The section.
    """
    ran = (
        "Neither model was run: nothing here is about what they say."
        if document.tier.ran == "weights"
        else "A change on texts that are unlike the probe set can go unseen."
    )
    return Section(
        title="What this does not say",
        sentences=(
            *_standing(document),
            _foresight(document),
            "A pass means that no limit of this policy was crossed, not that the model is safe.",
            "Distances have no sign: they flag big moves, not bad ones.",
            "An instruction tune can move a lot and improve.",
            "A signal that was not measured says nothing, neither good nor bad.",
            ran,
        ),
    )


def _standing(document: ResultDocument) -> tuple[str, ...]:
    calibration = document.calibration
    if calibration.calibrated:
        return ()
    if calibration.status == "provisional":
        return ("The index is provisional: its weights were set by hand.",)
    return ("The index is uncalibrated here: its weights were fitted to other models.",)


def _foresight(document: ResultDocument) -> str:
    if document.prediction is None or document.prediction.value is None:
        return "The index predicts no benchmark score."
    return (
        "The predicted degradation is a mean over the tests of the calibration, for models like "
        "its own; it is no benchmark score and no promise."
    )


_MODEL_FACTS = (
    "reference",
    "commit",
    "digest of the weights",
    "architecture",
    "parameters",
    "stored as",
)
_KINDS = {"full": "a model", "adapter": "an adapter", "gguf": "a model, as GGUF"}


def _models(document: ResultDocument) -> tuple[ModelEntry, ModelEntry]:
    return (document.base, document.candidate)


def _model_facts(model: ModelEntry) -> tuple[str, ...]:
    return (
        clean(model.reference),
        ABSENT if model.commit is None else clean(model.commit, _DIGEST_LIMIT),
        clean(model.digest, _DIGEST_LIMIT),
        clean(model.architecture),
        count(model.num_parameters),
        clean(", ".join(model.dtypes)),
    )


def _kinds(document: ResultDocument) -> Iterator[tuple[str, str, str]]:
    kinds = document.base.kind, document.candidate.kind
    if kinds != ("full", "full"):
        base, candidate = (_KINDS[kind] for kind in kinds)
        yield "weight files hold", base, candidate


def _settings(document: ResultDocument) -> Iterator[tuple[str, str]]:
    verdict, probe, environment = document.verdict, document.probe, document.environment
    if verdict is not None:
        yield from policy_facts(verdict)
    if document.registered_name is not None:
        yield "registered as", clean(document.registered_name)
    if probe is not None:
        template = "with" if probe.chat_template else "without"
        yield "probe set", f"{clean(probe.name)}, {clean(probe.digest)}"
        texts = f"{plural(probe.num_samples, 'sample')}, {template} chat template"
        yield "probe texts", f"{texts}, at most {plural(probe.max_tokens, 'token')} each"
    calibration = document.calibration
    own = "own: " if calibration.own else ""
    name = f"{own}{clean(calibration.name)}, version {calibration.version}"
    known = "fitted" if calibration.calibrated else calibration.status
    yield "calibration", f"{name}, {known}"
    yield "seed", str(environment.seed)
    yield "device", f"{clean(environment.device)}, {plural(environment.num_threads, 'thread')}"
    yield "computed in", clean(environment.compute_dtype)
    for name in ("sdi_gate", "python", "torch", "transformers", "safetensors", "platform"):
        yield name.replace("_", "-"), clean(str(getattr(environment, name)))


def _signal_row(signal: SignalEntry) -> tuple[str, ...]:
    shown = ", ".join(f"{item.name}={item.value}" for item in signal.parameters[:_MAX_PARAMETERS])
    return (signal.name, str(signal.version), clean(shown, SENTENCE_LIMIT) if shown else ABSENT)


def _tensors(key: str, nouns: str, entries: Sequence[TensorEntry]) -> Table:
    rows = tuple((clean(entry.name), _shape(entry.shape)) for entry in entries[:_MAX_TENSORS])
    return _table(key, nouns, (nouns.capitalize(), "Shape"), rows, len(entries))


def _mismatched(entries: Sequence[MismatchEntry]) -> Table:
    rows = tuple(
        (clean(entry.name), _shape(entry.base_shape), _shape(entry.candidate_shape))
        for entry in entries[:_MAX_TENSORS]
    )
    nouns = "tensors of another shape"
    return _table(
        "mismatched", nouns, (nouns.capitalize(), "Base", "Candidate"), rows, len(entries)
    )


def _shape(shape: tuple[int, ...]) -> str:
    return clean(" × ".join(map(str, shape))) if shape else "scalar"  # noqa: RUF001 - a product


def _table(
    key: str, nouns: str, head: tuple[str, ...], rows: tuple[tuple[str, ...], ...], total: int
) -> Table:
    return Table(
        key=key,
        nouns=nouns,
        head=head,
        rows=rows,
        total=total,
        essential=len(head),
        is_numeric=(False,) * len(head),
    )
