"""Take the harness's own tasks for the four public axes.

===========  ==================  =============================  ======================
axis         harness task        score                          few-shot examples
===========  ==================  =============================  ======================
mmlu         ``mmlu`` (group)    ``acc``, all questions alike   5, the dev set's
ifeval       ``ifeval``          ``prompt_level_strict_acc``    0
toxigen      ``toxigen``         ``acc``                        0
truthfulqa   ``truthfulqa_mc2``  ``acc``: probability of truth  6, in the task's prompt
===========  ==================  =============================  ======================

``prompt_level_strict_acc`` is the strictest of the four scores of ifeval and the only strict one
whose items are independent, so that its standard error is one. toxigen's ``acc_norm`` divides by
the lengths of the words "No" and "Yes", of which ``acc`` is free.
"""

from __future__ import annotations

import io
import logging
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from sdi_gate.errors import SdiGateError, UnreachableError, UsageError
from sdi_gate.study.evaluation.benchmark_files import read_dataset
from sdi_gate.study.evaluation.harness import INSTALL, quiet_harness, require_harness
from sdi_gate.study.evaluation.items import Rows
from sdi_gate.study.evaluation.scores import AxisTask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lm_eval.api.task import ConfigurableTask

_LOG = logging.getLogger(__name__)
# The kinds of instruction that are checked with nltk's sentence and word tokenizers.
_NEED_PUNKT = frozenset(
    {"length_constraints:number_sentences", "change_case:capital_word_frequency"}
)
_PUNKT = "tokenizers/punkt_tab"
_GET_PUNKT = "python -m nltk.downloader punkt_tab"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Public:
    task: str
    folder: str  # below lm_eval/tasks: the index of all its folders takes ten seconds
    metric: str
    num_fewshot: int


_PUBLIC = {
    "mmlu": _Public(task="mmlu", folder="mmlu/default", metric="acc", num_fewshot=5),
    "ifeval": _Public(
        task="ifeval", folder="ifeval", metric="prompt_level_strict_acc", num_fewshot=0
    ),
    "toxigen": _Public(task="toxigen", folder="toxigen", metric="acc", num_fewshot=0),
    "truthfulqa": _Public(task="truthfulqa_mc2", folder="truthfulqa", metric="acc", num_fewshot=0),
}
PUBLIC_AXES = tuple(_PUBLIC)


def public_tasks(
    axes: Sequence[str] = PUBLIC_AXES, *, folder: Path | None = None
) -> tuple[AxisTask, ...]:
    """Take the harness's tasks for public axes.

    Args:
        axes: Some of `PUBLIC_AXES`.
        folder: Benchmark files that stand for the datasets on the Hub; see `read_dataset`. Then
            nothing is downloaded, and where nltk's ``punkt_tab`` is not on the machine, prompts of
            ifeval that cannot be checked without it are left out, as the task's note says. None
            loads the datasets and ``punkt_tab`` from their servers, into their libraries' caches.

    Returns:
        One task for each axis.

    Raises:
        UsageError: If there is no such axis, a file cannot be read, or a package is not
            installed.
        UnreachableError: If a server does not give a dataset.
    """  # noqa: DOC502 - raised by the functions called
    require_harness()
    unknown = [axis for axis in axes if axis not in _PUBLIC]
    if unknown:
        hint = f"the public axes are {', '.join(PUBLIC_AXES)}"
        raise UsageError(f"no public axis {unknown[0]!r}", hint=hint)
    return tuple(_load(axis, folder) for axis in axes)


def _load(axis: str, folder: Path | None) -> AxisTask:
    public = _PUBLIC[axis]
    with quiet_harness(), _translated(axis, folder), _from_files(folder):
        loaded = _from_harness(public)
    for task in loaded["tasks"].values():
        task.set_config("num_fewshot", public.num_fewshot)
    note = _settle_ifeval(loaded["tasks"]["ifeval"], folder) if axis == "ifeval" else ""
    return AxisTask(
        axis=axis,
        result=public.task,
        metric=public.metric,
        tasks=loaded["tasks"],
        groups=loaded["groups"],
        note=note,
    )


def _from_harness(public: _Public) -> Mapping[str, Any]:
    import lm_eval  # noqa: PLC0415 - an extra
    from lm_eval.tasks import TaskManager  # noqa: PLC0415 - an extra

    folder = Path(lm_eval.__file__).parent / "tasks" / public.folder
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    with redirect_stdout(io.StringIO()):  # ifeval prints that it has punkt_tab, true or not
        loaded: Mapping[str, Any] = manager.load([public.task])
    return loaded


@contextmanager
def _from_files(folder: Path | None) -> Iterator[None]:
    if folder is None:
        yield
        return
    import nltk  # noqa: PLC0415 - an extra
    from lm_eval.api import task  # noqa: PLC0415 - an extra

    # A task loads its dataset while it is made, and ifeval asks for punkt_tab while it is
    # imported: there is no later moment to give them something else.
    datasets, download = task.datasets, nltk.download
    task.datasets = SimpleNamespace(
        __version__=datasets.__version__,
        load_dataset=lambda path, name=None, **_options: read_dataset(folder, path, name),
    )
    nltk.download = lambda *_names, **_options: False
    try:
        yield
    finally:
        task.datasets, nltk.download = datasets, download


@contextmanager
def _translated(axis: str, folder: Path | None) -> Iterator[None]:
    try:
        yield
    except SdiGateError:
        raise
    except ModuleNotFoundError as exc:
        raise UsageError(f"the benchmark {axis} needs a package: {exc}", hint=INSTALL) from exc
    except Exception as exc:
        # Dataset builders, network clients and task files each fail in a way of their own.
        msg = f"cannot load the benchmark {axis}: {type(exc).__name__}: {exc}"[:600]
        if folder is not None:
            raise UsageError(msg, hint=f"look at its files in {folder}") from exc
        hint = "check the network, or give a folder with the benchmark's files"
        raise UnreachableError(msg, hint=hint) from exc


def _settle_ifeval(task: ConfigurableTask, folder: Path | None) -> str:
    import langdetect  # noqa: PLC0415 - an extra
    import nltk  # noqa: PLC0415 - an extra

    langdetect.DetectorFactory.seed = 0  # else it detects the language of short texts by chance
    try:
        nltk.data.find(_PUNKT)
    except LookupError as exc:
        if folder is None:
            msg = "the benchmark ifeval needs nltk's punkt_tab, which could not be downloaded"
            raise UnreachableError(msg, hint=_GET_PUNKT) from exc
        return _leave_out(task)
    return ""


def _leave_out(task: ConfigurableTask) -> str:
    split = task.config.test_split
    rows = task.dataset[split]
    kept = Rows(row for row in rows if _NEED_PUNKT.isdisjoint(row["instruction_id_list"]))
    task.dataset = {split: kept}
    note = (
        f"{len(rows) - len(kept)} of {len(rows)} prompts of ifeval are left out: their"
        f" instructions ({', '.join(sorted(_NEED_PUNKT))}) are checked with nltk's punkt_tab, which"
        " is not on this machine"
    )
    _LOG.warning("%s; to get it: %s", note, _GET_PUNKT)
    return note
