"""A QEMU machine for the tests of the tiny guest: its serial port, its buttons, its config drive."""

import json
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Self

from compute.hypervisor import iso9660

PATIENCE = 120.0
POLL = 0.05


class TinyMachine:
    """One emulated machine with the tiny guest's disk; use it in a `with` statement."""

    def __init__(self, folder: Path, disk: Path, *extra: str) -> None:
        """Remember what to start.

        Args:
            folder: Where the control socket is made.
            disk: The qcow2 disk, which the guest writes to.
            extra: More arguments for QEMU.
        """
        self.control = folder / "qmp"
        self.command = [
            *("qemu-system-x86_64", "-accel", "tcg", "-cpu", "qemu64", "-m", "128"),
            *("-nodefaults", "-vga", "std", "-display", "none", "-chardev", "stdio,id=port,signal=off"),
            *("-serial", "chardev:port", "-qmp", f"unix:{self.control},server=on,wait=off"),
            *("-drive", f"file={disk},if=virtio,format=qcow2"),
            *("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net", *extra),
        ]
        self.output = ""
        self.read_up_to = 0

    def __enter__(self) -> Self:
        """Start the machine."""
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        threading.Thread(target=self._collect, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """End this machine's process, if it still runs."""
        self.process.kill()
        self.process.wait()

    def wait_for(self, text: str) -> str:
        """Wait until the serial port has shown a text since the last wait; return all since then.

        Args:
            text: What to wait for.

        Raises:
            AssertionError: It did not come.
        """
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            place = self.output.find(text, self.read_up_to)
            if place >= 0:
                before, self.read_up_to = self.read_up_to, place + len(text)
                return self.output[before : self.read_up_to]
            time.sleep(POLL)
        raise AssertionError(f"{text!r} never came; the serial port showed:\n{self.output[-3000:]}")

    def type(self, text: str) -> None:
        """Type into the serial port."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())

    def log_in(self, password: str = "nacelle") -> None:
        """Answer the login prompt that was waited for last."""
        self.type("root\n")
        self.wait_for("Password: ")
        self.type(f"{password}\n")
        self.wait_for("# ")

    def run(self, command: str) -> str:
        """Run a command in the shell on the serial port and return what it wrote.

        Args:
            command: One line for the shell.
        """
        # The quotes keep the echo of the typed line from looking like the end of the output.
        self.type(f"echo BEG''IN; {command}; echo FIN''ISHED\n")
        self.wait_for("BEGIN\r\n")
        return self.wait_for("FINISHED").removesuffix("FINISHED").replace("\r", "")

    def press_power_button(self) -> None:
        """Press the ACPI power button."""
        self.execute("system_powerdown")

    def execute(self, command: str) -> Any:
        """Run a command of the machine's monitor and return its answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(self.control))
            lines = connection.makefile("rw")
            lines.readline()
            for each in ("qmp_capabilities", command):
                lines.write(json.dumps({"execute": each}) + "\n")
                lines.flush()
                while "return" not in (answer := json.loads(lines.readline())):
                    assert "error" not in answer, answer
        return answer["return"]

    def wait_until_off(self) -> int:
        """Wait until the machine has switched itself off; return QEMU's exit status."""
        return self.process.wait(PATIENCE)

    def _collect(self) -> None:
        assert self.process.stdout is not None
        while chunk := self.process.stdout.read(4096):
            self.output += chunk.decode(errors="replace")


def config_drive_files(folder: Path, user_data: bytes, **facts: Any) -> Path:
    """Lay out the files of a config drive.

    Args:
        folder: Where to; it is made.
        user_data: The user data.
        facts: What the meta data say.

    Returns:
        The folder that becomes the drive's root folder.
    """
    latest = folder / "openstack/latest"
    latest.mkdir(parents=True)
    (latest / "meta_data.json").write_text(json.dumps(facts))
    (latest / "user_data").write_bytes(user_data)
    return folder


def vfat_drive(files: Path, target: Path) -> Path:
    """Make a config drive with a FAT file system, as Nova does with config_drive_format=vfat."""
    with target.open("wb") as empty:
        empty.truncate(64 * 1024 * 1024)
    subprocess.run(["/usr/sbin/mkfs.vfat", "-n", "config-2", target], check=True)
    subprocess.run(["mcopy", "-s", "-i", target, files / "openstack", "::"], check=True)
    return target


def iso_drive(files: Path, target: Path) -> Path:
    """Make a config drive with a CD's file system, as Nova does by default."""
    contents = {str(path.relative_to(files)): path.read_bytes() for path in files.rglob("*") if path.is_file()}
    target.write_bytes(iso9660.image("config-2", contents))
    return target
