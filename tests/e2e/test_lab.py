"""The laboratory: its hosts are hosts of their own, a power cut takes all of one, and nothing is left of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.setup.lab.commands import LabError
from portal.setup.lab.laboratory import Laboratory
from tests.e2e.cloud import Cloud
from tests.e2e.lab import POOL_PATH, connected, domains, heal, laboratory, leases, stands_still, volumes
from tests.e2e.nacelle import ROOT, wait_until

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces"),
    pytest.mark.lab(hosts=3, shared=(1, 2)),
]


def traces(lab: Laboratory) -> list[str]:
    """What of a laboratory is seen on this machine outside of it, its own processes too."""
    links = [link for link in os.listdir("/sys/class/net") if link.startswith(lab.bridge)]
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout.splitlines()
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    said = [line for line in (*rules, *mounts) if lab.bridge in line or str(lab.folder) in line]
    processes = []
    for one in Path("/proc").glob("[0-9]*"):
        try:
            text = (one / "cmdline").read_bytes().decode(errors="replace") + (one / "mountinfo").read_text()
        except OSError:
            continue
        if str(lab.folder) in text:
            processes.append(f"process {one.name}")
    return [*links, *said, *processes, *([str(lab.folder)] if lab.plan else [])]


def test_hosts_are_hosts_of_their_own(lab: Laboratory) -> None:
    uuids, names = set(), []
    for host in lab.hosts:
        with connected(host) as connection:
            names.append(connection.getHostname())
            uuids.add(connection.getCapabilities().split("<uuid>")[1].split("<")[0])
            assert connection.listAllDomains() == []
            assert connection.listAllNetworks() == []
    assert names == ["lab-1", "lab-2", "lab-3"]
    assert len(uuids) == 3


def test_storage_is_shared_by_those_that_were_named_and_no_other(lab: Laboratory) -> None:
    lab.host(1).execute("touch", f"{POOL_PATH}/seen")
    lab.host(2).execute("test", "-e", f"{POOL_PATH}/seen")
    lab.host(2).execute("rm", f"{POOL_PATH}/seen")
    with pytest.raises(LabError):
        lab.host(3).execute("test", "-e", str(POOL_PATH))


def test_it_is_made_once(lab: Laboratory) -> None:
    before = [host.processes() for host in lab.hosts]
    heal(lab)
    assert [host.processes() for host in lab.hosts] == before


def test_other_storage_or_no_such_host_is_refused(lab: Laboratory) -> None:
    plan = lab.plan
    with pytest.raises(LabError, match="make lab-down"):
        lab.up(3, [2, 3], str(POOL_PATH))
    with pytest.raises(LabError, match="hosts 1 to 3, not by 4"):
        lab.up(3, [4], str(POOL_PATH))
    with pytest.raises(LabError, match="1 to 99"):
        lab.up(100)
    with pytest.raises(LabError, match="no 4"):
        lab.host(4)
    assert lab.plan == plan


def test_guests_boot_on_several_hosts_and_one_loses_its_power(lab: Laboratory, lab_cloud: Cloud) -> None:
    servers = {n: lab_cloud.launch(f"on-{n}", availability_zone=f"nova:lab-{n}") for n in (1, 3)}
    for number, server_id in servers.items():
        server = lab_cloud.wait_for_status(server_id, "ACTIVE")
        assert server["OS-EXT-SRV-ATTR:host"] == f"lab-{number}"
        (address,) = next(iter(server["addresses"].values()))
        host, mac = lab.host(number), address["OS-EXT-IPS-MAC:mac_addr"]
        given = wait_until("an address is given out", lambda: leases(host).get(mac), pause=0.5)
        assert given == address["addr"]
        lab_cloud.wait_for_login(server_id)
        assert domains(host)[server_id]
        assert [name for name in volumes(host) if server_id in name]
        assert host.pid_of_guest(server_id)
    lost = lab.host(3)
    gone = list(lost.processes().values())
    lost.power_off()
    assert not [pid for pid in gone if Path(f"/proc/{pid}").exists()]
    assert not lost.answers()
    assert domains(lab.host(1))[servers[1]]
    lab.power_on(3)
    assert domains(lost) == {servers[3]: False}


def test_a_libvirtd_is_killed_stopped_and_cut_off(lab: Laboratory) -> None:
    host, other = lab.host(2), lab.host(1)
    host.kill_libvirtd()
    assert host.pid_of("libvirtd") is None
    host.start_libvirtd()
    assert domains(host) == {}
    host.signal_libvirtd(signal.SIGSTOP)
    wait_until("it stands still", lambda: stands_still(host))
    host.signal_libvirtd(signal.SIGCONT)
    host.cut()
    assert not host.answers()
    assert other.answers()
    host.mend()
    wait_until("it is reached again", host.answers)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a Nacelle and its laboratory are."""
    made = Path(tempfile.mkdtemp(prefix="lab-"))
    yield made
    Laboratory(made / "lab").down()
    shutil.rmtree(made, ignore_errors=True)


def test_one_whose_making_was_killed_goes_without_a_trace(folder: Path) -> None:
    lab = Laboratory(folder / "lab")
    command = [sys.executable, "manage.py", "lab"]
    environment = {**os.environ, "NACELLE_DATA_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "portal.settings"}
    with subprocess.Popen([*command, "up", "--hosts", "2"], cwd=ROOT, env=environment) as making:
        wait_until("the first host is being made", (lab.folder / "1" / "init").exists, pause=0.001)
        making.kill()
    assert traces(lab)
    removed = subprocess.run([*command, "down"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert removed.returncode == 0, removed.stderr
    assert traces(lab) == []


def test_nothing_is_left_of_one_with_guests() -> None:
    with laboratory(hosts=1) as lab:
        with connected(lab.host(1)) as connection:
            connection.createXML(
                "<domain type='qemu'><name>left</name><memory unit='MiB'>32</memory><os><type>hvm</type></os></domain>"
            )
        assert len(traces(lab)) > 3
    assert traces(lab) == []


def test_who_is_not_root_is_told_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="root"):
        Laboratory(folder / "lab").up(1)
    assert not (folder / "lab").exists()


def test_what_is_not_installed_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.setup.lab.commands.PATH", str(folder))
    with pytest.raises(LabError, match=r"apt install .*libvirt-daemon-system"):
        Laboratory(folder / "lab").up(1)


def test_a_machine_with_routes_to_the_whole_range_is_told_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = folder / "route"
    table.write_text("Iface Destination Gateway Flags RefCnt Use Metric Mask\nx 000012C6 0 0 0 0 0 0000FEFF\n")
    monkeypatch.setattr("portal.setup.lab.laboratory.ROUTES", table)
    with pytest.raises(LabError, match=r"198\.18\.0\.0/15"):
        Laboratory(folder / "lab").up(1)
