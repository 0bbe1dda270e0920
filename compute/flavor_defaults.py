"""The field's flavors, as devstack and every tutorial have them."""

from __future__ import annotations

from compute.models import Flavor

# id, name, vCPUs, memory in MiB, disk in GiB
DEFAULT_FLAVORS = (
    ("1", "m1.tiny", 1, 512, 1),
    ("2", "m1.small", 1, 2048, 20),
    ("3", "m1.medium", 2, 4096, 40),
    ("4", "m1.large", 4, 8192, 80),
    ("5", "m1.xlarge", 8, 16384, 160),
    ("42", "m1.nano", 1, 128, 1),
)


def ensure_flavors() -> None:
    """Create them in a new cloud; one that an administrator has deleted since stays deleted."""
    if Flavor.objects.exists():
        return
    for flavor_id, name, vcpus, memory_mb, disk_gb in DEFAULT_FLAVORS:
        Flavor.objects.create(id=flavor_id, name=name, vcpus=vcpus, memory_mb=memory_mb, disk_gb=disk_gb)
