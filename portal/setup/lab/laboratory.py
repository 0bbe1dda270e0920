"""The laboratory: hosts on one bridge, some of them with the same storage. ``up`` and ``down`` may be told twice."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Network
from pathlib import Path

from portal.setup.lab.commands import LabError, check_machine, link_exists, run
from portal.setup.lab.host import PORT, LabHost
from portal.setup.private_range import ROUTES, used_ranges

# Kept for measuring equipment (RFC 2544), so no network of a user's lies there, and hardly one of this machine's.
RANGES = IPv4Network("198.18.0.0/15")
MOST_HOSTS = 99
FIRST_HOST = 10  # host 1 has the address that ends in 11
REACH_SECONDS = 5
MACHINE = Path("/run")  # whose lock is for all laboratories of this machine
CAPABILITIES = Path("/var/cache/libvirt/qemu/capabilities")


@dataclass(frozen=True)
class Plan:
    """What a laboratory is, as its folder tells."""

    network: str
    hosts: int
    shared: Sequence[int]
    shared_path: str


class Laboratory:
    """The laboratory of a folder. There may be one of another on the same machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        # A link's name has 15 letters at most, and a host's is the bridge's with its number.
        self.bridge = f"lab-{hashlib.sha256(bytes(self.folder)).hexdigest()[:6]}"
        self._file = self.folder / "lab.json"
        self._hosts: dict[int, LabHost] = {}

    # what there is ---------------------------------------------------------------------------------
    @property
    def plan(self) -> Plan | None:
        """What was asked for last. None: there is no laboratory."""
        try:
            return Plan(**json.loads(self._file.read_text()))
        except FileNotFoundError:
            return None

    @property
    def hosts(self) -> list[LabHost]:
        """Its hosts, whether on or off."""
        plan = self.plan
        return [self.host(number) for number in range(1, plan.hosts + 1)] if plan else []

    def host(self, number: int) -> LabHost:
        """A host by its number. Raises LabError when there is none."""
        plan = self.plan
        if plan is None:
            raise LabError("There is no laboratory. `make lab N=3` makes one.")
        if not 1 <= number <= plan.hosts:
            raise LabError(f"The laboratory has the hosts 1 to {plan.hosts}, and no {number}.")
        if number not in self._hosts:
            network = IPv4Network(plan.network)
            address = str(network[FIRST_HOST + number])
            self._hosts[number] = LabHost(self.folder, number, self.bridge, address, network.prefixlen)
        return self._hosts[number]

    @property
    def network(self) -> str:
        """The addresses of its hosts, such as ``198.18.0.0/24``; empty without a laboratory."""
        return self.plan.network if self.plan else ""

    # its life --------------------------------------------------------------------------------------
    def up(self, hosts: int, shared: Collection[int] = (), shared_path: str = "") -> None:
        """So many hosts run and answer. Those numbered in ``shared`` see one folder at ``shared_path``.

        Raises LabError with what is missing, or when a laboratory with other storage runs.
        """
        check_machine()
        with self._alone():
            with _locked(MACHINE, fcntl.LOCK_EX):  # until it is seen that the range is taken
                plan = self._settle(hosts, sorted(shared), shared_path)
                self._make_bridge(plan)
            for one in self.hosts:
                self._power_on(one)
            self._check_links()

    def power_on(self, number: int) -> None:
        """Give a host its power back."""
        check_machine()
        self._power_on(self.host(number))

    def power_off(self) -> None:
        """Cut the power of all hosts."""
        check_machine()
        with self._alone():
            for one in self.hosts:
                one.power_off()

    def down(self) -> None:
        """Nothing is left: no process, namespace, link, address, mount or file. Guests and their disks go too."""
        if self.plan is None:
            return
        self.power_off()
        with self._alone():
            if link_exists(self.bridge):
                run("ip", "link", "delete", self.bridge)
            shutil.rmtree(self.folder)

    # how -------------------------------------------------------------------------------------------
    def _settle(self, hosts: int, shared: list[int], shared_path: str) -> Plan:
        """Write down what there shall be before any of it is there, so that ``down`` finds it all."""
        old = self.plan
        if not 1 <= hosts <= MOST_HOSTS:
            raise LabError(f"A laboratory has 1 to {MOST_HOSTS} hosts, not {hosts}.")
        if wrong := [number for number in shared if not 1 <= number <= hosts]:
            raise LabError(f"Storage can be shared by the hosts 1 to {hosts}, not by {wrong[0]}.")
        if old is None:
            plan = Plan(str(self._free_network()), hosts, shared, shared_path)
        elif (sorted(old.shared), old.shared_path) != (shared, shared_path):
            raise LabError("The laboratory that runs shares its storage otherwise. First `make lab-down`.")
        else:
            plan = Plan(old.network, max(hosts, old.hosts), shared, shared_path)
        self._write(plan)
        return plan

    def _write(self, plan: Plan) -> None:
        addresses = IPv4Network(plan.network)
        names = [f"{addresses[FIRST_HOST + number]} lab-{number}" for number in range(1, plan.hosts + 1)]
        # The file stays the same one: the hosts that run see it at /etc/hosts.
        (self.folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *names, ""]))
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(asdict(plan), indent=1))
        new.rename(self._file)
        if not (self.folder / "capabilities").exists():
            # What libvirt found out about this machine's QEMU takes it seconds to find out again.
            with contextlib.suppress(FileNotFoundError):
                shutil.copytree(CAPABILITIES, self.folder / "capabilities")
            (self.folder / "capabilities").mkdir(exist_ok=True)
        (self.folder / "shared").mkdir(mode=0o711, exist_ok=True)

    def _free_network(self) -> IPv4Network:
        used = used_ranges(ROUTES)
        for candidate in RANGES.subnets(new_prefix=24):
            if not any(candidate.overlaps(one) for one in used):
                return candidate
        raise LabError(f"This machine has routes to all of {RANGES}; the laboratory needs 256 addresses of it.")

    def _make_bridge(self, plan: Plan) -> None:
        network = IPv4Network(plan.network)
        if not link_exists(self.bridge):
            run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "address", "replace", f"{network[1]}/{network.prefixlen}", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")

    def _power_on(self, host: LabHost) -> None:
        plan = self.plan
        assert plan is not None
        shared = self.folder / "shared" if host.number in plan.shared else None
        host.power_on(shared, plan.shared_path)

    def _check_links(self) -> None:
        """Raises LabError when hosts do not reach each other, as when this machine's firewall is in their way."""
        first, *others = self.hosts
        for other in others:
            program = f"import socket; socket.create_connection(({other.address!r}, {PORT}), {REACH_SECONDS})"
            try:
                first.execute(sys.executable, "-I", "-c", program)
            except LabError as error:
                raise LabError(
                    f"{first.name} does not reach {other.name}, though this machine reaches both. Most likely its "
                    "firewall drops what crosses bridges: "
                    f"iptables -I FORWARD -i {self.bridge} -o {self.bridge} -j ACCEPT"
                ) from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One at a time. Raises LabError while another is at it."""
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            with _locked(self.folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
                yield
        except BlockingIOError as error:
            raise LabError("Another process is making or removing this laboratory at this moment.") from error


@contextlib.contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """Hold the lock of a folder, which leaves nothing behind. Raises BlockingIOError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)
