"""Run a scan from the command line: compose sources, device and report."""

from __future__ import annotations

import logging
import math
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

# Before torch and the Hub's client are imported, which read them once: products of matrices on a
# GPU shall not depend on the order of threads; a thread that waits shall sleep, for where others
# compute too, waiting threads that spin make all of it ten times slower; and no request tells
# anyone that we are here.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import torch
from transformers.utils import logging as transformers_logging

from sdi_gate.cli.cache import open_store
from sdi_gate.cli.options import cpu_count
from sdi_gate.cli.output import progress_on_stderr, say
from sdi_gate.cli.precheck import needs_hub
from sdi_gate.cli.publishing import publish, warn
from sdi_gate.errors import ExitCode, UsageError
from sdi_gate.gate.memory import share_one_heap
from sdi_gate.gate.procedure import Effects, judge_scan, run_scan
from sdi_gate.gate.request import ScanRequest, Settings, TierChoice
from sdi_gate.integrations.hub import HubSource
from sdi_gate.models import probe
from sdi_gate.models.folder import FolderSource
from sdi_gate.models.ref import ModelRef, Scheme
from sdi_gate.policy.chain.matching import demands_of
from sdi_gate.prediction import calibration
from sdi_gate.report.build import build_document
from sdi_gate.report.files import prepare_folder
from sdi_gate.signals.depth import DepthWeighting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sdi_gate.cli.options import ScanOptions
    from sdi_gate.gate.result import Judgement
    from sdi_gate.models.snapshot import ModelSource
    from sdi_gate.policy.facts import Tier
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.report.document import ResultDocument

_logger = logging.getLogger(__name__)
# Who logs what a scan will do and what it cuts.
_PLAN = "sdi_gate.gate.replan"


def run(
    options: ScanOptions, policy: LoadedPolicy | None, registered_name: str | None = None
) -> int:
    """Measure, judge if there is a policy, print and write the report.

    Args:
        options: What was asked for.
        policy: The policy; None to measure only.
        registered_name: Name in the registry that was given for the candidate.

    Returns:
        The exit code. A report that cannot be written turns a 0 into a 6 and hides no 10 or 11.
    """
    document, judgement = examine(options, policy, registered_name)
    code = judgement.verdict.exit_code if judgement is not None else ExitCode.OK
    published = publish(document, options.out, code)
    warn(judgement)
    return published


def examine(
    options: ScanOptions, policy: LoadedPolicy | None, registered_name: str | None = None
) -> tuple[ResultDocument, Judgement | None]:
    """Measure, and judge if there is a policy; write nothing.

    Args:
        options: What was asked for; of its output folder a former report is removed.
        policy: The policy; None to measure only.
        registered_name: Name in the registry that was given for the candidate.

    Returns:
        The result document, and the judgement that is in it.
    """
    request = make_request(options, policy, registered_name)
    prepare_folder(options.out)
    set_up(options.threads, request.device)
    sources = sources_for((request.base, request.candidate))
    with progress_on_stderr() as progress, _saying_the_plan(options):
        effects = Effects(sources=sources, progress=progress)
        result = run_scan(request, effects)
    judgement = judge_scan(result, policy, effects.now()) if policy is not None else None
    return build_document(result, judgement), judgement


def make_request(
    options: ScanOptions, policy: LoadedPolicy | None, registered_name: str | None = None
) -> ScanRequest:
    """Read the options.

    Args:
        options: As they were given.
        policy: The policy, if there is one, whose tier ``auto`` does not give up for time.
        registered_name: Name in the registry that was given for the candidate.

    Returns:
        The request.

    Raises:
        UsageError: If an option cannot be used.
    """  # noqa: DOC502 - raised by the readers
    device = choose_device(options.device)
    candidate = ModelRef.parse(options.candidate)
    name = registered_name or (candidate.location if candidate.scheme is Scheme.HUB else None)
    return ScanRequest(
        base=None if options.base is None else ModelRef.parse(options.base),
        candidate=candidate,
        tier=TierChoice(options.tier),
        device=device,
        devices=visible(device),
        dtype=choose_dtype(options.dtype, device),
        budget_s=options.budget,
        store=open_store(options.profile, options.cache, use_cache=not options.no_cache),
        probe=probe.load_file(options.probe) if options.probe else probe.load_default(),
        settings=Settings(
            seed=options.seed, depth_weighting=parse_depth_weights(options.depth_weights)
        ),
        required=_required_tier(policy, name) if policy is not None else None,
        calibration=calibration.load_file(options.calibration)
        if options.calibration
        else calibration.load_default(),
        registered_name=registered_name,
    )


