"""Run the launcher of the action among programs that record how they are called."""

import os
import shutil
import signal
import subprocess
import time

import pytest
from launcher_host import DECIDED, DIGEST, IMAGE, LAUNCHER, NVIDIA, Host, error_of

SECRETS = {
    "INPUT_HF_TOKEN": "hf-secret-1",
    "INPUT_GITHUB_TOKEN": "gh-secret-2",
    "INPUT_POLICY_TOKEN": "policy-secret-3",
    "MLFLOW_TRACKING_PASSWORD": "mlflow-secret-4",
    "ACTIONS_RUNTIME_TOKEN": "runtime-secret-5",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "identity-secret-6",
}


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


@pytest.fixture
def docker_host(host):
    return host.install("docker")


def test_bash_can_read_the_launcher():
    subprocess.run(  # noqa: S603 - our own launcher
        [shutil.which("bash"), "-n", str(LAUNCHER)], check=True
    )


def test_the_launcher_evaluates_no_text_as_code():
    text = LAUNCHER.read_text(encoding="utf-8")
    assert "set -euo pipefail" in text
    assert not {"eval", "source", "bash -c", "sh -c"} & set(text.split())


def test_in_a_job_container_the_program_on_the_path_is_run_with_its_inputs(docker_host):
    docker_host.install("sdi-gate-action", "exit 11")
    ran = docker_host.run(**SECRETS, INPUT_POLICY="a 'b' \"c\"\n$(d)")
    assert ran.code == 11
    assert ran.arguments("sdi-gate-action") == []
    assert ran.variables("sdi-gate-action")["INPUT_POLICY"] == "a 'b' \"c\"\n$(d)"
    assert not any(path.name.startswith("docker") for path in ran.records.iterdir())


def test_the_container_has_a_read_only_root_and_no_power(docker_host):
    ran = docker_host.run()
    assert ran.code == 0
    given = ran.arguments()
    assert {"run", "--init", "--read-only"} <= set(given)
    assert given[-1] == IMAGE
    assert ran.values_of("--tmpfs") == ["/tmp"]  # noqa: S108 - the container's own
    assert ran.values_of("--cap-drop") == ["ALL"]
    assert ran.values_of("--security-opt") == ["no-new-privileges"]
    assert ran.values_of("--user") == [f"{os.getuid()}:{os.getgid()}"]
    assert not {"--privileged", "--network", "--volume", "-v", "--gpus"} & set(given)


def test_only_what_is_written_is_mounted_for_writing(docker_host):
    ran = docker_host.run()
    here = docker_host.folder
    assert ran.mounts() == {
        here / "work": True,
        here / "event.json": True,
        here / "output": False,
        here / "summary": False,
        here / "temp/sdi-gate": False,
        here / "temp/sdi-gate-cache": False,
    }
    assert ran.variables()["INPUT_OUT"] == str(here / "temp/sdi-gate")
    assert ran.variables()["INPUT_CACHE"] == str(here / "temp/sdi-gate-cache")


def test_folders_with_commas_quotes_and_spaces_are_made_and_mounted(docker_host):
    cache, out = docker_host.folder / 'a,b "c" d:e', docker_host.folder / "new/'f',readonly"
    ran = docker_host.run(INPUT_CACHE=str(cache), INPUT_OUT=str(out))
    assert {cache, out} <= set(ran.mounts())
    assert ran.mounts()[out] is False
    assert cache.is_dir()


def test_a_relative_folder_is_one_beside_the_workspace(docker_host):
    ran = docker_host.run(INPUT_CACHE="sub/../../models")
    assert ran.mounts()[docker_host.folder / "models"] is False
    assert ran.values_of("--workdir") == [str(docker_host.folder / "work")]


@pytest.mark.parametrize("name", ["out", "cache"])
@pytest.mark.parametrize("folder", [".", "results", "../work/results"])
def test_no_folder_of_the_workspace_is_written_or_trusted(docker_host, name, folder):
    ran = docker_host.run(**{f"INPUT_{name.upper()}": folder})
    assert ran.code == 2
    assert f"{name} must name a folder outside of the workspace" in error_of(ran)
    assert not ran.called("docker-run")


