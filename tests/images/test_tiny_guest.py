"""The tiny guest image: built for real, and booted in QEMU."""

import gzip
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compute.images.tiny import build as tiny
from compute.images.tiny import packages
from compute.images.tiny.errors import BuildError
from compute.images.tiny.modules import ModuleTree, without_signature
from tests.images.tiny_machine import TinyMachine, config_drive_files, iso_drive, vfat_drive

HOSTNAME = "web-1"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI someone@somewhere"
SCRIPT = b"#!/bin/sh\necho user data on $(hostname)\necho ran >> /mnt/disk/ran\n"
FACTS = {
    "uuid": str(uuid.UUID(int=7)),
    "name": 'a "quoted" {name}, with \\ and é',
    "hostname": f"{HOSTNAME}.example.org",
    "public_keys": {"my key": KEY + "\n"},
    "keys": [{"name": "my key", "type": "ssh", "data": KEY}],
    "meta": {"uuid": "a trap", "hostname": "another"},
}
MakeDrive = Callable[[Path, Path], Path]


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the image is built; kept from run to run where there is a data folder."""
    kept = os.environ.get("NACELLE_DATA_DIR")
    folder = Path(kept) / "tiny-guest-test" if kept else tmp_path_factory.mktemp("tiny")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


@pytest.fixture(scope="session")
def image(work: Path) -> Path:
    """The image, built from the present sources."""
    output = work / "tiny.qcow2"
    tiny.build(output, work / "build")
    return output


@pytest.fixture
def disk(image: Path, tmp_path: Path) -> Path:
    """A copy of the image for one test to write to."""
    return Path(shutil.copy(image, tmp_path / "disk.qcow2"))


@pytest.fixture(params=[(vfat_drive, SCRIPT), (iso_drive, gzip.compress(SCRIPT))], ids=["vfat", "iso"])
def drive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A config drive in each of its formats, with plain and with packed user data."""
    make, user_data = request.param
    files = config_drive_files(tmp_path / "files", user_data, **FACTS)
    drive: Path = make(files, tmp_path / "config.img")
    return drive


@pytest.fixture
def machine(disk: Path, tmp_path: Path) -> Iterator[TinyMachine]:
    """A running machine without a config drive."""
    with TinyMachine(tmp_path, disk) as running:
        yield running


@pytest.mark.real
def test_the_image_is_small(image: Path) -> None:
    assert image.stat().st_size <= 20 * 1024 * 1024


@pytest.mark.real
def test_a_second_build_makes_the_same_image(image: Path, work: Path) -> None:
    again = work / "again.qcow2"
    tiny.build(again, work / "build")
    assert again.read_bytes() == image.read_bytes()


@pytest.mark.real
def test_prompt_on_the_serial_port_and_on_the_screen(machine: TinyMachine) -> None:
    machine.wait_for("Nacelle tiny guest")
    machine.wait_for("hello login: ")
    machine.wait_for("eth0: 10.0.2.15/24")
    machine.log_in()
    screen = machine.run("while ! grep -q login: /dev/vcs1; do sleep 0.1; done; cat /dev/vcs1")
    assert "Nacelle tiny guest" in screen
    assert "eth0: 10.0.2.15/24" in screen
    assert "load average" in machine.run("uptime")


@pytest.mark.real
def test_the_power_button_switches_it_off(machine: TinyMachine) -> None:
    machine.wait_for("eth0: ")
    machine.press_power_button()
    assert machine.wait_until_off() == 0
    assert "Power down" in machine.output


@pytest.mark.real
def test_config_drive_gives_name_and_keys_and_user_data_runs_once(disk: Path, drive: Path, tmp_path: Path) -> None:
    with TinyMachine(tmp_path, disk, "-drive", f"file={drive},if=virtio,format=raw") as machine:
        machine.wait_for(f"{HOSTNAME} login: ")
        machine.wait_for(f"user data on {HOSTNAME}")
        machine.wait_for("user data: done")
        machine.log_in()
        assert machine.run("cat /root/.ssh/authorized_keys").split("\n")[0] == KEY
        machine.type("reboot\n")
        machine.wait_for(f"{HOSTNAME} login: ")
        machine.wait_for("eth0: ")
        machine.log_in()
        at_work = "pidof services.sh user_data.sh >/dev/null"
        runs = machine.run(f"while {at_work}; do sleep 0.1; done; cat /mnt/disk/ran")
        assert runs.split("\n")[:-1] == ["ran"]


