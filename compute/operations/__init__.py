"""The verbs. This table is the menu, the API's actions, the documentation and the tests' parameters."""

from __future__ import annotations

from compute.operations.boot import Boot
from compute.operations.delete import Delete
from compute.operations.engine import Operation
from compute.operations.power import HardReboot, SoftReboot, Start, Stop
from compute.operations.rebuild import Rebuild

OPERATIONS: dict[str, type[Operation]] = {
    operation.name: operation for operation in (Boot, Start, Stop, SoftReboot, HardReboot, Rebuild, Delete)
}
