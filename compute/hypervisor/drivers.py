"""Which driver speaks to a host, by the scheme of its URI."""

from __future__ import annotations

from urllib.parse import urlsplit

from compute.hypervisor.fake import FakeHypervisor
from compute.hypervisor.interface import Hypervisor
from compute.hypervisor.libvirt import DEFAULT_POOL, DEFAULT_POOL_PATH, LibvirtHypervisor

LIBVIRT_SCHEMES = ("qemu", "qemu+ssh", "qemu+libssh", "qemu+libssh2", "qemu+tls", "qemu+tcp", "qemu+unix", "test")


def open_hypervisor(uri: str, *, pool: str = DEFAULT_POOL, pool_path: str = DEFAULT_POOL_PATH) -> Hypervisor:
    """The driver for this host. Nothing is opened yet; the first verb does that.

    ``pool`` and ``pool_path`` are the storage pool's name and folder on the host. Raises ValueError
    for a URI that no driver knows.
    """
    scheme = urlsplit(uri).scheme
    if scheme in LIBVIRT_SCHEMES:
        return LibvirtHypervisor(uri, pool, pool_path)
    if scheme == "fake":
        return FakeHypervisor(uri)
    known = ", ".join(f"{one}://" for one in (*LIBVIRT_SCHEMES, "fake"))
    raise ValueError(f"No driver for the host URI {uri!r}; it begins with one of {known}.")
