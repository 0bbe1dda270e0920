"""Which driver speaks to a host, by the scheme of its URI."""

from __future__ import annotations

from compute.hypervisor import ways as known_ways
from compute.hypervisor.fake import FakeHypervisor
from compute.hypervisor.interface import Hypervisor
from compute.hypervisor.libvirt import DEFAULT_POOL, DEFAULT_POOL_PATH, LibvirtHypervisor
from compute.hypervisor.ways import Ways


def open_hypervisor(
    uri: str, *, pool: str = DEFAULT_POOL, pool_path: str = DEFAULT_POOL_PATH, ways: Ways | None = None
) -> Hypervisor:
    """The driver for this host. Nothing is opened yet; the first verb does that.

    ``pool`` and ``pool_path`` are the storage pool's name and folder on the host, ``ways`` what may be used to
    reach it: they are asked each time that the host is connected to. Raises ``ways.Refused``, a ValueError,
    for a URI that no driver knows.
    """
    scheme = known_ways.scheme_of(uri)
    return FakeHypervisor(uri) if scheme == "fake" else LibvirtHypervisor(uri, pool, pool_path, ways or Ways())
