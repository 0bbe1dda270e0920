"""How an instance's disks come and go on a host. Which ones it has says ``layout``.

The ephemeral disk comes empty: guests make their own file system. The swap disk is ready for swapon.
"""

from __future__ import annotations

import io
import logging
import re
import struct
import time
from collections.abc import Iterable, Iterator
from uuid import UUID

from compute.errors import ComputeError
from compute.hypervisor import qcow2
from compute.hypervisor.interface import Hypervisor, HypervisorError
from compute.images import store
from compute.models import Host, Image, Instance, Port
from compute.operations import config_drive
from compute.operations.engine import AnotherLane, Operation
from compute.operations.layout import Layout
from portal.compiled import Rows, given

log = logging.getLogger(__name__)

_IMAGE = Rows(lambda: Image.objects.filter(**given(Image, "pk")))
MIB = 1 << 20
GIB = 1 << 30
# The volumes that one operation makes beside another's: role and the number of its action.
REPLACED = re.compile(r"(root|ephemeral0|swap|rescue)(-[0-9]+)?|config-[0-9]+|probe-[0-9a-f]{8}")
PAGE = 4096
LOOK_SECONDS = 0.5  # how often a copy asks whether it is still wanted


def create_root(hypervisor: Hypervisor, layout: Layout, image: Image) -> None:
    """The root disk: over the image's base, as large as the flavor says (0: as the image)."""
    size = layout.flavor["disk_gb"] * GIB or store.raw_size(image)
    hypervisor.create_overlay(layout.volume("root"), image.base_volume, size)


def create_empty(hypervisor: Hypervisor, layout: Layout, roles: Iterable[str] = ("ephemeral0", "swap")) -> None:
    """Those of the ephemeral and the swap disk that the flavor has."""
    if "ephemeral0" in layout.own and "ephemeral0" in roles:
        hypervisor.create_volume(layout.volume("ephemeral0"), layout.flavor["ephemeral_gb"] * GIB)
    if "swap" in layout.own and "swap" in roles:
        content = swap_space(layout.flavor["swap_mb"] * MIB)
        hypervisor.upload(layout.volume("swap"), io.BytesIO(content), len(content), "qcow2")


def create_config(
    hypervisor: Hypervisor, instance: Instance, admin_password: str | None = None, ports: list[Port] | None = None
) -> None:
    """The config drive, with what the rows say now, and with the password that this start is asked to set.

    ``ports``: the instance's, if at hand.
    """
    content, size = config_drive.build(instance, admin_password, ports)
    hypervisor.upload(instance.config_volume, content, size)


def bring_base(operation: Operation, image: Image, host: Host | None = None) -> None:
    """The image is on a host (None: the instance's), once for each host; a copy is the transfer lane's work."""
    hypervisor = operation.hypervisor_of(host) if host else operation.hypervisor
    if hypervisor.has_base(image.base_volume):
        return
    if operation.lane_now != "transfer":
        raise AnotherLane("transfer")
    hypervisor.ensure_base(
        image.base_volume, store.raw_size(image), lambda: _while_wanted(operation, store.open_raw(image))
    )


def _while_wanted(operation: Operation, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks, until nobody wants the operation any more. Raises Lost then."""
    look_at = 0.0
    for chunk in chunks:
        if time.monotonic() >= look_at:
            operation.lease.renew()
            look_at = time.monotonic() + LOOK_SECONDS
        yield chunk


def image_named(image_id: str | UUID | None) -> Image:
    """An image that a request named, unless it was deleted since. Raises ComputeError."""
    image = _IMAGE.first(pk=image_id) if image_id else None
    if image is None:
        raise ComputeError("The image was deleted before the server could be built from it.")
    return image


def drop(hypervisor: Hypervisor, volumes: Iterable[str]) -> None:
    """Delete volumes that nothing needs any more.

    It comes last in an operation that has succeeded by then; what cannot be deleted is logged and
    left to ``sweep``, for an operation that failed over it would look as if it had not happened.
    """
    for volume in volumes:
        try:
            hypervisor.delete_volume(volume)
        except HypervisorError as error:
            log.warning("volume %s stays behind: %s", volume, error)


def sweep(hypervisor: Hypervisor, instance_id: UUID, needed: Iterable[str]) -> None:
    """Delete what earlier operations on the instance left behind: volumes of their naming that nobody needs."""
    kept = set(needed)
    for volume in hypervisor.volumes(prefix=str(instance_id)):
        if volume not in kept and REPLACED.fullmatch(volume.removeprefix(f"{instance_id}-")):
            hypervisor.delete_volume(volume)


def swap_space(size_bytes: int) -> bytes:
    """A qcow2 file of an empty swap disk, as Linux's mkswap writes it: a header in the first page, then zeros.

    qcow2, because what a guest's memory has there belongs into a snapshot with that memory. The layout is the
    kernel's ``union swap_header`` (include/linux/swap.h), version 1.
    """
    header = struct.pack("<III", 1, size_bytes // PAGE - 1, 0)
    page = bytes(1024) + header.ljust(PAGE - 1024 - 10, b"\0") + b"SWAPSPACE2"
    return qcow2.flat(page, size_bytes)
