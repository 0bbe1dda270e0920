"""The nouns: fields, constraints and small properties. Verbs live in ``compute.operations``."""

from compute.models import lookups as lookups
from compute.models.action import OPEN_STATES, Action, ActionState, Event
from compute.models.aggregate import EVACUATE_AFTER_KEY, EVACUATE_KEY, ZONE_KEY, Aggregate
from compute.models.change import Change, announce, announce_all, announce_each
from compute.models.delivery import ImageDelivery
from compute.models.fencing import Fencing, FencingState, HostEvent
from compute.models.flavor import Flavor, FlavorAccess
from compute.models.host import Host, HostState
from compute.models.host_check import HostCheck
from compute.models.image import Image, ImageStatus, ImageVisibility
from compute.models.instance import Fault, Instance
from compute.models.keypair import KeyPair
from compute.models.migration import LIVE_IN_PROGRESS, OPEN_MIGRATIONS, Migration, MigrationStatus, MigrationType
from compute.models.network import (
    Network,
    NetworkRemoval,
    Port,
    PortAddress,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
)
from compute.models.quota import DEFAULT_LIMITS, QuotaLimit, QuotaUsage
from compute.models.relocation import ItemState, Relocation, RelocationItem, RelocationKind, RelocationState
from compute.models.schedule import Frequency, ScheduleKind, SnapshotSchedule, Weekday
from compute.models.server_group import GroupPolicy, ServerGroup
from compute.models.snapshot import Snapshot, SnapshotState
from compute.models.states import PowerState, TaskState, VmState
from compute.models.statistics import Block, Level, Reading, Sample, Series

__all__ = [
    "DEFAULT_LIMITS",
    "EVACUATE_AFTER_KEY",
    "EVACUATE_KEY",
    "LIVE_IN_PROGRESS",
    "OPEN_MIGRATIONS",
    "OPEN_STATES",
    "ZONE_KEY",
    "Action",
    "ActionState",
    "Aggregate",
    "Block",
    "Change",
    "Event",
    "Fault",
    "Fencing",
    "FencingState",
    "Flavor",
    "FlavorAccess",
    "Frequency",
    "GroupPolicy",
    "Host",
    "HostCheck",
    "HostEvent",
    "HostState",
    "Image",
    "ImageDelivery",
    "ImageStatus",
    "ImageVisibility",
    "Instance",
    "ItemState",
    "KeyPair",
    "Level",
    "Migration",
    "MigrationStatus",
    "MigrationType",
    "Network",
    "NetworkRemoval",
    "Port",
    "PortAddress",
    "PowerState",
    "QuotaLimit",
    "QuotaUsage",
    "Reading",
    "Relocation",
    "RelocationItem",
    "RelocationKind",
    "RelocationState",
    "Sample",
    "ScheduleKind",
    "SecurityGroup",
    "SecurityGroupRule",
    "Series",
    "ServerGroup",
    "Snapshot",
    "SnapshotSchedule",
    "SnapshotState",
    "Subnet",
    "TaskState",
    "VmState",
    "Weekday",
    "announce",
    "announce_all",
    "announce_each",
]