@pytest.mark.real
def test_config_drive_on_a_cd_and_user_data_that_is_no_script(disk: Path, tmp_path: Path) -> None:
    files = config_drive_files(tmp_path / "files", b"#cloud-config\n{}\n", **FACTS)
    cd = iso_drive(files, tmp_path / "config.iso")
    with TinyMachine(tmp_path, disk, "-cdrom", str(cd)) as machine:
        machine.wait_for(f"{HOSTNAME} login: ")
        machine.wait_for("user data: not a script")


@pytest.mark.real
def test_the_password_of_the_config_drive_is_roots_from_the_first_boot_on(disk: Path, tmp_path: Path) -> None:
    password = "a b\\n'\"$(x)é"
    files = config_drive_files(tmp_path / "files", b"", **FACTS, admin_pass=password)
    drive = iso_drive(files, tmp_path / "config.img")
    with TinyMachine(tmp_path, disk, "-drive", f"file={drive},if=virtio,format=raw") as machine:
        machine.wait_for(f"{HOSTNAME} login: ")
        machine.log_in(password)
        machine.run("passwd -d root; sync")  # what was done since counts until the next boot
        machine.type("reboot\n")
        machine.wait_for(f"{HOSTNAME} login: ")
        machine.log_in(password)


@pytest.mark.real
def test_another_machine_finds_the_kept_files_on_its_second_disk(image: Path, disk: Path, tmp_path: Path) -> None:
    with TinyMachine(tmp_path, disk) as machine:
        machine.wait_for("login: ")
        machine.log_in()
        machine.run("echo kept > /mnt/disk/file")
        machine.type("poweroff\n")
        machine.wait_until_off()
    rescue = shutil.copy(image, tmp_path / "rescue.qcow2")
    second = ("-drive", f"file={disk},if=virtio,format=qcow2")
    with TinyMachine(tmp_path, Path(rescue), *second) as machine:
        machine.wait_for("login: ")
        machine.log_in()
        assert "kept" in machine.run("mount /dev/vdb2 /tmp && cat /tmp/file")
        assert "No such file" in machine.run("cat /mnt/disk/file")


@pytest.mark.real
def test_metadata_are_read_however_the_json_is_written(image: Path, work: Path) -> None:
    busybox = next((work / "build/roots").glob("*/bin/busybox"))
    program = tiny.GUEST_FILES / "etc/json.awk"
    value: dict[str, object] = {"a": {"b": [1, {"c": 'x"y\\z, {é😀}\n'}, True]}, "e": {}, "f": [], "g": None}
    expected = ["a/b/0\t1", 'a/b/1/c\tx"y\\z, {é😀}\\n', "a/b/2\ttrue", "g\tnull"]
    for spelling in (json.dumps(value), json.dumps(value, indent=2, ensure_ascii=False)):
        command = [str(busybox), "awk", "-f", str(program)]
        done = subprocess.run(command, input=spelling.encode(), capture_output=True, check=True)
        assert done.stdout.decode().splitlines() == expected


def test_missing_tools_are_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "search_path", lambda: "/nowhere")
    with pytest.raises(BuildError, match=r"install the Debian packages .*mtools.*syslinux"):
        tiny.check_tools()


def test_every_tool_belongs_to_a_required_package() -> None:
    assert set(tiny.REQUIRED_PROGRAMS.values()) <= set(tiny.REQUIRED_PACKAGES)


def test_modules_come_behind_what_they_need(tmp_path: Path) -> None:
    (tmp_path / "modules.builtin").write_text("kernel/fs/built-in.ko\n")
    for name, needs in (("top", "middle-part,base"), ("middle-part", "base"), ("base", "")):
        (tmp_path / f"{name}.ko").write_bytes(b"\0license=GPL\0depends=" + needs.encode() + b"\0")
    tree = ModuleTree(tmp_path)
    assert tree.in_load_order(["built_in", "top"]) == ["base", "middle_part", "top"]
    with pytest.raises(BuildError, match="absent"):
        tree.in_load_order(["absent"])


def test_a_module_loses_its_signature_only() -> None:
    signature = b"s" * 300
    tail = signature + b"\0" * 8 + len(signature).to_bytes(4, "big")
    assert without_signature(b"code" + tail + b"~Module signature appended~\n") == b"code"
    assert without_signature(b"code") == b"code"
