"""Each operation on a real guest, asked by the real `openstack` command, and what the guest showed of it.

The run writes the table `var/operations-on-real-guests.md`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import libvirt
import pytest

from compute.operations import OPERATIONS
from tests.e2e.cloud import SERVERS, Cloud
from tests.e2e.nacelle import ROOT, Nacelle, wait_until
from tests.e2e.openstack_command import OpenStack
from tests.e2e.seen import Seen, Table, actions
from tests.e2e.serial_port import SHOW_ADDRESS, asked, uptime

pytestmark = [pytest.mark.real, pytest.mark.client]

TABLE = ROOT / "var" / "operations-on-real-guests.md"
# Deletions can be taken back, and a shelved server stays until it is told to leave.
SETTINGS = {"NACELLE_RECLAIM_SECONDS": "86400", "NACELLE_SHELVED_OFFLOAD_SECONDS": "-1", "NACELLE_LEASE_SECONDS": "4"}
PAUSED_SECONDS = 3.0
FILE = "/mnt/disk/file"
ROOT_SIZE = "echo size $(cat /sys/block/vda/size)"
GIB = 1 << 30
# Those need another host, or a guest that somebody else has made, and have tests of their own.
ELSEWHERE = {"migrate", "live_migration", "evacuate", "adopt"}
LONG_SECONDS = 1800  # dozens of operations, a dozen of them with a boot


@pytest.fixture(scope="module")
def own() -> Iterator[Cloud]:
    """A Nacelle with these settings, its first instance running."""
    nacelle = Nacelle(**SETTINGS)
    try:
        nacelle.build_image()
        nacelle.start()
        cloud = Cloud(nacelle)
        hello = cloud.named("hello")
        assert hello is not None
        cloud.wait_for_status(hello["id"], "ACTIVE")
        yield cloud
        cloud.close()
    finally:
        nacelle.remove()


class Story:
    """The life of one server, told to the table."""

    def __init__(self, cloud: Cloud, openstack: OpenStack, table: Table, name: str, flavor: str = "m1.nano") -> None:
        self.cloud, self.openstack, self.table, self.name = cloud, openstack, table, name
        wanted = ("--flavor", flavor, "--image", "tiny", "--network", "private", name)
        self.id = str(openstack.json("server", "create", *wanted)["id"])
        table.created(cloud, self.id)

    def do(self, operation: str, words: str, end: str) -> Seen:
        """Ask with the command; ``NAME`` among its words is the server."""
        command = [self.name if word == "NAME" else word for word in words.split()]
        return self.tell(operation, f"openstack {words}", lambda: self.openstack(*command), end)

    def call(self, operation: str, end: str, **action: Any) -> Seen:
        """Ask by the API for an action that the command has no word for."""
        path = f"{SERVERS}/{self.id}/action"
        return self.tell(operation, next(iter(action)), lambda: self.post(path, action), end)

    def tell(self, operation: str, asked_by: str, ask: Callable[[], Any], end: str) -> Seen:
        """Add a line."""
        return self.table.do(self.cloud, self.id, operation, asked_by, ask, end)

    def guest(self, *commands: str) -> str:
        """What the guest's shell prints."""
        return asked(self.cloud, self.id, *commands)

    def uptime(self) -> float:
        """Seconds since the guest's kernel started."""
        return uptime(self.cloud, self.id)

    def has_file(self, content: str) -> str:
        """The guest's file holds this."""
        assert f"\n{content}\n" in self.guest(f"cat {FILE}")
        return f"its file on the disk says '{content}'"

    def post(self, path: str, body: dict[str, Any]) -> None:
        """Ask by the API, at its lowest version: some actions went with later ones."""
        answer = self.cloud.wire.post(path, body)
        assert answer.status in (200, 202), (answer.status, answer.content[:500])


