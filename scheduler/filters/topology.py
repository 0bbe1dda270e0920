"""NUMA cells, CPU pinning, large pages and PCI devices.

A host that cannot give a guest what its flavor asks for says so, and is left out. The words that a
driver must say in ``HostFacts.capabilities`` before such a guest may land there are below.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.facts import NumaCell
from scheduler.filters.base import Filter
from scheduler.hoststate import HostView
from scheduler.options import BadOption, Option
from scheduler.request import Request
from scheduler.scene import Scene

NUMA, PINNING, LARGE_PAGES, PCI = "numa", "cpu-pinning", "large-pages", "pci-passthrough"
MOST_CELLS = 16
PCI_ALIAS = "pci_passthrough:alias"


@dataclass(frozen=True)
class GuestCell:
    """One NUMA cell of a guest."""

    vcpus: int
    memory_mb: int


@dataclass(frozen=True)
class Topology:
    """What a flavor, or else its image, asks for. ``wrong``: the sentence about what makes no sense."""

    cells: tuple[GuestCell, ...] = ()
    needs: tuple[tuple[str, str], ...] = ()  # (capability, the words for it)
    wrong: str = ""

    @classmethod
    def of(cls, request: Request) -> Topology:
        """By Nova's extra specs ``hw:numa_nodes``, ``hw:numa_cpus.0`` and so on."""
        needs = []
        if _said(request, "cpu_policy") in ("dedicated", "mixed"):
            needs.append((PINNING, "dedicated CPUs"))
        if _said(request, "mem_page_size") not in ("", "small", "any"):
            needs.append((LARGE_PAGES, "large memory pages"))
        count = _said(request, "numa_nodes")
        if not count:
            return cls(needs=tuple(needs))
        try:
            cells = tuple(_cells(request, int(count)))
        except ValueError as error:
            return cls(wrong=f"hw:numa_nodes and its companions make no sense: {error}")
        return cls(cells, ((NUMA, "NUMA cells"), *needs))


def _said(request: Request, name: str) -> str:
    return str(request.extra_specs.get(f"hw:{name}") or request.image_properties.get(f"hw_{name}") or "")


def _cells(request: Request, count: int) -> list[GuestCell]:
    if not 1 <= count <= MOST_CELLS:
        raise ValueError(f"between 1 and {MOST_CELLS} cells")
    vcpus = [_said(request, f"numa_cpus.{cell}") for cell in range(count)]
    memory = [_said(request, f"numa_mem.{cell}") for cell in range(count)]
    if any(vcpus) or any(memory):
        if not all(vcpus) or not all(memory):
            raise ValueError("hw:numa_cpus and hw:numa_mem are given for every cell or for none")
        cells = [GuestCell(_listed(cpus), int(size)) for cpus, size in zip(vcpus, memory, strict=True)]
        if sum(cell.vcpus for cell in cells) != request.vcpus:
            raise ValueError("the cells' CPUs are not the flavor's")
        if sum(cell.memory_mb for cell in cells) != request.memory_mb:
            raise ValueError("the cells' memory is not the flavor's")
        return cells
    if request.vcpus % count or request.memory_mb % count:
        raise ValueError(f"{request.vcpus} vCPUs and {request.memory_mb} MB do not divide by {count}")
    return [GuestCell(request.vcpus // count, request.memory_mb // count)] * count


def _listed(text: str) -> int:
    """How many CPUs a list such as ``0-2,^1`` names."""
    found: set[int] = set()
    for entry in text.split(","):
        first, dash, last = entry.strip().removeprefix("^").partition("-")
        low, high = int(first), int(last if dash else first)
        if not 0 <= low <= high < 1024:
            raise ValueError(f"{text} is no list of CPUs")
        named = set(range(low, high + 1))
        found = found - named if entry.strip().startswith("^") else found | named
    return len(found)


class NUMATopologyFilter(Filter):
    """The guest's cells fit into the host's, each into one of its own."""

    sentence = "Keeps hosts that can give the NUMA cells, dedicated CPUs and large pages that hw:… asks for."
    short = "cannot give the NUMA topology asked for"

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those that can."""
        topology = Topology.of(request)
        if not (topology.needs or topology.wrong):
            return hosts
        return [host for host in hosts if not missing(host, topology)]

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """What is missing."""
        return missing(host, Topology.of(request))


def missing(host: HostView, topology: Topology) -> str:
    """What a host lacks for a topology; empty if nothing."""
    if topology.wrong:
        return f"cannot be asked, as {topology.wrong}"
    for capability, words in topology.needs:
        if capability not in host.facts.capabilities:
            return f"cannot give a guest {words}"
    if topology.cells and not _fit(list(topology.cells), list(host.facts.numa_cells), host):
        wanted = ", ".join(f"{cell.vcpus} vCPUs with {cell.memory_mb} MB" for cell in topology.cells)
        has = ", ".join(f"{cell.cpus} CPUs with {cell.memory_mb} MB" for cell in host.facts.numa_cells)
        return f"has the NUMA cells {has or 'unknown'}, which do not hold {wanted} (ratios included)"
    return ""


def _fit(guest: list[GuestCell], cells: list[NumaCell], host: HostView) -> bool:
    """Whether each guest cell finds a host cell of its own; the largest is tried first."""
    if not guest:
        return True
    largest, *others = sorted(guest, key=lambda cell: (-cell.memory_mb, -cell.vcpus))
    roomy = {
        (cell.cpus, cell.memory_mb): cell
        for cell in cells
        if largest.vcpus <= cell.cpus * host.cpu_ratio and largest.memory_mb <= cell.memory_mb * host.memory_ratio
    }
    return any(_fit(others, [one for one in cells if one is not cell], host) for cell in roomy.values())


class PciPassthroughFilter(Filter):
    """The host has free PCI devices as the flavor asks."""

    sentence = "Keeps hosts with free PCI devices for pci_passthrough:alias. No driver attaches them yet, so none has."
    short = "no such PCI devices"
    options = (Option("alias", "list", [], "Entries name=vendor:product, such as gpu=10de:1db6."),)

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those that have."""
        if not request.extra_specs.get(PCI_ALIAS):
            return hosts
        return [host for host in hosts if not self.why(host, request, scene)]

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """What is missing; empty if nothing."""
        if PCI not in host.facts.capabilities:
            return "cannot give a guest PCI devices"
        try:
            wanted = self._wanted(request)
        except ValueError as error:
            return f"cannot be asked for PCI devices: {error}"
        for device, count in wanted.items():
            if (free := host.facts.pci_devices.count(device)) < count:
                return f"wants {count} of the PCI device {device}, {free} are there"
        return ""

    def _wanted(self, request: Request) -> dict[str, int]:
        known = dict(entry.split("=", 1) for entry in self.chosen["alias"] if "=" in entry)
        found: dict[str, int] = {}
        for entry in request.extra_specs[PCI_ALIAS].split(","):
            name, _, count = entry.strip().partition(":")
            if name not in known:
                raise BadOption(f"the alias {name} is not defined")
            found[known[name]] = found.get(known[name], 0) + int(count or 1)
        return found
