"""The verbs. This table is the menu, the API's actions, the documentation and the tests' parameters."""

from __future__ import annotations

from compute.operations.adopt import Adopt
from compute.operations.boot import Boot
from compute.operations.crash_dump import CrashDump
from compute.operations.delete import Delete, ForceDelete
from compute.operations.engine import Operation
from compute.operations.evacuate import Evacuate
from compute.operations.in_place import CreateSnapshot, DeleteSnapshot, RevertSnapshot
from compute.operations.inject_network_info import InjectNetworkInfo
from compute.operations.interfaces import AddFixedIp, AttachInterface, DetachInterface, RemoveFixedIp
from compute.operations.live_migration import LiveMigration
from compute.operations.live_resize import LiveResize
from compute.operations.password import ChangePassword
from compute.operations.pause import Pause, Unpause
from compute.operations.power import HardReboot, KeepOff, SoftReboot, Start, Stop
from compute.operations.rebuild import Rebuild
from compute.operations.rescue import Rescue, Unrescue
from compute.operations.resize import Migrate, Resize
from compute.operations.resize_end import ConfirmResize, RevertResize
from compute.operations.shelve import Shelve, ShelveOffload, Unshelve
from compute.operations.snapshot import CreateBackup, CreateImage
from compute.operations.soft_delete import Restore, SoftDelete
from compute.operations.suspend import Resume, Suspend

# In the order of the menu.
OPERATIONS: dict[str, type[Operation]] = {
    operation.name: operation
    for operation in (
        Boot,
        Adopt,
        Start,
        Unpause,
        Resume,
        Restore,
        Unshelve,
        ConfirmResize,
        RevertResize,
        Unrescue,
        Stop,
        SoftReboot,
        HardReboot,
        Pause,
        Suspend,
        Resize,
        LiveResize,
        Migrate,
        LiveMigration,
        Rescue,
        Rebuild,
        ChangePassword,
        InjectNetworkInfo,
        AttachInterface,
        DetachInterface,
        AddFixedIp,
        RemoveFixedIp,
        CrashDump,
        CreateImage,
        CreateBackup,
        CreateSnapshot,
        RevertSnapshot,
        DeleteSnapshot,
        Shelve,
        ShelveOffload,
        Evacuate,
        KeepOff,
        SoftDelete,
        Delete,
        ForceDelete,
    )
}
