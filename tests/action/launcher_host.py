"""A host whose programs record how the launcher of the action calls them."""

import csv
import shutil
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

LAUNCHER = Path(__file__).parents[2] / "action" / "launch.sh"
DIGEST = "sha256:" + "0123456789abcdef" * 4
IMAGE = f"registry.example.com:5000/team/sdi-gate@{DIGEST}"
TOOLS = ("bash", "env", "id", "mkdir", "realpath", "sleep", "timeout")
# Each records its arguments and its variables, which no file of text could hold without loss.
PROGRAM = """#!{bash}
name="${{0##*/}}"; [[ "$name" != docker ]] || name="docker-$1"
[[ $# -eq 0 ]] || printf '%s\\0' "$@" >"{records}/$name"
env -0 >"{records}/$name.env"
{body}
"""


NVIDIA = 'echo "GPU 0: Some GPU (UUID: GPU-1)"'
# What the program leaves behind, and what docker ends with.
DECIDED = '[[ "$1" != run ]] || printf "decision<<x\\npass\\nx\\n" >>"$GITHUB_OUTPUT"; exit 0'


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    code: int
    said: str
    records: Path
    output: Path

    def called(self, name):
        return (self.records / f"{name}.env").exists()

    def arguments(self, name="docker-run"):
        path = self.records / name
        return path.read_text(encoding="utf-8").split("\0")[:-1] if path.exists() else []

    def variables(self, name="docker-run"):
        lines = (self.records / f"{name}.env").read_text(encoding="utf-8").split("\0")[:-1]
        return dict(line.split("=", 1) for line in lines)

    def values_of(self, option):
        given = self.arguments()
        return [after for before, after in pairwise(given) if before == option]

    def mounts(self):
        found = {}
        for value in self.values_of("--mount"):
            kind, source, target, *rest = next(csv.reader([value], strict=True))
            assert (kind, source[7:]) == ("type=bind", target[7:])
            found[Path(source[7:])] = rest == ["readonly"]
        return found


class Host:
    """A host with the programs that a test gives it, and a runner's folders."""

    def __init__(self, folder):
        self.folder, self.bin, self.records = folder, folder / "bin", folder / "records"
        for path in (self.bin, self.records, folder / "work", folder / "temp"):
            path.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        files = {"GITHUB_EVENT_PATH": "event.json", "GITHUB_OUTPUT": "output"}
        files["GITHUB_STEP_SUMMARY"] = "summary"
        self.environment = {"PATH": str(self.bin), "INPUT_IMAGE": IMAGE}
        self.environment |= {
            "GITHUB_WORKSPACE": str(folder / "work"),
            "RUNNER_TEMP": str(folder / "temp"),
        }
        for key, name in files.items():
            (folder / name).touch()
            self.environment[key] = str(folder / name)

    def install(self, name, body=DECIDED):
        path = self.bin / name
        bash = shutil.which("bash")
        path.write_text(
            PROGRAM.format(bash=bash, records=self.records, body=body), encoding="utf-8"
        )
        path.chmod(0o755)
        return self

    def start(self, **variables):
        environment = {**self.environment, **variables}
        return subprocess.Popen(  # noqa: S603 - our own launcher
            [shutil.which("bash"), str(LAUNCHER)],
            env={key: value for key, value in environment.items() if value is not None},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    def run(self, **variables):
        with self.start(**variables) as process:
            said, _ = process.communicate(timeout=60)
        output = Path(self.environment["GITHUB_OUTPUT"])
        return Ran(code=process.returncode, said=said, records=self.records, output=output)


def error_of(ran):
    assert ran.said.count("\n") == 1
    assert ran.said.startswith("::error title=sdi-gate::")
    assert ran.output.read_text(encoding="utf-8") == "decision=error\ncandidates=0\n"
    return ran.said
