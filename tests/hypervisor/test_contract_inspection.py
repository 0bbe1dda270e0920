"""What every driver promises about the host for whoever looks after it."""

from __future__ import annotations

import ipaddress
import time

import pytest

from compute.hypervisor.drivers import open_hypervisor
from compute.hypervisor.interface import Failed
from compute.hypervisor.libvirt import LibvirtHypervisor
from tests.hypervisor.conftest import Bench


def test_a_host_tells_its_details(bench: Bench) -> None:
    before = bench.driver.volumes().keys()
    details = bench.driver.inspect()
    assert any(pool.active and pool.kind == "dir" and pool.capacity_bytes > 0 for pool in details.pools)
    assert all(0 <= pool.available_bytes <= pool.capacity_bytes for pool in details.pools)
    assert "pc" in details.machine_types
    assert details.clock_ahead is not None
    assert abs(details.clock_ahead) <= 1 + details.clock_within
    assert details.clock_within >= 0
    assert details.certificate_until is None
    assert bench.driver.volumes().keys() == before


def test_networks_are_told_with_their_ranges_and_whose_they_are(bench: Bench) -> None:
    spec = bench.network()
    bench.driver.ensure_network(spec)
    ours = [one for one in bench.driver.inspect().networks if one.ours and str(spec.uuid) in one.name]
    assert [one.active for one in ours] == [True]
    if bench.kind == "libvirt":
        assert [ipaddress.ip_network(text) for text in ours[0].ranges] == [ipaddress.ip_network(spec.cidr)]


def test_a_hosts_own_cpu_fits_both_ways(bench: Bench) -> None:
    found = bench.driver.compare_cpu(bench.driver.inspect().cpu)
    assert (found.fits_here, found.fits_there) == (True, True)
    assert (found.lacking_here, found.lacking_there) == ((), ())


def test_a_cpu_with_more_does_not_fit_and_what_is_lacking_is_named(bench: Bench) -> None:
    own = bench.driver.inspect().cpu
    richer = (
        f"{own} avx9"
        if bench.kind == "fake"
        else own.replace("</cpu>", '<feature policy="require" name="avx512-vp2intersect"/></cpu>')
    )
    found = bench.driver.compare_cpu(richer)
    assert (found.fits_here, found.fits_there) == (False, True)
    assert found.lacking_here == (("avx9",) if bench.kind == "fake" else ("avx512-vp2intersect",))


def test_what_is_no_cpu_is_refused(bench: Bench) -> None:
    for text in ("", "nonsense", "<cpu"):
        with pytest.raises(Failed, match="no CPU"):
            bench.driver.compare_cpu(text)


def test_what_was_missing_is_named_once(bench: Bench) -> None:
    bench.driver.prepare()
    assert bench.driver.prepare() == ()


def test_a_fake_host_is_what_its_uri_says() -> None:
    driver = open_hypervisor("fake://told?clock=7&cpu=a,b&lan=10.77.0.0/16&pool=logical&disk=50&free=5")
    details = driver.inspect()
    assert (details.clock_ahead, details.pools[0].kind) == (7.0, "logical")
    assert details.pools[0].available_bytes == 5 * 1024**3
    assert details.networks[0].ranges == ("10.77.0.0/16",)
    assert driver.compare_cpu("fake-cpu b,c").lacking_there == ("a",)
    driver.close()


@pytest.mark.real
def test_what_a_dead_check_left_is_cleared(real: LibvirtHypervisor) -> None:
    real.create_volume("nacelle-clock-00000000", 0, "raw")
    real.inspect()
    assert real.volumes("nacelle-clock-") == {}


@pytest.mark.real
def test_pools_that_are_missing_are_made_and_told(real: LibvirtHypervisor) -> None:
    name = f"{real._session.pool_name}-made-{time.time_ns()}"
    other = LibvirtHypervisor("qemu:///system", name, f"/var/lib/libvirt/images/{name}")
    try:
        assert other.prepare() == (
            f"the storage pool {name} in /var/lib/libvirt/images/{name}",
            f"the storage pool {name}-console in /var/lib/libvirt/images/{name}-console",
        )
        assert other.prepare() == ()
    finally:
        connection = other._session.connection()
        for one in (name, f"{name}-console"):
            pool = connection.storagePoolLookupByName(one)
            pool.destroy()
            pool.delete(0)
            pool.undefine()
        other.close()
