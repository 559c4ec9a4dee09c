"""Build the image without Docker, and run it as GitHub's runner does."""

import ast
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

PROJECT = Path(__file__).parents[2]
# Not committed, and gone with `make clean`.
CACHE = PROJECT / ".venv" / "image"
TOOLS = ("buildah", "catatonit", "debootstrap", "podman", "runc")
BASE = "localhost/sdi-gate-test-base"
IMAGE = "localhost/sdi-gate-test"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PACKAGES = "ca-certificates,python3-minimal,python3-pip,python3-venv"
# runc and limits of our own: elsewhere a container inside of a container is refused its limits.
# The host's network, as the GitHub of the tests is on loopback.
SETTINGS = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
netns = "host"
[engine]
runtime = "runc"
"""
# A store of our own, so that nobody's images are touched and ours all go.
STORAGE = """[storage]
driver = "overlay"
graphroot = "{folder}/images"
runroot = "{folder}/running"
"""


def why_not():
    """Say why the image cannot be built here, or return None."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        return "the image is built by root, on Linux"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"absent: {', '.join(absent)}; make image-tools installs them" if absent else None


def ran(*command, timeout_s=600, check=True, **options):
    """Run a program to its end; its output is text."""
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        [shutil.which(str(command[0])), *map(str, command[1:])],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=timeout_s,
        **options,
    )
    assert done.returncode == 0 or not check, done.stdout[-6000:]
    return done


def build_base(folder):
    """Make a base image of the distribution's own packages, as no registry is asked here."""
    archive = CACHE / "base.tar"
    if not archive.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        root = folder / "rootfs"
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root]
        ran(*command, *_mirror())
        part = archive.with_suffix(".part")
        ran("tar", "-C", root, "-cf", part, ".")
        shutil.rmtree(root)
        part.replace(archive)
    ran("podman", "import", "--quiet", archive, BASE)


def build_image(folder):
    """Build the Dockerfile on that base, with the pip that this machine is set up with."""
    options, settings = _host_pip()
    (folder / "pip.conf").write_text(settings, encoding="utf-8")
    options += _mounted(folder / "pip.conf", "/etc/pip.conf")
    if CERTIFICATES.is_file():
        options += _mounted(CERTIFICATES)
    ran(
        *("buildah", "bud", "--isolation", "chroot", "--layers", "--network", "host", *options),
        *("--build-arg", f"BASE={BASE}", "--tag", IMAGE, PROJECT),
        timeout_s=1200,
    )


def _mounted(source, target=None):
    return ["--volume", f"{source}:{target or source}:ro"]


def _mirror():
    # The one that apt is set up with, if it is one of the same distribution.
    listed = ran("apt-get", "indextargets", "--format", "$(REPO_URI)", check=False).stdout.split()
    return [uri for uri in listed if re.fullmatch(r"https?://.*/debian/?", uri)][:1]


def _host_pip():
    found = ran(sys.executable, "-m", "pip", "config", "list").stdout
    values, options = {}, []
    for line in found.splitlines():
        name, is_setting, value = line.partition("=")
        if is_setting:
            values[name.rpartition(".")[2]] = ast.literal_eval(value)
    for word in " ".join(values.values()).split():
        parts = urlsplit(word)
        # An index on disk has its files beside it.
        path = Path(parts.path).parent if parts.scheme == "file" else Path(word)
        if path.is_absolute() and path.is_dir():
            options += _mounted(path)
    lines = [f"{name} = {value}" for name, value in values.items()]
    return options, "\n".join(["[global]", *lines, ""])
