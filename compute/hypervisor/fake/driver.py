"""FakeHypervisor: a host that keeps every promise of the interface but runs nothing.

The URI says where it lives (see ``state``) and, in its query, what it is like: ``vcpus``,
``memory`` (MiB), ``disk`` (GiB), ``delay`` (seconds for each verb) or ``delay.VERB``, ``deaf=1``
(guests do not hear the power button), ``agent=0`` (guests have no agent), ``storage`` (a name: hosts of one
place with the same have their volumes in common), ``slow=1`` (guests change their memory faster than it can be
sent), ``cpu`` and ``version`` (of the hypervisor).
"""

from __future__ import annotations

import threading

from compute.hypervisor.fake.adoption import FakeAdoption
from compute.hypervisor.fake.devices import FakeDevices
from compute.hypervisor.fake.diagnostics import FakeDiagnostics
from compute.hypervisor.fake.growth import FakeGrowth
from compute.hypervisor.fake.guests import FakeConsoles
from compute.hypervisor.fake.host import FakeNetworks
from compute.hypervisor.fake.inspection import FakeInspection
from compute.hypervisor.fake.migration import FakeMigration
from compute.hypervisor.fake.moving import FakeMoving
from compute.hypervisor.fake.snapshots import FakeSnapshots
from compute.hypervisor.fake.state import State


class FakeHypervisor(
    FakeAdoption,
    FakeMoving,
    FakeDevices,
    FakeDiagnostics,
    FakeGrowth,
    FakeInspection,
    FakeMigration,
    FakeSnapshots,
    FakeConsoles,
    FakeNetworks,
):
    """Two drivers of one URI are the same host. Trouble is ordered through ``inject``."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._state = State(uri)
        self._serials = {}
        self._closed = threading.Event()
