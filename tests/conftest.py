"""Settle what every test relies on: one thread, no network, repeatable examples."""

import ipaddress
import os
import socket

import pytest
import torch
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("nightly", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

torch.set_num_threads(1)


class NetworkRefusedError(RuntimeError):
    """Say that a test reached for the network; not an OSError, which clients would retry."""


def _refuse_remote(host):
    name = host.decode() if isinstance(host, bytes) else host
    if name in {None, "", "localhost"}:
        return
    try:
        loopback = ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        msg = f"tests have no network; one asked for {name}"
        raise NetworkRefusedError(msg)


@pytest.fixture(autouse=True, scope="session")
def _no_network():
    """Block every connection and look-up that is not to this machine."""
    patch = pytest.MonkeyPatch()

    def guarded(original):
        def call(self, address, *rest):
            if self.family in {socket.AF_INET, socket.AF_INET6}:
                _refuse_remote(address[0])
            return original(self, address, *rest)

        return call

    def guarded_sendto(self, data, *rest):
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            _refuse_remote(rest[-1][0])
        return sendto(self, data, *rest)

    def guarded_look_up(host, *rest, **options):
        _refuse_remote(host)
        return look_up(host, *rest, **options)

    look_up, sendto = socket.getaddrinfo, socket.socket.sendto
    for name in ("connect", "connect_ex"):
        patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
    patch.setattr(socket.socket, "sendto", guarded_sendto)
    patch.setattr(socket, "getaddrinfo", guarded_look_up)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """Keep profiles of bases out of the home folder, and one test's from another."""
    monkeypatch.setenv("SDI_GATE_CACHE", str(tmp_path / "profiles-of-bases"))


def pytest_addoption(parser):
    parser.addoption(
        "--update-goldens",
        action="store_true",
        help="write tests/goldens/, docs/schema/ and docs/families.md anew",
    )


@pytest.fixture
def assert_golden(request):
    """Compare a text with a file below the repository, or write it with --update-goldens."""

    def check(path, text):
        file = request.config.rootpath / path
        if request.config.getoption("--update-goldens"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert file.read_text(encoding="utf-8") == text

    return check
