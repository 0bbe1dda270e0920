"""The kernel modules of the guest, in an order in which each finds what it needs."""

import re
from collections.abc import Iterable
from pathlib import Path

from compute.images.tiny.errors import BuildError

# One list for each moment of the boot; `init` says when it loads which.
MODULE_LISTS: dict[str, tuple[str, ...]] = {
    "disk": ("virtio_pci", "virtio_blk"),
    "cdrom": ("ata_piix", "ahci", "virtio_scsi", "sd_mod", "sr_mod"),
    "isofs": ("isofs",),
    "vfat": ("vfat", "nls_cp437", "nls_ascii", "nls_iso8859-1", "nls_utf8"),
    "network": ("virtio_net",),
    "button": ("evdev", "button"),
    "rest": ("virtio_balloon", "virtio_rng", "virtio_console"),
}
# Debian's cloud kernel is built without AHCI; the list asks for it so that a kernel that has it serves.
OPTIONAL_MODULES = frozenset({"ahci"})

SIGNATURE_MARK = b"~Module signature appended~\n"
SIGNATURE_FACTS_SIZE = 12


def canonical_name(name: str) -> str:
    """Spell a module's name with underscores, as the kernel does."""
    return name.replace("-", "_")


def read_dependencies(module: Path) -> list[str]:
    """Read which modules a module needs first, from the information section inside it.

    Args:
        module: The module's file, not compressed.

    Returns:
        Names, as the kernel spells them.
    """
    found = re.search(rb"\0depends=([^\0]*)\0", module.read_bytes())
    names = found.group(1).decode() if found else ""
    return [canonical_name(name) for name in names.split(",") if name]


def without_signature(content: bytes) -> bytes:
    """Cut off a module's signature, whose check takes an emulated processor longer than all else.

    Args:
        content: The module, with or without a signature behind it.
    """
    if not content.endswith(SIGNATURE_MARK):
        return content
    end = len(content) - len(SIGNATURE_MARK)
    signature_size = int.from_bytes(content[end - 4 : end], "big")
    return content[: end - SIGNATURE_FACTS_SIZE - signature_size]


class ModuleTree:
    """The modules that one kernel package brought."""

    def __init__(self, folder: Path) -> None:
        """Find the modules.

        Args:
            folder: The kernel's own folder, `lib/modules/VERSION`.
        """
        self.files = {canonical_name(path.stem): path for path in folder.rglob("*.ko")}
        lines = (folder / "modules.builtin").read_text().splitlines()
        self.built_in = {canonical_name(Path(line).stem) for line in lines}

    def in_load_order(self, wanted: Iterable[str]) -> list[str]:
        """List modules and all that they need, each behind what it needs.

        Args:
            wanted: Names of modules; those built into the kernel are left out.

        Raises:
            BuildError: The kernel has no such module.
        """
        ordered: list[str] = []
        for name in map(canonical_name, wanted):
            if name in self.built_in or name in ordered:
                continue
            if name not in self.files:
                if name in OPTIONAL_MODULES:
                    continue
                raise BuildError(f"The kernel has no module named {name}.")
            needed = self.in_load_order(read_dependencies(self.files[name]))
            ordered += [each for each in [*needed, name] if each not in ordered]
        return ordered
