"""What a host is and how busy it is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import libvirt
from lxml import etree

from compute.hypervisor.interface import HostFacts, HostUsage, NumaCell
from compute.hypervisor.libvirt import xml, xml_storage
from compute.hypervisor.libvirt.errors import has_code, plain_errors
from compute.hypervisor.libvirt.session import Session

GIB = 1024**3
REFRESH_SECONDS = 60.0  # libvirt counts a pool's space when it refreshes it, 0.05 s for 1000 volumes
VIRTUALIZATION = {"vmx", "svm"}


class Facts:
    """The verbs about the host itself."""

    _session: Session
    _facts: HostFacts | None
    _refreshed_at: float

    @plain_errors()
    def ping(self) -> None:
        """See the interface."""
        self._session.connection().getLibVersion()

    @plain_errors()
    def prepare(self) -> tuple[str, ...]:
        """See the interface: the two pools, running and started with the host."""
        pools = (
            (self._session.pool_name, self._session.pool_path, "0711"),
            (self._session.console_pool_name, self._session.console_path, "0700"),
        )
        return tuple(f"the storage pool {name} in {path}" for name, path, mode in pools if self._made(name, path, mode))

    @plain_errors()
    def facts(self) -> HostFacts:
        """See the interface. Asked once for each driver: what a host is does not change under it.

        The first call to a fresh libvirtd takes seconds, as it asks every QEMU what it can do.
        """
        if self._facts is None:
            self._facts = self._ask()
        return self._facts

    @plain_errors()
    def usage(self) -> HostUsage:
        """See the interface. The pool's free space is at most a minute old."""
        connection = self._session.connection()
        cpu = connection.getCPUStats(libvirt.VIR_NODE_CPU_STATS_ALL_CPUS)
        memory = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
        capacity, available = self._space()
        idle = cpu.get("idle", 0) + cpu.get("iowait", 0)
        return HostUsage(
            cpu_busy_seconds=(sum(cpu.values()) - idle) / 1e9,
            cpu_total_seconds=sum(cpu.values()) / 1e9,
            memory_used_mb=_used_kib(memory) // 1024,
            disk_used_gb=(capacity - available) / GIB,
            disk_capacity_gb=capacity / GIB,
            guests_running=connection.numOfDomains(),
        )

    # within ---------------------------------------------------------------------------------------
    def _made(self, name: str, path: str, mode: str) -> bool:
        """The pool is there, runs and starts with the host; whether it had to be made."""
        connection, made = self._session.connection(), False
        try:
            pool = connection.storagePoolLookupByName(name)
        except libvirt.libvirtError as error:
            if not has_code(error, libvirt.VIR_ERR_NO_STORAGE_POOL):
                raise
            pool, made = connection.storagePoolDefineXML(xml.to_string(xml_storage.pool(name, path, mode))), True
        if not pool.isActive():
            try:
                pool.build(0)
                pool.create()
            except libvirt.libvirtError:
                if not pool.isActive():  # else another caller was faster
                    raise
        if not pool.autostart():
            pool.setAutostart(1)
        return made

    def _space(self) -> tuple[int, int]:
        pool = self._session.pool()
        if time.monotonic() - self._refreshed_at > REFRESH_SECONDS:
            self._refreshed_at = time.monotonic()
            with contextlib.suppress(libvirt.libvirtError):  # it is busy with a volume; the last count will do
                pool.refresh()
        _, capacity, _, available = pool.info()
        return capacity, available

    def _ask(self) -> HostFacts:
        connection = self._session.connection()
        root = etree.fromstring(connection.getCapabilities())
        topology = root.find("host/cpu/topology")
        threads, cores, sockets = (
            int(topology.get(name, "1")) if topology is not None else 1 for name in ("threads", "cores", "sockets")
        )
        architecture = root.findtext("host/cpu/arch", "x86_64")
        features = self._cpu_features(root)
        domain_type = choose_domain_type(root, architecture, features)
        info = connection.getInfo()
        return HostFacts(
            hostname=connection.getHostname(),
            uuid=root.findtext("host/uuid", ""),
            hypervisor_type=connection.getType(),
            hypervisor_version=connection.getVersion(),
            libvirt_version=connection.getLibVersion(),
            architecture=architecture,
            domain_type=domain_type,
            cpu_model=root.findtext("host/cpu/model", ""),
            cpu_vendor=root.findtext("host/cpu/vendor", ""),
            cpu_sockets=sockets,
            cpu_cores=cores,
            cpu_threads=threads,
            vcpus=info[2],
            memory_mb=self._memory_mb(info[1]),
            disk_gb=int(self._session.pool().info()[1] // GIB),
            cpu_features=features,
            numa_cells=tuple(numa_cells(root)),
            capabilities=frozenset(self._capabilities(root, architecture, domain_type)),
        )

    def _memory_mb(self, of_nodes: int) -> int:
        """The larger of two truths: the NUMA nodes leave out memory that was plugged in later."""
        total = self._session.connection().getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS).get("total", 0)
        return max(of_nodes, int(total) // 1024)

    def _cpu_features(self, root: etree._Element) -> tuple[str, ...]:
        """Every feature of the CPU, those that its model implies included where libvirt can tell."""
        cpu = root.find("host/cpu")
        if cpu is None:
            return ()
        with contextlib.suppress(libvirt.libvirtError):  # not for this architecture
            text = etree.tostring(cpu, encoding="unicode")
            flag = libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
            cpu = etree.fromstring(self._session.connection().baselineCPU([text], flag))
        return tuple(sorted({feature.get("name", "") for feature in cpu.iterfind("feature")}))

    def _capabilities(self, root: etree._Element, architecture: str, domain_type: str) -> Iterator[str]:
        """What it can do beyond the basics, each a word."""
        if domain_type == "kvm":
            yield "kvm"
        if root.find("host/migration_features/live") is not None:
            yield "live-migration"
        try:
            text = self._session.connection().getDomainCapabilities(None, architecture, None, domain_type)
        except libvirt.libvirtError:
            return
        yield from offered(etree.fromstring(text))


def numa_cells(capabilities: etree._Element) -> Iterator[NumaCell]:
    """The host's NUMA cells (https://libvirt.org/formatcaps.html); none where libvirt names none."""
    for cell in capabilities.iterfind("host/topology/cells/cell"):
        cpus = len(cell.findall("cpus/cpu"))
        yield NumaCell(int(cell.get("id", "0")), cpus, int(cell.findtext("memory", "0")) // 1024)


def offered(domain_capabilities: etree._Element) -> Iterator[str]:
    """What the domain capabilities (https://libvirt.org/formatdomaincaps.html) offer a guest."""
    if domain_capabilities.find("os/enum[@name='firmware']/value[.='efi']") is not None:
        yield "uefi"
    if domain_capabilities.find("devices/tpm[@supported='yes']") is not None:
        yield "tpm"
    if domain_capabilities.find("features/backup[@supported='yes']") is not None:
        yield "backup"
    if domain_capabilities.find("features/sev[@supported='yes']") is not None:
        yield "sev"


def choose_domain_type(root: etree._Element, architecture: str, features: tuple[str, ...]) -> str:
    """kvm only where it is offered and the CPU really virtualizes.

    /dev/kvm can be there and open in a virtual machine whose CPU has no such feature, and guests
    then hang without a word. Only x86 shows the feature in a CPU's flags.
    """
    domains = root.iterfind(f"guest/arch[@name='{architecture}']/domain")
    if "kvm" not in {domain.get("type") for domain in domains}:
        return "qemu"
    if architecture in ("x86_64", "i686") and not VIRTUALIZATION & set(features):
        return "qemu"
    return "kvm"


def _used_kib(memory: dict[str, Any]) -> int:
    """Memory that is neither free nor the kernel's cache."""
    idle = memory.get("free", 0) + memory.get("buffers", 0) + memory.get("cached", 0)
    return max(0, int(memory.get("total", 0)) - int(idle))
