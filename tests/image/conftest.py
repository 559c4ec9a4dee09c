"""Build the image once, and give each test a GitHub, models and folders as the runner has them."""

import shutil
import tempfile
from pathlib import Path

import engine
import pytest
from github_server import GitHubServer
from image_job import ImageJob
from tiny_models import add_noise, build_base, perturb


@pytest.fixture(autouse=True, scope="session")
def _store(tmp_path_factory):
    reason = engine.why_not()
    if reason:
        pytest.skip(f"the image is not tested: {reason}")
    folder = tmp_path_factory.mktemp("containers")
    (folder / "containers.conf").write_text(engine.SETTINGS, encoding="utf-8")
    storage = engine.STORAGE.format(folder=folder)
    (folder / "storage.conf").write_text(storage, encoding="utf-8")
    patch = pytest.MonkeyPatch()
    patch.setenv("CONTAINERS_CONF", str(folder / "containers.conf"))
    patch.setenv("CONTAINERS_STORAGE_CONF", str(folder / "storage.conf"))
    yield
    engine.ran("podman", "rmi", "--all", "--force")
    patch.undo()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def image(_store, tmp_path_factory):
    """Build the image, and name it."""
    folder = tmp_path_factory.mktemp("image")
    engine.build_base(folder)
    engine.build_image(folder)
    return engine.IMAGE


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    base = build_base(folder / "base")
    perturb(base, folder / "near", add_noise(0.001))
    perturb(base, folder / "far", add_noise(2.0))
    return folder


@pytest.fixture
def job(image, models):
    # Not pytest's folders, which only root may enter: a runner is somebody else.
    folder = Path(tempfile.mkdtemp(prefix="sdi-gate-image-"))
    folder.chmod(0o755)
    shutil.copytree(models, folder / "workspace")
    with GitHubServer() as github:
        yield ImageJob(folder=folder, image=image, github=github)
    shutil.rmtree(folder)