def _required_tier(policy: LoadedPolicy, name: str | None) -> Tier:
    # Before a model is open its family is not known: the highest tier that may be required.
    demands = [demands_of(level, family=None, model=name) for level in policy.levels]
    return max(found.required_tier.value for found in demands)


def sources_for(references: Iterable[ModelRef | None]) -> dict[Scheme, ModelSource]:
    """Compose the sources of models.

    Args:
        references: The models; None for a base that an adapter names.

    Returns:
        A source for each scheme that is needed.
    """
    # The Hub's settings do not matter to a scan of two folders, and must not end it.
    needed = needs_hub(references)
    hub: dict[Scheme, ModelSource] = {Scheme.HUB: HubSource()} if needed else {}
    return {Scheme.FILE: FolderSource(), **hub}


def choose_device(name: str) -> torch.device:
    """Choose where to compute.

    Args:
        name: ``auto``, ``cpu`` or ``cuda``.

    Returns:
        The device; ``auto`` is the GPU if there is one.

    Raises:
        UsageError: If a GPU was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        msg = "--device cuda: torch finds no CUDA GPU on this machine"
        raise UsageError(msg, hint="sdi-gate doctor shows what it finds; --device cpu works")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def visible(device: torch.device) -> tuple[torch.device, ...]:
    """Return the devices over which a large model may be spread.

    Args:
        device: Where to compute.

    Returns:
        Every GPU that this process sees, if it is to compute on GPUs and there are several; else
        none. ``CUDA_VISIBLE_DEVICES`` says which it sees.
    """
    count = torch.cuda.device_count() if device.type == "cuda" else 0
    return tuple(torch.device("cuda", index) for index in range(count)) if count > 1 else ()


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Choose the type in which models run.

    Args:
        name: ``auto``, ``float32`` or ``bfloat16``.
        device: Where they run.

    Returns:
        The type; ``auto`` is that in which a GPU is fast and a CPU is exact.
    """
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def parse_depth_weights(text: str) -> DepthWeighting:
    """Read depth weights.

    Args:
        text: ``uniform``, ``linear`` or numbers with commas between them.

    Returns:
        The weighting; whether a list fits the model is found when the model is known.

    Raises:
        UsageError: If the text is none of these.
    """
    if text in {"uniform", "linear"}:
        return DepthWeighting(scheme=text)
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError as exc:
        msg = f"--depth-weights: expected uniform, linear or numbers such as 1,2,3; got {text!r}"
        raise UsageError(msg) from exc
    # Before any model is fetched; how many there must be is known only when one is open.
    if not all(value >= 0.0 for value in values) or not 0.0 < sum(values) < math.inf:
        msg = f"--depth-weights: expected numbers from 0 with a finite sum above 0; got {text!r}"
        raise UsageError(msg)
    return DepthWeighting(scheme="list", values=values)


class _SayingHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


@contextmanager
def _saying_the_plan(options: ScanOptions) -> Iterator[None]:
    # Before the work starts, a person with a budget is told what will be done and what is cut.
    logger, handler = logging.getLogger(_PLAN), _SayingHandler()
    if options.budget is None or logging.getLogger("sdi_gate").handlers:
        yield  # or --verbose shows it already
        return
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def set_up(threads: int | None, device: torch.device) -> None:
    """Set up torch and the libraries for the whole process.

    Args:
        threads: CPU threads, if not all.
        device: Where to compute.
    """
    share_one_heap()
    torch.set_num_threads(threads or cpu_count())
    torch.use_deterministic_algorithms(mode=device.type == "cuda", warn_only=True)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    # Model texts and names do not reach our logs, and progress is ours to show.
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    _logger.info("device %s, %d threads", device, torch.get_num_threads())