def test_a_link_in_the_checkout_chooses_no_mount(docker_host):
    (docker_host.folder / "home").mkdir()
    (docker_host.folder / "work/results").symlink_to(docker_host.folder / "home")
    ran = docker_host.run(INPUT_RUN="results/a")
    assert ran.code == 2
    assert "run goes by a link out of the workspace" in error_of(ran)
    assert list((docker_host.folder / "home").iterdir()) == []
    assert not ran.called("docker-run")


def test_the_run_of_another_job_is_mounted_for_reading(docker_host):
    artifact = docker_host.folder / "temp/artifact/run.json"
    artifact.parent.mkdir()
    artifact.touch()
    assert docker_host.run(INPUT_RUN=str(artifact)).mounts()[artifact] is True


def test_no_secret_and_no_other_value_stands_in_an_argument(docker_host):
    values = {**SECRETS, "INPUT_POLICY": "secret-policy", "GITHUB_ACTOR": "secret-actor"}
    ran = docker_host.run(**values)
    for name in ("docker-version", "docker-image", "docker-run"):
        assert not any(value in text for text in ran.arguments(name) for value in values.values())
    assert [value for value in ran.values_of("--env") if "=" in value] == ["HOME=/tmp"]
    assert ran.said == ""
    assert ran.variables()["INPUT_HF_TOKEN"] == "hf-secret-1"  # noqa: S105 - not a secret


def test_the_container_gets_what_the_program_reads_and_nothing_else(docker_host):
    given = ("CI", "GITHUB_SHA", "RUNNER_OS", "HF_ENDPOINT", "https_proxy", "INPUT_POLICY")
    kept = ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_STATE", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD_X")
    ran = docker_host.run(**SECRETS, **dict.fromkeys((*given, *kept), "x"))
    passed = set(ran.values_of("--env"))
    assert set(given) <= passed
    assert not {*kept, "PATH", "ACTIONS_RUNTIME_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"} & passed


@pytest.mark.parametrize(
    "value",
    ["a b", "a\nINPUT_DEVICE=cuda\nb", "'\"`$(touch x)`\\", "--privileged", "::error::x", "é\x01*"],
    ids=["space", "newline", "quotes", "option", "command", "control"],
)
def test_hostile_values_arrive_as_they_are_and_are_never_printed(docker_host, value):
    names = ("INPUT_POLICY", "INPUT_CANDIDATE", "GITHUB_HEAD_REF", "INPUT_THREADS")
    ran = docker_host.run(**dict.fromkeys(names, value))
    assert (ran.code, ran.said) == (0, "")
    assert {ran.variables()[name] for name in names} == {value}
    assert value not in ran.arguments()


@pytest.mark.parametrize(
    "image",
    [
        "sdi-gate:latest",
        f"sdi-gate@{DIGEST[:-1]}",
        f"--privileged@{DIGEST}",
        f"a b@{DIGEST}",
        f"x@{DIGEST}\n",
        f"evil\nx@{DIGEST}",
    ],
)
def test_an_image_that_is_not_pinned_by_digest_is_refused(docker_host, image):
    ran = docker_host.run(INPUT_IMAGE=image)
    assert ran.code == 2
    assert "image must be pinned by digest" in error_of(ran)
    assert not ran.called("docker-version")


def test_an_image_of_this_host_is_named_by_its_digest_alone(docker_host):
    assert docker_host.run(INPUT_IMAGE=DIGEST).arguments()[-1] == DIGEST


def test_without_an_image_the_error_says_to_name_one(docker_host):
    ran = docker_host.run(INPUT_IMAGE="")
    assert ran.code == 2
    assert "name it by digest" in error_of(ran)


def test_without_docker_the_error_says_what_is_missing(host):
    ran = host.run()
    assert ran.code == 2
    assert "Neither sdi-gate-action nor docker" in error_of(ran)


@pytest.mark.parametrize(
    "name", ["GITHUB_WORKSPACE", "GITHUB_EVENT_PATH", "GITHUB_STEP_SUMMARY", "RUNNER_TEMP"]
)
def test_outside_a_runner_the_error_names_what_is_missing(docker_host, name):
    ran = docker_host.run(**{name: None})
    assert ran.code == 2
    assert f"{name} is not set" in error_of(ran)


