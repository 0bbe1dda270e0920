"""The diagnostics of a server: up to 2.47 as libvirt names things, from 2.48 on the same for every driver."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from compute.diagnostics import diagnostics
from compute.hypervisor.diagnostics import DiskCounters, GuestDiagnostics, NicCounters
from compute.models import Instance, PowerState
from portal.api.compute.base import ComputeView, call

NANOSECONDS = 10**9
KIB_IN_MIB = 1024
# What nobody counts, in libvirt's way of saying so.
NOT_COUNTED = -1


class Diagnostics(ComputeView):
    """/servers/{id}/diagnostics"""

    @call("os_compute_api:os-server-diagnostics")
    def get(self, request: Request, server_id: str) -> Response:
        """Show what a server's guest has done since it started, device by device."""
        instance = self.instance(server_id)
        found = diagnostics(instance)
        return Response(_of_any_driver(instance, found) if self.at("2.48") else _as_libvirt(found))


def _of_any_driver(instance: Instance, found: GuestDiagnostics) -> dict[str, Any]:
    host = instance.host
    launched = instance.launched_at
    return {
        "state": PowerState(instance.power_state).label.lower(),
        "driver": "libvirt",
        "hypervisor": (host.domain_type or host.facts.get("domain_type")) if host else None,
        "hypervisor_os": "linux",
        "uptime": int((timezone.now() - launched).total_seconds()) if launched else None,
        "config_drive": bool(instance.config_drive),
        "num_cpus": len(found.cpu_seconds),
        "num_nics": len(found.nics),
        "num_disks": len(found.disks),
        "cpu_details": [
            {"id": number, "time": int(seconds * NANOSECONDS), "utilisation": None}
            for number, seconds in enumerate(found.cpu_seconds)
        ],
        "nic_details": [_nic(nic) for nic in found.nics],
        "disk_details": [_disk(disk) for disk in found.disks],
        "memory_details": {"maximum": found.memory_mb, "used": found.memory_used_mb},
    }


def _nic(nic: NicCounters) -> dict[str, Any]:
    return {
        "mac_address": nic.mac,
        "rx_octets": nic.receive_bytes,
        "rx_errors": nic.receive_errors,
        "rx_drop": nic.receive_drops,
        "rx_packets": nic.receive_packets,
        "rx_rate": None,
        "tx_octets": nic.transmit_bytes,
        "tx_errors": nic.transmit_errors,
        "tx_drop": nic.transmit_drops,
        "tx_packets": nic.transmit_packets,
        "tx_rate": None,
    }


def _disk(disk: DiskCounters) -> dict[str, Any]:
    return {
        "read_bytes": disk.read_bytes,
        "read_requests": disk.read_requests,
        "write_bytes": disk.write_bytes,
        "write_requests": disk.write_requests,
        "errors_count": None,
    }


def _as_libvirt(found: GuestDiagnostics) -> dict[str, int]:
    body = {f"cpu{number}_time": int(seconds * NANOSECONDS) for number, seconds in enumerate(found.cpu_seconds)}
    for disk in found.disks:
        body |= {
            f"{disk.target}_read_req": disk.read_requests,
            f"{disk.target}_read": disk.read_bytes,
            f"{disk.target}_write_req": disk.write_requests,
            f"{disk.target}_write": disk.write_bytes,
            f"{disk.target}_errors": NOT_COUNTED,
        }
    body["memory"] = found.memory_mb * KIB_IN_MIB
    body["memory-rss"] = found.memory_used_mb * KIB_IN_MIB
    for nic in found.nics:
        body |= {
            f"{nic.device}_rx": nic.receive_bytes,
            f"{nic.device}_rx_packets": nic.receive_packets,
            f"{nic.device}_rx_errors": nic.receive_errors,
            f"{nic.device}_rx_drop": nic.receive_drops,
            f"{nic.device}_tx": nic.transmit_bytes,
            f"{nic.device}_tx_packets": nic.transmit_packets,
            f"{nic.device}_tx_errors": nic.transmit_errors,
            f"{nic.device}_tx_drop": nic.transmit_drops,
        }
    return body
