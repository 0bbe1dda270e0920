"""Starting libvirt's daemons by hand, with every way to fail said in a sentence."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from compute.hypervisor.interface import Failed
from compute.hypervisor.libvirt import daemons

# Plays a daemon: its socket answers from the start, and it writes its pid.
PROGRAM = """#!/bin/sh
echo 4711 > "$3"
ln -s {listening} {sockets}/virtlogd-sock
ln -s {listening} {sockets}/libvirt-sock
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine without libvirt, without /dev/kvm."""
    folder = Path(tempfile.mkdtemp())  # a socket's path may have 107 characters; pytest's folders are deep
    (folder / "sockets").mkdir()
    (folder / "programs").mkdir()
    monkeypatch.setattr(daemons, "SOCKETS", folder / "sockets")
    monkeypatch.setattr(daemons, "KVM", folder / "kvm")
    monkeypatch.setattr(shutil, "which", lambda name, path: str(folder / "programs" / name))
    yield folder
    shutil.rmtree(folder)


def install(machine: Path, script: str) -> None:
    for name in ("virtlogd", "libvirtd"):
        program = machine / "programs" / name
        program.write_text(script)
        program.chmod(0o755)


def test_nothing_is_started_where_both_answer(machine: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        one.bind(str(machine / "sockets" / "virtlogd-sock"))
        two.bind(str(machine / "sockets" / "virtqemud-sock"))
        one.listen()
        two.listen()
        assert daemons.ensure_running(tmp_path) == []


def test_what_is_missing_is_started(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(machine / "listening"))
        listening.listen()
        script = PROGRAM.format(listening=machine / "listening", sockets=machine / "sockets")
        install(machine, script.replace("ln -s", "ln -sf"))
        assert daemons.ensure_running(tmp_path / "new") == [4711]
    assert (tmp_path / "new" / "virtlogd.pid").read_text() == "4711\n"


def test_a_daemon_that_refuses_says_why(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    install(machine, "#!/bin/sh\necho no such port >&2\nexit 1\n")
    with pytest.raises(Failed, match="virtlogd did not start: no such port"):
        daemons.ensure_running(tmp_path)


def test_a_daemon_that_stays_silent_is_given_up(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(daemons, "START_SECONDS", 0.1)
    install(machine, "#!/bin/sh\nexit 0\n")
    with pytest.raises(Failed, match="does not answer"):
        daemons.ensure_running(tmp_path)


def test_without_rights(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Failed, match="only root"):
        daemons.ensure_running(tmp_path)


def test_without_libvirt(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    with pytest.raises(Failed, match="apt install libvirt-daemon-system"):
        daemons.ensure_running(tmp_path)


def test_kvm_gets_its_group_only_where_nobody_gave_it_one(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed: list[int] = []
    monkeypatch.setattr(os, "chown", lambda path, user, group: None)
    monkeypatch.setattr(os, "chmod", lambda path, mode: changed.append(mode))
    kvm = machine / "kvm"
    daemons.give_kvm_its_group()
    kvm.touch(mode=0o660)
    daemons.give_kvm_its_group()
    assert changed == []
    kvm.unlink()
    kvm.touch(mode=0o600)
    daemons.give_kvm_its_group()
    expected = [0o660] if kvm.stat().st_gid == 0 else []
    assert changed == expected
