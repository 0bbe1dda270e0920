"""What is wanted of a host, as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from compute.models import Flavor, GroupPolicy, Image, Instance, ServerGroup
from compute.models.flavor import disk_claim_gb

HARD_POLICIES = frozenset({GroupPolicy.AFFINITY, GroupPolicy.ANTI_AFFINITY})


@dataclass(frozen=True, slots=True)
class Group:
    """The server group that an instance is in."""

    id: UUID
    policy: str
    most_on_a_host: int = 1  # of anti-affinity

    @property
    def is_hard(self) -> bool:
        """Whether a host that breaks the policy is out of the question."""
        return self.policy in HARD_POLICIES

    @classmethod
    def of(cls, row: ServerGroup) -> Group:
        """The group of a row."""
        return cls(row.id, row.policy, row.max_server_per_host or 1)


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted of a host. Everything but the sizes is optional."""

    vcpus: int
    memory_mb: int
    disk_gb: int
    zone: str = ""
    host: str = ""
    forced: bool = False  # onto ``host`` whatever the filters say, if its room can be claimed
    tried: frozenset[int] = field(default_factory=frozenset)
    leaves: int | None = None  # the host that it is on, and is to leave
    seeing: frozenset[int] | None = None  # the hosts that see its disks, if it is to keep them
    instances: int = 1  # 0: room for one that is on the host already
    project_id: str = ""
    instance_id: UUID | None = None
    flavor_name: str = ""
    extra_specs: Mapping[str, str] = field(default_factory=dict)
    image_id: str = ""
    image_properties: Mapping[str, Any] = field(default_factory=dict)
    group: Group | None = None
    hints: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, instance: Instance, tried: Iterable[int] = ()) -> Request:
        """What an instance wants; ``tried`` are hosts that failed already. Reads its group."""
        group = instance.server_group
        return cls(
            vcpus=instance.vcpus,
            memory_mb=instance.memory_mb,
            disk_gb=instance.disk_gb,
            zone=instance.zone,
            host=instance.asked_host,
            forced=instance.host_forced,
            tried=frozenset(tried),
            project_id=instance.project_id,
            instance_id=instance.id,
            flavor_name=instance.flavor.get("name", ""),
            extra_specs=instance.flavor.get("extra_specs", {}),
            image_id=str(instance.image_id or ""),
            image_properties=instance.image_properties,
            group=Group.of(group) if group else None,
            hints=instance.scheduler_hints,
        )

    @classmethod
    def of_flavor(
        cls, flavor: Flavor, *, project_id: str = "", image: Image | None = None, zone: str = "", **more: Any
    ) -> Request:
        """What an instance of a flavor would want, for a dry run. ``more`` are further fields."""
        return cls(
            vcpus=flavor.vcpus,
            memory_mb=flavor.memory_mb,
            disk_gb=disk_claim_gb(flavor.snapshot()),
            zone=zone,
            project_id=project_id,
            flavor_name=flavor.name,
            extra_specs=flavor.extra_specs,
            image_id=str(image.id) if image else "",
            image_properties=image.properties if image else {},
            **more,
        )