@pytest.mark.timeout(LONG_SECONDS)
def test_every_operation(own: Cloud, cloud: Cloud, tmp_path: Path) -> None:
    table = Table()
    try:
        openstack = OpenStack(own.nacelle, tmp_path)
        make_flavors(openstack)
        story = Story(own, openstack, table, "table", "roomy")
        for chapter in CHAPTERS:
            chapter(story)
        last = Story(cloud, OpenStack(cloud.nacelle, tmp_path), table, "deleted")
        last.do("delete", "server delete NAME", "gone").shows(leaves_nothing(last))
    finally:
        table.write(TABLE)
    expected = set(OPERATIONS) - ELSEWHERE
    assert {line.operation for line in table.lines} == expected, "an operation is missing, or unknown"


def make_flavors(openstack: OpenStack) -> None:
    """One with room to grow while it runs, one to grow to, and one with a larger disk."""
    for name, ram, disk in (("roomy", 128, 1), ("grown", 256, 1), ("larger", 256, 2)):
        openstack("flavor", "create", "--ram", str(ram), "--disk", str(disk), "--vcpus", "1", name)
    openstack("flavor", "set", "--property", "nacelle:max_memory_mb=512", "roomy")


def begin(story: Story) -> None:
    """It boots, and writes a file to its disk."""
    story.table.lines[-1].shows(f"its console says '{story.name} login:'")
    assert f"{story.name} login:" in story.cloud.wait_for_login(story.id)
    story.guest(f"echo first > {FILE}", "sync")


def stand_still(story: Story) -> None:
    """Pause and suspend: no time passes in the guest, and its uptime goes on counting afterwards."""
    before, clock = story.uptime(), time.monotonic()
    story.do("pause", "server pause NAME", "PAUSED").shows("libvirt says paused")
    time.sleep(PAUSED_SECONDS)
    line = story.do("unpause", "server unpause NAME", "ACTIVE")
    after = story.uptime()
    assert before < after < before + time.monotonic() - clock - PAUSED_SECONDS / 2
    line.shows(f"its uptime counts on, without the pause: {before:.1f} → {after:.1f} s")
    story.do("suspend", "server suspend NAME", "SUSPENDED").shows("the guest is off, its memory is on the host's disk")
    assert not story.cloud.is_running(story.id)
    line = story.do("resume", "server resume NAME", "ACTIVE")
    resumed = story.uptime()
    assert resumed > after
    line.shows(f"its uptime counts on: {after:.1f} → {resumed:.1f} s")


def power(story: Story) -> None:
    """Stop, start, both reboots, and a guest that was started behind Nacelle's back."""
    story.do("stop", "server stop NAME", "SHUTOFF").shows("the guest shut itself down")
    assert not story.cloud.is_running(story.id)
    story.tell("keep_off", "nobody: started with libvirt", lambda: start_behind(story), "SHUTOFF").shows("off again")
    assert not story.cloud.is_running(story.id)
    for operation, words in (
        ("start", "server start NAME"),
        ("reboot", "server reboot --soft NAME"),
        ("reboot_hard", "server reboot --hard NAME"),
    ):
        clock = time.monotonic()
        line = story.do(operation, words, "ACTIVE")
        fresh = story.uptime()
        assert fresh < time.monotonic() - clock + 1
        line.shows(f"uptime {fresh:.1f} s, {story.has_file('first')}")


def start_behind(story: Story) -> None:
    """Start the guest with libvirt, and wait until somebody has switched it off."""
    domain = story.cloud.libvirt.lookupByUUIDString(story.id)
    wait_until("the guest is on", partial(comes_on, domain))  # the QEMU that has just stopped may hold its disk
    wait_until("the guest is off again", lambda: not domain.isActive())


def comes_on(domain: Any) -> bool:
    """Whether it could be started."""
    with suppress(libvirt.libvirtError):
        domain.create()
        return True
    return False


