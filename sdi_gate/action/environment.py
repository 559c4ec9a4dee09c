"""Set up the process as the inputs say, before the libraries that read it are imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sdi_gate.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from sdi_gate.action.inputs import ActionInputs

_FOLDER = "sdi-gate"
# An Actions secret that does not exist arrives as an empty text.
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_URI")
_NO_GPU = (
    "in a job container give container.options: --gpus all; a container action sees a GPU only"
    " where NVIDIA's runtime is the default of that Docker; device: cpu works"
)


def configure(inputs: ActionInputs, environment: MutableMapping[str, str]) -> None:
    """Hand tokens and folders on to the libraries, which read them where they are imported.

    Args:
        inputs: The inputs.
        environment: The process's; changed.

    Raises:
        UsageError: If the cache is in the workspace, where a pull request could bring its own.
    """
    for key in _TOKENS:
        if not environment.get(key, "-").strip():
            del environment[key]
    given = {
        "HF_TOKEN": inputs.hf_token,
        "MLFLOW_TRACKING_URI": inputs.mlflow_tracking_uri,
        "MLFLOW_TRACKING_TOKEN": inputs.mlflow_tracking_token,
    }
    environment.update({key: value for key, value in given.items() if value is not None})
    if inputs.cache is not None:
        if _is_in_workspace(inputs.cache.resolve(), environment):
            msg = f"cache: expected a folder outside the workspace; got {str(inputs.cache)!r}"
            hint = "a checkout could bring models of its own there; give a folder of the runner"
            raise UsageError(msg, hint=hint)
        cache = inputs.cache.absolute()
        environment["HF_HOME"] = str(cache / "huggingface")
        environment["SDI_GATE_CACHE"] = str(cache / "profiles")


def choose_out(inputs: ActionInputs, environment: Mapping[str, str]) -> Path:
    """Choose the folder for what is written.

    Args:
        inputs: The inputs.
        environment: The process's.

    Returns:
        An absolute path outside the workspace: what a container leaves there as root keeps the
        next job from checking out.

    Raises:
        UsageError: If there is no such folder.
    """
    temporary = environment.get("RUNNER_TEMP")
    if inputs.out is None and not temporary:
        msg = "out: there is no folder for the files, since RUNNER_TEMP is not set"
        raise UsageError(msg, hint="the runner sets it; elsewhere give out")
    out = inputs.out or Path(temporary or "") / _FOLDER
    resolved = out.resolve()
    if _is_in_workspace(resolved, environment):
        msg = f"out: expected a folder outside the workspace; got {str(out)!r}"
        raise UsageError(msg, hint="leave it out: it is sdi-gate in the runner's temporary folder")
    return resolved


def _is_in_workspace(path: Path, environment: Mapping[str, str]) -> bool:
    workspace = environment.get("GITHUB_WORKSPACE")
    return bool(workspace) and path.is_relative_to(Path(workspace or "").resolve())


def check_device(device: str) -> None:
    """Look for a GPU that the workflow counts on, before anything is fetched.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UsageError: If there is none.
    """
    if device == "cuda" and not has_gpu():
        msg = "device: cuda was asked for, and this machine, or container, shows torch no GPU"
        raise UsageError(msg, hint=_NO_GPU)


def has_gpu() -> bool:
    """Say whether scans have a GPU.

    Returns:
        Whether torch finds one.
    """
    # Not torch alone: scanning sets what torch reads when it is imported.
    from sdi_gate.cli.scanning import choose_device  # noqa: PLC0415 - loads torch

    return choose_device("auto").type == "cuda"