@pytest.mark.parametrize("body", [None, "exit 9", "echo No devices were found; exit 0"])
def test_a_gpu_that_is_asked_for_and_absent_is_one_sentence_before_the_image(docker_host, body):
    if body:
        docker_host.install("nvidia-smi", body)
    ran = docker_host.run(INPUT_DEVICE="cuda")
    assert ran.code == 2
    assert "there is no GPU here" in error_of(ran)
    assert not any(path.name.startswith("docker") for path in ran.records.iterdir())


@pytest.mark.parametrize(
    ("device", "visible", "gpus"),
    [
        ("auto", None, ["all"]),
        ("", "all", ["all"]),
        ("cuda", "all", ["all"]),
        ("cuda", "0,1", ['"device=0,1"']),
        ("auto", "void", []),
        ("cpu", None, []),
    ],
)
def test_gpus_are_given_if_there_are_any_and_the_device_is_not_cpu(
    docker_host, device, visible, gpus
):
    docker_host.install("nvidia-smi", NVIDIA)
    ran = docker_host.run(INPUT_DEVICE=device, NVIDIA_VISIBLE_DEVICES=visible)
    assert (ran.code, ran.values_of("--gpus")) == (0, gpus)


def test_numbers_of_gpus_hold_only_where_the_container_has_them_all(docker_host):
    docker_host.install("nvidia-smi", NVIDIA)
    ran = docker_host.run(CUDA_VISIBLE_DEVICES="1")
    assert "CUDA_VISIBLE_DEVICES" in ran.values_of("--env")
    ran = docker_host.run(CUDA_VISIBLE_DEVICES="1", NVIDIA_VISIBLE_DEVICES="1")
    assert "CUDA_VISIBLE_DEVICES" not in ran.values_of("--env")


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 10, 11, 143])
def test_the_exit_code_is_the_programs(host, code):
    ran = host.install("docker", f'[[ "$1" != run ]] || exit {code}').run()
    assert (ran.code, ran.said) == (code, "")


@pytest.mark.parametrize("left", ["", "decision<<x\\nerror\\nx\\n", "report-path=decision<<\\n"])
def test_an_end_without_a_decision_is_no_pass(host, left):
    ran = host.install("docker", f'[[ "$1" != run ]] || printf "{left}" >>"$GITHUB_OUTPUT"').run()
    assert ran.code == 1
    assert "ended without a decision" in ran.said


@pytest.mark.parametrize("code", [0, 10, 125])
def test_the_container_is_removed_whatever_comes_of_it(host, code):
    ran = host.install("docker", f'[[ "$1" != run ]] || exit {code}').run()
    assert "--rm" not in ran.arguments()
    assert ran.arguments("docker-rm") == ["rm", "--force", *ran.values_of("--name")]


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (125, "docker could not start the container"),
        (126, "has no program that starts"),
        (127, "has no program that starts"),
        (137, "want of memory"),
    ],
)
def test_what_docker_ends_with_is_no_verdict(host, code, sentence):
    ran = host.install("docker", f'[[ "$1" != run ]] || exit {code}').run()
    assert ran.code == 1
    assert sentence in error_of(ran)


def test_a_host_whose_docker_cannot_give_the_gpu_says_so(host):
    host.install("nvidia-smi", NVIDIA).install("docker", '[[ "$1" != run ]] || exit 125')
    ran = host.run()
    assert ran.code == 2
    assert "NVIDIA's container toolkit" in error_of(ran)


def test_an_image_that_is_absent_is_pulled(host):
    ran = host.install("docker", f'[[ "$1" != image ]] || exit 1\n{DECIDED}').run()
    assert (ran.code, ran.arguments("docker-pull")[-1]) == (0, IMAGE)


def test_an_image_that_cannot_be_pulled_is_an_error(host):
    ran = host.install("docker", '[[ "$1" != image && "$1" != pull ]] || exit 1').run()
    assert ran.code == 1
    assert "could not pull" in error_of(ran)
    assert not ran.called("docker-run")


def test_an_image_that_is_there_is_not_pulled(docker_host):
    assert not docker_host.run().called("docker-pull")


def test_a_job_that_is_cancelled_stops_the_container(host):
    body = 'if [[ "$1" == run ]]; then trap "exit 143" TERM; while :; do sleep 0.05; done; fi'
    host.install("docker", body)
    process = host.start()
    deadline = time.monotonic() + 30
    while not (host.records / "docker-run.env").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)  # recorded; the trap is next
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 143
