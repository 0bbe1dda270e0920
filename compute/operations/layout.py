"""An instance's disks: which ones its flavor gives it, and on which volumes.

The root disk, the ephemeral disk and the swap disk are the flavor's; the config drive everybody has.
A disk's volume is called after the instance's uuid and its role. What replaces a disk (a rebuild, a
resize) makes a volume of another name beside it; the row ``Instance.volume_names`` says which one
counts, so that the change happens in one transaction and the old disk is there until then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from compute.hypervisor.interface import Disk
from compute.models import Instance


@dataclass(frozen=True)
class Layout:
    """The disks that an instance has with a flavor (``Flavor.snapshot``), and the names of their volumes."""

    instance_id: UUID
    flavor: dict[str, Any]
    names: dict[str, str] = field(default_factory=dict)
    adopted: bool = False  # then its disks are none of ours

    @classmethod
    def of(cls, instance: Instance) -> Layout:
        """As the instance's row says."""
        return cls(instance.id, instance.flavor, dict(instance.volume_names), instance.is_adopted)

    @property
    def own(self) -> tuple[str, ...]:
        """The roles of the disks that the flavor gives, in the order in which a guest sees them."""
        roles = ["root"]
        if self.flavor["ephemeral_gb"]:
            roles.append("ephemeral0")
        if self.flavor["swap_mb"]:
            roles.append("swap")
        return tuple(roles)

    def volume(self, role: str) -> str:
        """The volume's name of a disk."""
        return f"{self.instance_id}-{self.names.get(role, role)}"

    def volumes(self) -> list[str]:
        """Every volume that belongs to it."""
        if self.adopted:
            return []
        rescue = ["rescue"] if "rescue" in self.names else []
        return [self.volume(role) for role in (*rescue, *self.own, "config")]

    def disks(self) -> tuple[Disk, ...]:
        """As the guest gets them. While it is being rescued, the rescue disk comes first and boots."""
        roles = ("rescue", *self.own) if "rescue" in self.names else self.own
        letters = "abcdefghij"
        return (
            *(
                Disk(
                    volume=self.volume(role),
                    target=f"vd{letters[index]}",
                    boot_order=None if index else 1,
                )
                for index, role in enumerate(roles)
            ),
            Disk(volume=self.volume("config"), target="vdz", format="raw", read_only=True),
        )

    def without_rescue(self) -> Layout:
        """The same, booting from its own disk."""
        return replace(self, names={role: name for role, name in self.names.items() if role != "rescue"})

    def renamed(self, roles: Iterable[str], number: int) -> Layout:
        """The same with other volumes for these disks: those that the action of this number makes."""
        return replace(self, names={**self.names, **{role: f"{role}-{number}" for role in roles}})