def change_size(story: Story) -> None:
    """Grown while it runs; then resized, taken back, resized and confirmed."""
    flavor = story.openstack.json("flavor", "show", "grown")["id"]
    path = f"/nacelle/v1/servers/{story.id}/live-resize"
    before = story.uptime()
    line = story.tell("live_resize", "POST …/live-resize", lambda: story.post(path, {"flavor": flavor}), "ACTIVE")
    wait_until("the guest has the memory", lambda: memory_kib(story) > 180 * 1024)
    assert story.uptime() > before
    line.shows("its memory has grown, and its uptime counts on")
    story.do("resize", "server resize --flavor larger NAME", "VERIFY_RESIZE").shows(disk_is(story, 2))
    story.do("revertResize", "server resize revert NAME", "ACTIVE").shows(disk_is(story, 1))
    story.do("resize", "server resize --flavor larger NAME", "VERIFY_RESIZE").shows(disk_is(story, 2))
    story.do("confirmResize", "server resize confirm NAME", "ACTIVE").shows(story.has_file("first"))


def memory_kib(story: Story) -> int:
    """The guest's memory."""
    said = story.guest("echo memory $(grep MemTotal /proc/meminfo)")
    return int(next(line.split()[2] for line in said.splitlines() if line.startswith("memory Mem")))


def disk_is(story: Story, size_gb: int) -> str:
    """The guest's root disk is so large, and holds the file."""
    assert f"\nsize {size_gb * GIB // 512}\n" in story.guest(ROOT_SIZE)
    return f"vda has {size_gb} GiB, {story.has_file('first')}"


def other_disks(story: Story) -> None:
    """Rescue and rebuild."""
    line = story.do("rescue", "server rescue NAME", "RESCUE")
    mount = ("mkdir -p /tmp/old", "mount -t ext4 /dev/vdb2 /tmp/old", "cat /tmp/old/file", "umount /tmp/old")
    assert "\nfirst\n" in story.guest(*mount)
    line.shows("the old disk is vdb, and has the file")
    story.do("unrescue", "server unrescue NAME", "ACTIVE").shows(story.has_file("first"))
    addresses = story.cloud.server(story.id)["addresses"]
    line = story.do("rebuild", "server rebuild --image tiny NAME", "ACTIVE")
    assert "No such file" in story.guest(f"cat {FILE}")
    assert story.cloud.server(story.id)["addresses"] == addresses
    line.shows("the file is gone, the address is the same")
    story.guest(f"echo second > {FILE}", "sync")


def copies(story: Story) -> None:
    """Images of its disk: a new instance has the file."""
    line = story.do("create_image", "server image create --name table-image NAME", "ACTIVE")
    image = story.openstack.json("image", "show", "table-image")
    assert image["status"] == "active"
    wanted = ("--flavor", "larger", "--image", "table-image", "--network", "private", "--wait", "table-copy")
    copy = story.openstack.json("server", "create", *wanted)["id"]
    assert "\nsecond\n" in asked(story.cloud, copy, f"cat {FILE}")
    line.shows("a new instance of the image has the file")
    story.openstack("server", "delete", "--force", "--wait", "table-copy")
    words = "server backup create --name table-backup --type daily --rotate 1 NAME"
    story.do("create_backup", words, "ACTIVE").shows("the image table-backup is active")
    assert story.openstack.json("image", "show", "table-backup")["status"] == "active"


def leave_the_host(story: Story) -> None:
    """Shelve, offload, unshelve."""
    address = story.cloud.server(story.id)["addresses"]["private"][0]["addr"]
    story.do("shelve", "server shelve NAME", "SHELVED").shows(f"the image {story.name}-shelved is active")
    assert story.openstack.json("image", "show", f"{story.name}-shelved")["status"] == "active"
    line = story.call("shelve_offload", "SHELVED_OFFLOADED", shelveOffload=None)
    assert story.cloud.volumes(story.id) == []
    assert story.id not in story.cloud.guests()
    line.shows("no guest and no volume on the host")
    line = story.do("unshelve", "server unshelve NAME", "ACTIVE")
    assert f" {address}/" in story.guest(SHOW_ADDRESS)
    line.shows(f"{story.has_file('second')}, address {address} as before")


