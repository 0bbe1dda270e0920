"""What a fake host is for whoever looks after it. It is what its URI says."""

from __future__ import annotations

import time

from compute.hypervisor.fake.faults import question
from compute.hypervisor.fake.host import FakeHost
from compute.hypervisor.inspection import CpuComparison, HostDetails, Machine, NetworkSeen, PoolSeen
from compute.hypervisor.interface import Failed

GIB = 1024**3
CPU = "fake-cpu"


class FakeInspection(FakeHost):
    """The URI says of it, besides what ``FakeHost`` reads: ``clock`` (seconds ahead), ``cpu`` (features, with
    commas), ``free`` (GiB in the pool), ``pool`` (its kind), ``lan`` (a range of addresses on it)."""

    @question
    def inspect(self) -> HostDetails:
        """See the interface."""
        began, options = time.monotonic(), self._state.options
        size, free = self._size("disk", 1_000), self._size("free", 1_000)
        pool = PoolSeen("fake", options.get("pool", "dir"), "/fake", True, size * GIB, min(free, size) * GIB)
        lan = [NetworkSeen("lan", active=True, ours=False, ranges=(options["lan"],))] if "lan" in options else []
        with self._state.look() as state:
            ours = [NetworkSeen(f"nacelle-{uuid}", active=True, ours=True) for uuid in state["networks"]]
        return HostDetails(
            machine=Machine(vendor="Nacelle", product="Fake host", serial=self._state.name),
            own_pool=pool.name,
            own_path=pool.path,
            pools=(pool,),
            networks=(*lan, *ours),
            machine_types=("pc", "q35"),
            cpu=f"{CPU} {options.get('cpu', '')}".strip(),
            clock_ahead=float(options.get("clock", 0)),
            clock_within=time.monotonic() - began,
        )

    @question
    def compare_cpu(self, cpu: str) -> CpuComparison:
        """See the interface."""
        theirs, ours = _features(cpu), _features(f"{CPU} {self._state.options.get('cpu', '')}")
        here, there = sorted(theirs - ours), sorted(ours - theirs)
        return CpuComparison(not here, not there, tuple(here), tuple(there))


def _features(cpu: str) -> set[str]:
    name, _, features = cpu.strip().partition(" ")
    if name != CPU:
        raise Failed("That is no CPU.")
    return set(filter(None, features.split(",")))
