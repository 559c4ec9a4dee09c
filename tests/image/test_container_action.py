"""Run the image as the runner runs a container action."""

import json

import engine
import pytest
from github_server import JOB_TOKEN
from image_job import HF_TOKEN, POLICY

pytestmark = pytest.mark.container


def files_in(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def inside(image, *command):
    program, *arguments = command
    options = ("--rm", "--network", "none", "--read-only", "--entrypoint", program)
    return engine.ran("podman", "run", *options, image, *arguments).stdout


def test_the_image_has_a_size_that_is_printed(image, capsys):
    found = engine.ran("podman", "image", "inspect", "--format", "{{.Size}}", image).stdout
    size_bytes = int(found)
    with capsys.disabled():
        print(f"\nimage: {size_bytes / 1e9:.2f} GB, its base among them")  # noqa: T201
    assert 0.5e9 < size_bytes < 3e9


def test_the_package_is_a_small_layer_on_that_of_its_dependencies(image):
    shown = engine.ran("podman", "history", "--format", "json", image).stdout
    sizes = [layer["size"] for layer in json.loads(shown) if layer["size"] > 10_000]
    # The newest is first.
    assert sizes[0] < 20e6
    assert sizes[1] > 0.5e9


def test_nothing_that_builds_is_left(image):
    script = 'for name in cc gcc g++ make ld; do ! command -v "$name" || exit 1; done'
    inside(image, "bash", "-c", f"{script}; ! ls /opt/tools /build 2>/dev/null")
    # Neither the environment's pip nor what it has fetched, nor the lists of packages.
    inside(image, "bash", "-c", "! python -m pip --version 2>/dev/null && ! ls /root/.cache")


def test_the_commands_are_on_the_path_of_a_job_container(image):
    assert inside(image, "sdi-gate", "--version").startswith("sdi-gate, version ")
    assert "INPUT_NAME" in inside(image, "sdi-gate-action", "--help")


def test_what_is_imported_is_compiled(image):
    script = "import sdi_gate.action.main as m, torch; print(m.__cached__, torch.__cached__)"
    for path in inside(image, "python", "-c", script).split():
        inside(image, "test", "-f", path)


def test_a_fine_tune_that_is_near_passes_and_is_commented_on(job):
    ended = job.as_container_action(job.push("near"), **job.inputs())
    assert ended.code == 0, ended.log
    assert (ended.outputs["decision"], ended.outputs["candidates"]) == ("pass", "1")
    assert ended.outputs["report-path"].startswith("/github/runner_temp/sdi-gate/")
    assert "PASS" in ended.summary.upper()
    assert len(job.github.comments) == 1


def test_a_fine_tune_that_is_far_fails_with_the_exit_code_of_a_verdict(job):
    ended = job.as_container_action(job.push("far"), **job.inputs())
    assert ended.code == 10, ended.log
    assert ended.outputs["decision"] == "fail"
    assert (job.folder / "runner_temp/sdi-gate/report.md").is_file()


def test_the_workspace_is_left_as_it_was(job):
    payload = job.push("near")
    before = files_in(job.workspace)
    assert job.as_container_action(payload, **job.inputs()).code == 0
    assert files_in(job.workspace) == before


def test_modules_in_the_checkout_are_not_imported(job):
    for name in ("torch", "sdi_gate", "sitecustomize", "usercustomize", "json"):
        text = f"open('/github/workspace/imported-{name}', 'w')\n"
        (job.workspace / f"{name}.py").write_text(text, encoding="utf-8")
    assert job.as_container_action(job.push("near"), **job.inputs()).code == 0
    assert list(job.workspace.glob("imported-*")) == []


def test_inputs_that_contradict_each_other_are_a_usage_error(job):
    ended = job.as_container_action(job.push("near"), **job.inputs(candidate="file:near"))
    assert ended.code == 2
    assert any("candidate and manifest" in told for told in ended.errors)
    assert ended.outputs["decision"] == "error"


def test_a_name_of_an_input_that_is_mistyped_is_a_usage_error(job):
    ended = job.as_container_action(job.push("near"), **job.inputs(expect_polcy_digest="x"))
    assert ended.code == 2
    assert any("expect-polcy-digest" in told for told in ended.errors)


def test_a_gpu_that_is_asked_for_and_absent_is_one_sentence_and_no_trace(job):
    ended = job.as_container_action(job.push("near"), **job.inputs(device="cuda"))
    assert ended.code == 2
    assert len(ended.errors) == 1
    assert "GPU" in ended.errors[0]
    assert "Traceback" not in ended.log
    assert job.github.requests == []


def test_it_runs_with_a_read_only_root_no_power_and_models_that_are_there(job):
    job.options = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    job.variables = {"HF_HUB_OFFLINE": "1"}
    assert job.as_container_action(job.push("near"), **job.inputs()).code == 0


def test_without_a_network_the_program_ends_with_an_error_and_not_with_a_pass(job):
    job.options = ("--network", "none", "--read-only")
    ended = job.as_container_action(job.push("near"), **job.inputs())
    assert 0 < ended.code < 10
    assert ended.outputs["decision"] == "error"
    assert "Traceback" not in ended.log


def test_models_that_are_there_are_scanned_without_a_network_on_a_read_only_root(job):
    options = ("--rm", "--network", "none", "--read-only", "-v", f"{job.workspace}:/models:ro")
    policy = job.folder / "policy.yml"
    policy.write_bytes(POLICY)
    mounted = ("-v", f"{policy}:/policy.yml:ro", "--entrypoint", "sdi-gate")
    for candidate, code in (("near", 0), ("far", 10)):
        done = engine.ran(
            *(
                "podman",
                "run",
                *options,
                *mounted,
                job.image,
                "check",
                "--base",
                "file:/models/base",
            ),
            *("--candidate", f"file:/models/{candidate}", "--policy", "/policy.yml"),
            *("--tier", "weights", "--no-cache", "--out", "/tmp/out"),  # noqa: S108 - in there
            check=False,
        )
        assert done.returncode == code, done.stdout


def test_tokens_are_masked_first_and_stand_nowhere_else(job):
    ended = job.as_container_action(job.push("near"), **job.inputs())
    masks = [line for line in ended.log.splitlines() if line.startswith("::add-mask::")]
    assert ended.log.startswith("::add-mask::")
    rest = ended.log.replace("\n".join(masks), "")
    written = [path.read_text(encoding="utf-8") for path in files_in(job.folder / "runner_temp")]
    for token in (JOB_TOKEN, HF_TOKEN):
        assert not any(token in text for text in (rest, ended.summary, *written))
