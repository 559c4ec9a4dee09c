"""Run the composite action on a host: the launcher, the docker client, and podman behind it."""

import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import engine
import pytest
from image_job import HF_TOKEN

pytestmark = pytest.mark.container

CLIENT = """#!{bash}
first="$1"; shift
[[ "$first" != run ]] || set -- --network host "$@"
exec {docker} "$first" "$@"
"""


@dataclass(frozen=True, kw_only=True)
class Docker:
    """How a runner's user reaches docker."""

    environment: dict[str, str]
    image: str
    user: int = 1001


@pytest.fixture(scope="module")
def docker(image):
    if shutil.which("docker") is None:
        pytest.skip("the composite action is not tested: the docker client is absent")
    folder = Path(tempfile.mkdtemp(prefix="sdi-gate-docker-"))
    folder.chmod(0o755)
    (folder / "config").mkdir(mode=0o755)
    # The GitHub of the tests is on loopback, and docker's own network is another one.
    client = folder / "docker"
    client.write_text(CLIENT.format(bash=shutil.which("bash"), docker=shutil.which("docker")))
    client.chmod(0o755)
    socket = folder / "docker.sock"
    command = [shutil.which("podman"), "system", "service", "--time", "0", f"unix://{socket}"]
    with subprocess.Popen(command) as service:  # noqa: S603 - the arguments are ours
        deadline = time.monotonic() + 30
        while not socket.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        socket.chmod(0o666)
        environment = {"DOCKER_HOST": f"unix://{socket}", "DOCKER_CONFIG": str(folder / "config")}
        environment["PATH"] = f"{folder}:{os.environ['PATH']}"
        found = engine.ran("podman", "image", "inspect", "--format", "{{.Id}}", image)
        yield Docker(environment=environment, image=f"sha256:{found.stdout.strip()}")
        service.terminate()
    shutil.rmtree(folder)


def test_the_launcher_judges_by_the_image_and_the_exit_code_comes_through(job, docker):
    payload = job.push("far")
    ended = job.as_composite_action(payload, docker, **job.inputs(image=docker.image))
    assert ended.code == 10, ended.log
    assert ended.outputs["decision"] == "fail"
    assert Path(ended.outputs["report-path"]) == job.folder / "temp/sdi-gate/report.md"
    assert "FAIL" in ended.summary.upper()
    assert len(job.github.comments) == 1


def test_a_near_one_passes_and_its_files_are_the_runners_own(job, docker):
    # No comma: podman's side of the protocol cannot read what docker's can.
    cache = job.folder / "models and 'profiles'"
    inputs = job.inputs(image=docker.image, cache=str(cache))
    ended = job.as_composite_action(job.push("near"), docker, **inputs)
    assert ended.code == 0, ended.log
    assert ended.outputs["decision"] == "pass"
    written = [*(job.folder / "temp/sdi-gate").rglob("*"), cache, *cache.rglob("*")]
    assert {path.stat().st_uid for path in written} == {docker.user}
    assert (job.folder / "temp/sdi-gate/run.json").is_file()
    assert HF_TOKEN not in ended.log.replace(f"::add-mask::{HF_TOKEN}", "")


def test_hostile_inputs_come_through_the_launcher_whole(job, docker):
    inputs = job.inputs(image=docker.image, tier="'$(id)'\n\"--privileged\"")
    ended = job.as_composite_action(job.push("near"), docker, **inputs)
    assert ended.code == 2
    assert any("--privileged" in told and "$(id)" in told for told in ended.errors)


def test_an_image_that_is_not_there_is_an_error_and_no_verdict(job, docker):
    image = "localhost/absent@sha256:" + "0" * 64
    ended = job.as_composite_action(job.push("near"), docker, **job.inputs(image=image))
    assert ended.code == 1
    assert ended.outputs["decision"] == "error"
    assert any("could not pull" in told for told in ended.errors)


def test_no_container_is_left(job, docker):
    ended = job.as_composite_action(job.push("near"), docker, **job.inputs(image=docker.image))
    assert ended.code == 0, ended.log
    environment = {**os.environ, **docker.environment}
    assert engine.ran("docker", "ps", "--all", "--quiet", env=environment).stdout == ""
