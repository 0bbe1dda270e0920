"""Fake guests, looked at closely."""

from __future__ import annotations

import time
from uuid import UUID

from compute.hypervisor.diagnostics import DiskCounters, GuestDiagnostics, NicCounters
from compute.hypervisor.fake.faults import question
from compute.hypervisor.fake.guests import FakeGuests, usage_of
from compute.hypervisor.fake.host import ON
from compute.hypervisor.interface import Busy, GuestUsage


class FakeDiagnostics(FakeGuests):
    """What they did goes through their first disk and their first card."""

    @question
    def diagnostics(self, uuid: UUID) -> GuestDiagnostics:
        """See the interface."""
        with self._changing(uuid) as (guest, _):
            if guest["power"] not in ON:
                raise Busy("The guest is not running.")
            usage = usage_of(guest, time.time() - guest["since"])
            vcpus = guest["live"]["vcpus"]
            disks = [
                DiskCounters(f"vd{chr(97 + number)}", *([0] * 4 if number else _disk_counters(usage)))
                for number, _ in enumerate(guest["disks"])
            ]
            nics = [
                NicCounters(f"vnet{number}", mac, *([0] * 8 if number else _nic_counters(usage)))
                for number, mac in enumerate(guest["nics"])
            ]
            memory_mb = guest["live"]["memory_mb"]
        return GuestDiagnostics(
            (usage.cpu_seconds / vcpus,) * vcpus, memory_mb, usage.memory_used_mb, tuple(disks), tuple(nics)
        )


def _disk_counters(usage: GuestUsage) -> list[int]:
    return [usage.disk_read_bytes, usage.disk_read_requests, usage.disk_write_bytes, usage.disk_write_requests]


def _nic_counters(usage: GuestUsage) -> list[int]:
    received, sent = usage.network_receive_bytes, usage.network_transmit_bytes
    return [received, received // 1000, 0, 0, sent, sent // 1000, 0, 0]
