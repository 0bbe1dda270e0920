"""One host of the laboratory: namespaces with a first process, a network link, libvirtd and virtlogd.

Everything of the host is a process below the first one of its PID namespace. So its power is cut by one
kill, nothing of it can outlive that, and its namespaces and mounts go with it. That first process ignores
the end of its children, so that the kernel reaps each guest at once, as libvirt needs it
(compute/hypervisor/libvirt/reaper.py says why).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

from portal.setup.lab.commands import PATH, LabError, link_exists, run

PORT = 16509
WAIT_SECONDS = 30.0
# Below the host's folder, and where the host sees it. Nothing of this machine's libvirt is seen there.
PLACES = {
    "etc": "/etc/libvirt",
    "run": "/run/libvirt",
    "lib": "/var/lib/libvirt",
    "cache": "/var/cache/libvirt",
    "log": "/var/log/libvirt",
}
STATE = ("images", "qemu", "boot", "dnsmasq", "network")
# What is copied of the machine's configuration: neither its guests, nor its networks, nor its pools.
NOT_COPIED = shutil.ignore_patterns("qemu", "storage", "secrets", "hooks", "libxl", "lxc")
# AppArmor and systemd know one guest of a name on a machine; here several hosts may have it.
CONFIGURATION = """
listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
auth_unix_rw = "none"
listen_addr = "{address}"
host_uuid = "{uuid}"
log_outputs = "3:file:{folder}/libvirtd.log"
"""
# Files stay their owner's. Of shared storage that is a local folder libvirt does not know that it is shared: the host
# that a guest has left would take the files away from the one where it is, unless both remember whose they were, for
# which they would have to agree, to the second, on when this machine was started.
QEMU_CONFIGURATION = '\nsecurity_driver = "none"\nuser = "root"\ngroup = "root"\ndynamic_ownership = 0\n'
# $1 folder, $2 name, $3 capabilities that all hosts share, $4 the shared storage or nothing, $5 where the host sees it,
# then pairs of folders. /proc is still the machine's when the first line is read, so the numbers are the machine's too.
PREPARE = """
set -e
read -r process < /proc/self/stat
echo "$process" > "$1/init.new"
mv "$1/init.new" "$1/init"
mount -t proc proc /proc
umount -R -l /sys
mount -t sysfs sysfs /sys
hostname "$2"
ip link set lo up
mount --bind "$1/../hosts" /etc/hosts
[ ! -d /run/dbus ] || mount -t tmpfs tmpfs /run/dbus
folder=$1 capabilities=$3 shared=$4 seen=$5
shift 5
while [ $# -gt 0 ]; do
    mkdir -p "$2"
    mount --bind "$folder/$1" "$2"
    shift 2
done
mount --bind "$capabilities" /var/cache/libvirt/qemu/capabilities
if [ "$shared" ]; then
    mkdir -p "$seen"
    mount --bind "$shared" "$seen"
fi
echo ready
exec env --ignore-signal=CHLD sleep infinity > /dev/null 2>&1
"""


class LabHost:
    """A host by its number, from 1 on. All of it can be found again from its folder by another process."""

    def __init__(self, folder: Path, number: int, bridge: str, address: str, prefix: int) -> None:
        self.folder = folder / str(number)
        self.number = number
        self.name = f"lab-{number}"
        self.bridge = bridge
        self.link = f"{bridge}-{number}"
        self.address = address
        self.prefix = prefix
        # It comes back with the same one after a power cut, as a machine does; its neighbours know it by that.
        self.mac = "02:4e:" + ":".join(f"{byte:02x}" for byte in IPv4Address(address).packed)
        self.uri = f"qemu+tcp://{address}/system"
        self.log = self.folder / "libvirtd.log"
        self._keeper: subprocess.Popen[str] | None = None

    # its power -------------------------------------------------------------------------------------
    def power_on(self, shared: Path | None, seen: str) -> None:
        """Start what does not run of it, with the shared storage seen at a path. It answers then."""
        if self.first_process() is None:
            self._make_files()
            self._make_namespaces(shared, seen)
        self._plug_in()
        if self.pid_of("virtlogd") is None:
            self.execute("virtlogd", "--daemon", "--pid-file", "/run/libvirt/virtlogd.pid")
        if self.pid_of("libvirtd") is None:
            self.start_libvirtd()
        self.signal_libvirtd(signal.SIGCONT)

    def power_off(self) -> None:
        """End all of its processes at once, as a power cut does. Nobody hears a goodbye; its disks stay."""
        self.cut()
        if (first := self.first_process()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(first, signal.SIGKILL)
        if self._keeper is not None:
            self._keeper.wait()
            self._keeper = None
        self._wait("its processes are gone", lambda: self.first_process() is None)
        if link_exists(self.link):
            with contextlib.suppress(LabError):  # it goes with its namespace, perhaps just now
                run("ip", "link", "delete", self.link)
        self._wait("its link is gone", lambda: not link_exists(self.link))
        shutil.rmtree(self.folder / "run", ignore_errors=True)

    def is_on(self) -> bool:
        """Whether it has power."""
        return self.first_process() is not None

    # its network -----------------------------------------------------------------------------------
    def cut(self) -> None:
        """Pull its cable out: nothing reaches it and it reaches nobody; what runs there runs on."""
        if link_exists(self.link):
            run("ip", "link", "set", self.link, "down")

    def mend(self) -> None:
        """Put the cable back. Raises LabError of a host that is off: power puts it back as well."""
        if not link_exists(self.link):
            raise LabError(f"{self.name} is off.")
        run("ip", "link", "set", self.link, "up")

    # its libvirtd ----------------------------------------------------------------------------------
    def start_libvirtd(self) -> None:
        """Start it, or start it again after a kill, and wait until it answers."""
        self.execute("libvirtd", "--listen", "--daemon", "--pid-file", "/run/libvirt/libvirtd.pid")
        self._wait(f"its libvirtd answers (see {self.log})", self.answers)

    def kill_libvirtd(self) -> None:
        """End it without warning. Its guests run on."""
        self.signal_libvirtd(signal.SIGKILL)
        self._wait("its libvirtd is gone", lambda: self.pid_of("libvirtd") is None)

    def signal_libvirtd(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP makes it a host that is there and does not answer, until SIGCONT."""
        if (pid := self.pid_of("libvirtd")) is None:
            raise LabError(f"The libvirtd of {self.name} does not run.")
        os.kill(pid, number)

    def kill_guest(self, server_id: str) -> None:
        """End a guest's QEMU without warning."""
        if (pid := self.pid_of_guest(server_id)) is None:
            raise LabError(f"No guest {server_id} runs on {self.name}.")
        os.kill(pid, signal.SIGKILL)

    def answers(self) -> bool:
        """Whether its libvirtd takes connections."""
        with contextlib.suppress(OSError), socket.create_connection((self.address, PORT), timeout=1):
            return True
        return False

    # its processes ---------------------------------------------------------------------------------
    def execute(self, *command: str) -> str:
        """Run a program on the host to its end and return what it wrote. Raises LabError."""
        return run(*self.entrance(), *command)

    def entrance(self) -> list[str]:
        """What stands before a command that is to run on the host."""
        first = self.first_process()
        if first is None:
            raise LabError(f"{self.name} is off.")
        return ["nsenter", "--target", str(first), "--net", "--mount", "--uts", "--ipc", "--pid", "--"]

    def seen_from_here(self, path: str) -> Path:
        """The file of libvirt's that the host has at this path, but for those of the shared storage."""
        for name, place in PLACES.items():
            if path.startswith(f"{place}/"):
                return self.folder / name / path[len(place) + 1 :]
        raise LabError(f"{path} is this machine's own on every host.")

    def first_process(self) -> int | None:
        """The process, as this machine counts, that all others of the host are below. None: it is off."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid, begun = _process((self.folder / "init").read_text())
            now = Path(f"/proc/{pid}/stat").read_text()
            if _process(now) == (pid, begun) and now.rpartition(")")[2].split()[0] not in "ZX":
                return pid
        return None

    def pid_of(self, program: str) -> int | None:
        """The process, as this machine counts, of ``libvirtd`` or ``virtlogd``. None: it does not run."""
        pid = self._pid_in(self.folder / "run" / f"{program}.pid")
        with contextlib.suppress(OSError):
            if pid is not None and Path(f"/proc/{pid}/comm").read_text().strip() == program:
                return pid
        return None

    def pid_of_guest(self, server_id: str) -> int | None:
        """The process, as this machine counts, of a guest's QEMU. None: it does not run here."""
        for path in (self.folder / "run" / "qemu").glob("*.pid"):
            pid = self._pid_in(path)
            with contextlib.suppress(OSError):
                if pid is not None and server_id.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        return None

    def processes(self) -> dict[int, int]:
        """All of its processes: by their number on the host, the one on this machine."""
        first = self.first_process()
        if first is None:
            return {}
        namespace = os.readlink(f"/proc/{first}/ns/pid")
        found = {}
        for one in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, StopIteration):  # it may end while we look
                if os.readlink(one / "ns" / "pid") == namespace:
                    line = next(line for line in (one / "status").read_text().splitlines() if line[:6] == "NSpid:")
                    found[int(line.split()[-1])] = int(one.name)
        return found

    def _pid_in(self, path: Path) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            return self.processes().get(int(path.read_text()))
        return None

    # how it is made --------------------------------------------------------------------------------
    def _make_files(self) -> None:
        """What it finds on its disks. What is there stays, but for what a power cut would take."""
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        for name in ("run", "log", "cache/qemu/capabilities", *(f"lib/{one}" for one in STATE)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        if (self.folder / "etc").exists():
            return
        new = self.folder / "etc.new"
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(PLACES["etc"], new, ignore=NOT_COPIED)
        with (new / "libvirtd.conf").open("a") as settings:
            settings.write(CONFIGURATION.format(address=self.address, uuid=uuid.uuid4(), folder=self.folder))
        with (new / "qemu.conf").open("a") as settings:
            settings.write(QEMU_CONFIGURATION)
        new.rename(self.folder / "etc")

    def _make_namespaces(self, shared: Path | None, seen: str) -> None:
        """Start its first process, and wait until it has everything in place."""
        places = [word for pair in PLACES.items() for word in pair]
        capabilities = self.folder.parent / "capabilities"
        script = ["sh", "-c", PREPARE, "sh", str(self.folder), self.name, str(capabilities), str(shared or ""), seen]
        unshare = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--propagation", "private"]
        with (self.folder / "log" / "start.log").open("w") as complaints:
            self._keeper = subprocess.Popen(
                [*unshare, *script, *places],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env={**os.environ, "PATH": PATH},
                start_new_session=True,
                text=True,
            )
        with self._keeper.stdout as said:  # type: ignore[union-attr]  # it is a pipe
            if said.readline() != "ready\n":
                self._keeper.wait()
                raise LabError(f"{self.name} could not be made: {Path(complaints.name).read_text().strip()}")

    def _plug_in(self) -> None:
        """Give it a network link to the bridge, and its address there."""
        if not link_exists(self.link):
            peer = ["peer", "name", "eth0", "address", self.mac, "netns", str(self.first_process())]
            run("ip", "link", "add", self.link, "type", "veth", *peer)
        self.execute("ip", "address", "replace", f"{self.address}/{self.prefix}", "dev", "eth0")
        self.execute("ip", "link", "set", "eth0", "up")
        run("ip", "link", "set", self.link, "master", self.bridge, "up")

    def _wait(self, what: str, look: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not look():
            if time.monotonic() > deadline:
                raise LabError(f"{self.name}: never came to be in {WAIT_SECONDS:.0f} s: {what}")
            time.sleep(0.02)


def _process(stat: str) -> tuple[int, int]:
    """Number and time of birth, which tell a process from a later one of that number (proc_pid_stat(5))."""
    return int(stat.split(maxsplit=1)[0]), int(stat.rpartition(")")[2].split()[19])
