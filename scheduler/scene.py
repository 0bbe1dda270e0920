"""What a decision may ask for besides the hosts: aggregates, counts, members, measurements.

Each is read when it is first asked for, for all hosts in one query, and kept for the pass: a filter
that is off, or that does not matter for the request, costs nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any
from uuid import UUID, uuid4

from django.db.models import Count, QuerySet

from compute.models import Image, Instance, TaskState, VmState
from compute.statistics.reading import newest_of_hosts
from portal.compiled import Rows
from scheduler.aggregates import Aggregates
from scheduler.request import Group, Request

# Nova's list of what keeps a host's disks busy, with our names of the steps in between.
IO_TASKS: frozenset[str] = frozenset(
    {
        TaskState.RESIZE_PREP,
        TaskState.RESIZE_MIGRATING,
        TaskState.RESIZE_MIGRATED,
        TaskState.REBUILDING,
        TaskState.REBUILD_BLOCK_DEVICE_MAPPING,
        TaskState.IMAGE_SNAPSHOT,
        TaskState.IMAGE_PENDING_UPLOAD,
        TaskState.IMAGE_UPLOADING,
        TaskState.IMAGE_BACKUP,
        TaskState.RESCUING,
        TaskState.UNSHELVING,
        TaskState.SHELVING,
        TaskState.SHELVING_IMAGE_PENDING_UPLOAD,
        TaskState.SHELVING_IMAGE_UPLOADING,
    }
)
# What a host reports, by the columns of its statistics.
METRICS = {"cpu.percent": "cpu", "memory.used": "memory", "disk.used": "disk", "guests.running": "guests"}


def _busy() -> QuerySet[Instance, Any]:
    rows = Instance.objects.filter(host__isnull=False, task_state__isnull=False, deleted_at=None).order_by()
    return rows.values_list("host_id", "vm_state", "task_state")


_BUSY = Rows(_busy)


class Scene:
    """The surroundings of one pass. ``took`` keeps it true while a pass places several instances."""

    def __init__(self, aggregates: Aggregates | None = None) -> None:
        self.aggregates = aggregates or Aggregates()
        self._members: dict[UUID, dict[UUID, int]] = {}
        self._found: dict[tuple[str, tuple[str, ...]], frozenset[int]] = {}

    @cached_property
    def io_operations(self) -> Counter[int]:
        """How many operations keep each host's disks busy: builds, resizes, snapshots and the like."""
        return Counter(
            host_id for host_id, state, task in _BUSY.rows() if state == VmState.BUILDING or task in IO_TASKS
        )

    def members(self, request: Request) -> Counter[int]:
        """How many other members of the request's group each host has."""
        if request.group is None:
            return Counter()
        where = self._members_of(request.group)
        return Counter(host_id for member, host_id in where.items() if member != request.instance_id)

    def forget_members(self, group: Group) -> None:
        """Read them again: they may have changed since, and now the group is locked."""
        self._members.pop(group.id, None)

    def _members_of(self, group: Group) -> dict[UUID, int]:
        if group.id not in self._members:
            rows = Instance.objects.alive().filter(server_group_id=group.id, host__isnull=False)
            self._members[group.id] = dict(rows.order_by().values_list("id", "host_id"))
        return self._members[group.id]

    def hosts_of(self, project_id: str, instance_ids: Iterable[str]) -> frozenset[int]:
        """The hosts of these instances, if they are the project's own; others are nobody's business."""
        wanted = tuple(sorted(set(instance_ids)))
        if (project_id, wanted) not in self._found:
            rows = Instance.objects.alive().filter(project_id=project_id, pk__in=_uuids(wanted), host__isnull=False)
            self._found[project_id, wanted] = frozenset(rows.order_by().values_list("host_id", flat=True))
        return self._found[project_id, wanted]

    @cached_property
    def samples(self) -> dict[int, dict[str, float]]:
        """The newest measurements of each host that has been measured lately, by the metric's name."""
        return {pk: {name: said[column] for name, column in METRICS.items()} for pk, said in newest_of_hosts().items()}

    @cached_property
    def images_on_hosts(self) -> list[tuple[int, Mapping[str, Any], int]]:
        """(host, an image's properties, how many instances of it are there), in two queries."""
        rows = Instance.objects.alive().filter(host__isnull=False, image_id__isnull=False)
        counted = list(rows.order_by().values_list("host_id", "image_id").annotate(count=Count("id")))
        properties = dict(Image.objects.filter(pk__in={row[1] for row in counted}).values_list("id", "properties"))
        return [(host, properties.get(image, {}), count) for host, image, count in counted]

    def took(self, host_id: int, request: Request) -> None:
        """The request is on this host from now on."""
        if "io_operations" in self.__dict__:
            self.io_operations[host_id] += request.instances
        if request.group is not None:
            self._members_of(request.group)[request.instance_id or uuid4()] = host_id


def _uuids(texts: Iterable[str]) -> list[UUID]:
    found = []
    for text in texts:
        try:
            found.append(UUID(text))
        except ValueError:  # no instance has such an id
            continue
    return found
