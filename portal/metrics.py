"""``/metrics``, in Prometheus' text form (https://prometheus.io/docs/instrumenting/exposition_formats/).

Everybody who reaches the port reads counts, without any name. Whoever has the token of ``NACELLE_METRICS_TOKEN``
(``Authorization: Bearer …``) reads the figures of each host and instance, too. All of it comes from the rows: the
counters are those that the watcher read last, and are left out when they are old.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db.models import Count
from django.http import HttpRequest, HttpResponse

from compute.models import OPEN_STATES, Action, Host, HostState, Instance, Reading
from compute.statistics.reading import PERIODS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MIB, GIB = 1 << 20, 1 << 30


def metrics(request: HttpRequest) -> HttpResponse:
    """The figures that this caller may read; 401 for a token that is not the one."""
    given = request.headers.get("Authorization")
    if given is not None and not _is_ours(given):
        return HttpResponse("This is not the token of NACELLE_METRICS_TOKEN.\n", status=401, content_type=CONTENT_TYPE)
    families = [*_counts(), *(_details() if given else ())]
    return HttpResponse("".join(family.text() for family in families), content_type=CONTENT_TYPE)


def _is_ours(given: str) -> bool:
    scheme, _, token = given.partition(" ")
    ours = settings.METRICS_TOKEN
    return bool(ours) and scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), ours.encode())


@dataclass
class Family:
    """One metric with all its samples."""

    name: str
    help: str
    kind: str = "gauge"
    lines: list[str] = field(default_factory=list)

    def add(self, value: float, labels: str = "") -> None:
        """One sample. ``labels`` as ``labels_of`` writes them."""
        self.lines.append(f"{self.name}{labels} {value}")

    def text(self) -> str:
        """The family as it is written; nothing without samples."""
        if not self.lines:
            return ""
        return "\n".join([f"# HELP {self.name} {self.help}", f"# TYPE {self.name} {self.kind}", *self.lines, ""])


def labels_of(labels: Mapping[str, object]) -> str:
    """Labels as they are written, whatever the values hold."""
    return "{" + ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


# counts, for everybody ----------------------------------------------------------------------------------
def _counts() -> Iterator[Family]:
    instances = Family("nacelle_instances", "Instances, by what their users asked of them.")
    for row in Instance.objects.alive().order_by("vm_state").values("vm_state").annotate(count=Count("id")):
        instances.add(row["count"], labels_of({"vm_state": row["vm_state"]}))
    yield instances
    hosts = Family("nacelle_hosts", "Compute hosts, by whether they answer.")
    total, up = Host.objects.count(), Host.objects.up().count()
    new = Host.objects.filter(state=HostState.NEW, forced_down=False).count()
    for state, count in (("up", up), ("down", total - up - new), ("new", new)):
        hosts.add(count, labels_of({"state": state}))
    yield hosts
    operations = Family("nacelle_open_operations", "Operations that are not ended.")
    operations.add(Action.objects.filter(state__in=OPEN_STATES).count())
    yield operations


# each host and instance, for who has the token -----------------------------------------------------------
_HOST_FIELDS: tuple[tuple[str, str, str, int], ...] = (
    ("vcpus", "vcpus", "Processors.", 1),
    ("vcpus_claimed", "vcpus_used", "Virtual processors that instances have claimed.", 1),
    ("memory_bytes", "memory_mb", "Memory.", MIB),
    ("memory_claimed_bytes", "memory_mb_used", "Memory that instances have claimed.", MIB),
    ("disk_bytes", "disk_gb", "Capacity of the storage pool.", GIB),
    ("disk_claimed_bytes", "disk_gb_used", "Disk that instances have claimed.", GIB),
    ("instances", "instances_used", "Instances that have claimed room.", 1),
)
_HOST_READINGS: tuple[tuple[str, str, str, int], ...] = (
    ("memory_used_bytes", "memory_used_mb", "Memory that is neither free nor the kernel's cache.", MIB),
    ("disk_used_bytes", "disk_used_gb", "What is used of the storage pool.", GIB),
    ("guests_running", "guests_running", "Guests that run, Nacelle's or not.", 1),
)
_INSTANCE_READINGS: tuple[tuple[str, str, str, str, int], ...] = (
    ("memory_used_bytes", "memory_used_mb", "gauge", "Memory in use, as the guest says, or as its QEMU has.", MIB),
    ("cpu_seconds_total", "cpu_seconds", "counter", "Processor time since the guest started.", 1),
    ("disk_read_bytes_total", "disk_read_bytes", "counter", "Bytes read from its disks.", 1),
    ("disk_written_bytes_total", "disk_write_bytes", "counter", "Bytes written to its disks.", 1),
    ("disk_reads_total", "disk_read_requests", "counter", "Reads of its disks.", 1),
    ("disk_writes_total", "disk_write_requests", "counter", "Writes to its disks.", 1),
    ("network_receive_bytes_total", "network_receive_bytes", "counter", "Bytes that its cards received.", 1),
    ("network_transmit_bytes_total", "network_transmit_bytes", "counter", "Bytes that its cards sent.", 1),
)


def _details() -> Iterator[Family]:
    hosts = list(Host.objects.order_by("name").defer("facts", "fence_values"))
    since = int(time.time()) - PERIODS * settings.HOST_SAMPLE_SECONDS
    fresh: dict[int, dict[str, Any]] = dict(
        Reading.objects.filter(at__gte=since).order_by().values_list("host_id", "counters")
    )
    named = {host.pk: labels_of({"host": host.name}) for host in hosts}
    yield from _of_hosts(hosts, named)
    yield from _of_host_readings({named[pk]: one["host"] for pk, one in fresh.items() if pk in named}, named.values())
    yield from _of_instances(fresh, {host.pk: host.name for host in hosts})


def _of_hosts(hosts: list[Host], named: Mapping[int, str]) -> Iterator[Family]:
    up = Family("nacelle_host_up", "Whether the host answers.")
    enabled = Family("nacelle_host_enabled", "Whether the host takes new instances.")
    seen = Family("nacelle_host_last_seen_timestamp_seconds", "When the host answered last.")
    for host in hosts:
        up.add(int(host.is_up), named[host.pk])
        enabled.add(int(host.enabled), named[host.pk])
        if host.last_seen_at:
            seen.add(round(host.last_seen_at.timestamp(), 3), named[host.pk])
    yield from (up, enabled, seen)
    for name, attribute, sentence, factor in _HOST_FIELDS:
        family = Family(f"nacelle_host_{name}", sentence)
        for host in hosts:
            family.add(getattr(host, attribute) * factor, named[host.pk])
        yield family


def _of_host_readings(readings: Mapping[str, dict[str, Any]], order: Iterable[str]) -> Iterator[Family]:
    cpu = Family("nacelle_host_cpu_seconds_total", "Time of all processors together, since it started.", "counter")
    known = [(labels, readings[labels]) for labels in order if labels in readings]
    for labels, one in known:
        idle = max(0.0, one["cpu_total_seconds"] - one["cpu_busy_seconds"])
        for mode, seconds in (("busy", one["cpu_busy_seconds"]), ("idle", idle)):
            cpu.add(seconds, f'{labels[:-1]},mode="{mode}"}}')
    yield cpu
    for name, key, sentence, factor in _HOST_READINGS:
        family = Family(f"nacelle_host_{name}", sentence)
        for labels, one in known:
            family.add(one[key] * factor, labels)
        yield family


def _of_instances(fresh: Mapping[int, dict[str, Any]], hosts: Mapping[int, str]) -> Iterator[Family]:
    info = Family("nacelle_instance_info", "Always 1; its labels say what the instance is.")
    vcpus = Family("nacelle_instance_vcpus", "Virtual processors.")
    memory = Family("nacelle_instance_memory_bytes", "Memory.")
    read: list[tuple[str, dict[str, Any]]] = []
    columns = ("pk", "name", "project_id", "host_id", "vm_state", "vcpus", "memory_mb")
    for pk, name, project, host_id, state, count, size in Instance.objects.alive().order_by("pk").values_list(*columns):
        labels = labels_of({"instance": pk})
        about = {
            "instance": pk,
            "name": name,
            "project": project,
            "host": hosts.get(host_id or 0, ""),
            "vm_state": state,
        }
        info.add(1, labels_of(about))
        vcpus.add(count, labels)
        memory.add(size * MIB, labels)
        if (usage := fresh.get(host_id or 0, {}).get("guests", {}).get(str(pk))) is not None:
            read.append((labels, usage))
    yield from (info, vcpus, memory)
    for metric, key, kind, sentence, factor in _INSTANCE_READINGS:
        family = Family(f"nacelle_instance_{metric}", sentence, kind)
        for labels, usage in read:
            family.add(usage[key] * factor, labels)
        yield family