def back_in_time(story: Story) -> None:
    """An in-place snapshot with memory: the guest goes on where it was, and its file is what it was."""
    snapshots = f"/nacelle/v1/servers/{story.id}/snapshots"
    taken = {"name": "before", "memory": True}
    line = story.tell("create_snapshot", "POST …/snapshots", lambda: story.post(snapshots, taken), "ACTIVE")
    before = story.uptime()
    line.shows(f"it goes on: uptime {before:.1f} s")
    (snapshot,) = story.cloud.wire.get(snapshots).json["snapshots"]
    story.guest(f"echo third > {FILE}", "sync")
    path = f"{snapshots}/{snapshot['id']}"
    line = story.tell("revert_snapshot", "POST …/revert", lambda: story.post(f"{path}/revert", {}), "ACTIVE")
    line.shows(f"{story.has_file('second')} again")
    story.tell("delete_snapshot", "DELETE …", lambda: story.cloud.wire.delete(path), "ACTIVE").shows("none is left")
    assert story.cloud.wire.get(snapshots).json["snapshots"] == []


def network_cards(story: Story) -> None:
    """A card and an address come and go while the guest runs."""
    line = story.do("attach_interface", "server add network NAME private", "ACTIVE")
    assert "\neth1\n" in story.guest("ls -1 /sys/class/net")
    line.shows("eth1 is there")
    second = max(story.openstack.json("port", "list", "--server", story.name), key=lambda port: str(port["ID"]))
    line = story.do("detach_interface", f"server remove port NAME {second['ID']}", "ACTIVE")
    assert len(story.openstack.json("port", "list", "--server", story.name)) == 1
    assert len(story.guest("ls -1 /sys/class/net").split("eth")) == 2
    line.shows("one card is left")
    network = story.openstack.json("network", "show", "private")["id"]
    first = addresses_of(story)
    line = story.call("add_fixed_ip", "ACTIVE", addFixedIp={"networkId": network})
    (extra,) = addresses_of(story) - first
    line.shows(f"it has {extra} besides")
    line = story.call("remove_fixed_ip", "ACTIVE", removeFixedIp={"address": extra})
    assert addresses_of(story) == first
    line.shows(f"{extra} is free again")


def addresses_of(story: Story) -> set[str]:
    """The server's addresses."""
    return {str(one["addr"]) for one in story.cloud.server(story.id)["addresses"]["private"]}


def small_things(story: Story) -> None:
    """What changes neither its power nor its disk."""
    line = story.do("trigger_crash_dump", "server dump create NAME", "ACTIVE")
    assert "NMI" in story.guest("dmesg | grep NMI")
    line.shows("its kernel's log names the NMI")
    line = story.call("inject_network_info", "ACTIVE", injectNetworkInfo=None)
    line.shows("the guest is not touched")
    story.openstack("image", "set", "--property", "hw_qemu_guest_agent=true", "tiny")  # which it has not
    line = story.do("change_password", "server set --password a-new-one NAME", "ACTIVE")
    said = actions(story.cloud, story.id)[0]["message"]
    assert "agent" in str(said)
    line.shows(f"the guest has no agent, and the log says so: {said}")


def be_deleted(story: Story) -> None:
    """Deleted so that it can be taken back, taken back, and deleted for good."""
    line = story.do("soft_delete", "server delete NAME", "SOFT_DELETED")
    assert not story.cloud.is_running(story.id)
    line.shows("the guest is off, its disk is there")
    line = story.do("restore", f"server restore {story.id}", "ACTIVE")
    line.shows(story.has_file("second"))
    story.do("force_delete", "server delete --force NAME", "gone").shows(leaves_nothing(story))


def leaves_nothing(story: Story) -> str:
    """Neither guest nor volume of it is on the host."""
    assert story.id not in story.cloud.guests()
    assert story.cloud.volumes(story.id) == []
    return "no guest and no volume on the host"


CHAPTERS = (
    begin,
    stand_still,
    power,
    change_size,
    other_disks,
    copies,
    leave_the_host,
    back_in_time,
    network_cards,
    small_things,
    be_deleted,
)
