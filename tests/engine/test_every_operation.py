"""Every operation there is, and each of its calls to the host: it fails, never returns, or its worker dies.

Afterwards rows and host agree, nothing is left behind, and the user can act, up to a deletion without a trace.
What each operation does besides is for the tests of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.utils import timezone

from compute import quota
from compute.hosts.connections import hypervisor_of
from compute.hosts.registration import learn
from compute.hosts.watch import HostWatch
from compute.images.verbs import delete_image
from compute.models import (
    OPEN_MIGRATIONS,
    OPEN_STATES,
    Action,
    Flavor,
    Host,
    Image,
    Instance,
    Migration,
    Network,
    Port,
    Snapshot,
    Subnet,
    VmState,
)
from compute.networks.plugging import NetworkRequest
from compute.operations import OPERATIONS
from compute.operations.create import BootRequest, create
from compute.operations.engine import offered, request
from compute.operations.held import amounts
from compute.operations.layout import Layout
from compute.operations.password import change_password
from compute.operations.rebuild import RebuildRequest, rebuild
from compute.reconciliation import differences
from portal.identity.actor import SYSTEM
from portal.identity.policy import allows
from tests.conftest import Cloud, Persona
from tests.engine.matrix import assert_gone, calls_made, do, finish, shared_host, strike

__all__ = ["shared_host"]
SECOND = "second"
pytestmark = pytest.mark.django_db(transaction=True)


class Story:
    """Somebody who does things to instances on a host that is told to fail."""

    def __init__(self, cloud: Cloud, persona: Persona, host: Host, settings: Any) -> None:
        self.cloud, self.persona, self.host, self.settings = cloud, persona, host, settings
        cloud.image.properties = {"hw_qemu_guest_agent": "yes"}
        cloud.image.save()
        self.others_files = stored() - {str(cloud.image.pk)}
        self.names = (f"one {number}" for number in itertools.count())
        Flavor.objects.create(id="large", name="large", vcpus=2, memory_mb=256, disk_gb=2, swap_mb=8)
        Flavor.objects.create(id="more", name="more", vcpus=2, memory_mb=256, disk_gb=1)
        room = {"nacelle:max_vcpus": "4", "nacelle:max_memory_mb": "1024"}
        Flavor.objects.create(id="roomy", name="roomy", vcpus=1, memory_mb=128, disk_gb=1, extra_specs=room)
        self.first = NetworkRequest(network_id=cloud.network.id)
        self.network = Network.objects.create(name="second", project=persona.project)
        Subnet.objects.create(
            network=self.network, project=persona.project, cidr="10.99.0.0/24", gateway_ip="10.99.0.1",
            allocation_pools=[{"start": "10.99.0.2", "end": "10.99.0.200"}],
        )  # fmt: skip

    def create(self, flavor: str = "roomy") -> Instance:
        """One that is to be built, on the host that is told to fail."""
        Host.objects.filter(name=SECOND).update(enabled=False)
        wanted = BootRequest(name="web", flavor_id=flavor, image_id=str(self.cloud.image.id), networks=(self.first,))
        return create(self.persona.actor, wanted)[0]

    def ready(self, operation: str) -> Instance:
        """One that the operation can be asked for."""
        instance = finish(self.create())
        for name in BEFORE.get(operation, ()):
            instance = do(instance, lambda one, name=name: self.ask(one, name))
        return instance

    def ask(self, instance: Instance, name: str) -> Any:
        """Ask for something, in its own words or by its name."""
        if special := ASK.get(name):
            return special(self, instance)
        return self.say(instance, name)

    def say(self, instance: Instance, name: str, /, **params: Any) -> Action:
        """Ask for an operation."""
        own, policy = self.persona.actor, OPERATIONS[name].policy
        actor = own if allows(own, policy, instance.project_id) else SYSTEM
        return request(OPERATIONS[name], Instance.objects.get(pk=instance.pk), actor, **params)


def lose_host(story: Story, instance: Instance) -> None:
    """It was on another host, which is off; nothing of it is on this one."""
    off = {"uri": "fake://gone", "state": "down", "fenced_at": timezone.now(), "storage_id": "its own"}
    gone, _ = Host.objects.get_or_create(name="gone", defaults=off)
    learn(story.host)
    driver = hypervisor_of(story.host)
    driver.remove(instance.id)
    for volume in driver.volumes(prefix=str(instance.id)):
        driver.delete_volume(volume)
    Instance.objects.filter(pk=instance.pk).update(host=gone)
    differences(fix=True)


def to_another_host(story: Story, instance: Instance, name: str) -> Action:
    """There is a second host, of which nothing else is asked."""
    room = {"vcpus": 8, "memory_mb": 8192, "disk_gb": 100, "state": "up"}
    uri = f"{story.host.uri.partition('?')[0]}?host={SECOND}"
    second, is_new = Host.objects.get_or_create(name=SECOND, defaults={"uri": uri, **room})
    for host in (story.host, second) if is_new else ():
        learn(host)
    Host.objects.filter(pk=second.pk).update(enabled=True)
    return story.say(instance, name)


# How each operation is asked for, where its name alone does not say it.
ASK: dict[str, Callable[[Story, Instance], Any]] = {
    "resize": lambda story, one: story.say(one, "resize", flavor_id="large"),
    "migrate": lambda story, one: to_another_host(story, one, "migrate"),
    "live_resize": lambda story, one: story.say(one, "live_resize", flavor_id="more"),
    "rebuild": lambda story, one: rebuild(story.persona.actor, one, RebuildRequest(str(story.cloud.image.id))),
    "change_password": lambda story, one: change_password(story.persona.actor, one, password="new"),
    "attach_interface": lambda story, one: story.say(one, "attach_interface", network_id=str(story.network.id)),
    "detach_interface": lambda story, one: story.say(one, "detach_interface", port_id=str(second_port(one).pk)),
    "add_fixed_ip": lambda story, one: story.say(one, "add_fixed_ip", network_id=str(story.cloud.network.id)),
    "remove_fixed_ip": lambda story, one: story.say(one, "remove_fixed_ip", address=last_address(one)),
    "create_image": lambda story, one: story.say(one, "create_image", name="copy"),
    "create_backup": lambda story, one: story.say(
        one, "create_backup", name="copy", backup_type="daily", rotation=1
    ),
    "create_snapshot": lambda story, one: story.say(one, "create_snapshot", name=next(story.names), memory=True),
    "revert_snapshot": lambda story, one: story.say(one, "revert_snapshot", snapshot=str(Snapshot.objects.get().pk)),
    "lose_host": lose_host,
    "live_migration": lambda story, one: to_another_host(story, one, "live_migration"),
    "run_behind_our_back": lambda story, one: hypervisor_of(story.host).start(one.id),
    "delete_snapshot": lambda story, one: story.say(one, "delete_snapshot", snapshot=str(Snapshot.objects.get().pk)),
}  # fmt: skip
# What comes before each, besides the boot.
BEFORE: dict[str, tuple[str, ...]] = {
    "start": ("stop",),
    "unpause": ("pause",),
    "resume": ("suspend",),
    "restore": ("soft_delete",),
    "unshelve": ("shelve",),
    "confirmResize": ("resize",),
    "revertResize": ("resize",),
    "unrescue": ("rescue",),
    "detach_interface": ("attach_interface",),
    "remove_fixed_ip": ("add_fixed_ip",),
    "revert_snapshot": ("create_snapshot",),
    "delete_snapshot": ("create_snapshot",),
    "shelve_offload": ("shelve",),
    "evacuate": ("lose_host",),
    "keep_off": ("stop", "run_behind_our_back"),
}


def second_port(instance: Instance) -> Port:
    return instance.ports.order_by("position", "created_at")[1]


def last_address(instance: Instance) -> str:
    return str(list(instance.ports.get().addresses.all())[-1].address)


# In tests of their own every call of these fails, and kills its worker.
MORE_ELSEWHERE = frozenset({
    "create", "delete", "force_delete", "pause", "unpause", "suspend", "resume", "trigger_crash_dump", "restore",
    "inject_network_info", "soft_delete", "resize", "confirmResize", "revertResize", "rescue", "unrescue", "rebuild",
    "shelve", "unshelve", "create_image", "create_backup", "live_resize", "attach_interface", "detach_interface",
    "evacuate", "live_migration", "add_fixed_ip", "remove_fixed_ip", "create_snapshot", "revert_snapshot",
    "delete_snapshot",
})  # fmt: skip
# How a guest may be in each state; in error and while a resize is open anyhow.
POWER = {
    "active": (1,), "rescued": (1,), "paused": (3,), "stopped": (4,), "suspended": (4,), "shelved": (0, 4),
    "soft-delete": (4,), "error": (0, 1, 3, 4), "resized": (1, 4),
}  # fmt: skip


# What a user does where a hard reboot is not allowed.
REMEDY = {"resized": "revertResize", "rescued": "unrescue", "shelved": "shelve_offload"}


@pytest.fixture
def story(cloud: Cloud, alice: Persona, shared_host: Host, settings: Any) -> Story:
    """Somebody who owns things."""
    settings.SHELVED_OFFLOAD_SECONDS = -1
    settings.STATE_SYNC_SECONDS = 0
    return Story(cloud, alice, shared_host, settings)


# What leads from one host to another has two that can fail: test_every_move.py.
BETWEEN_HOSTS = frozenset({"migrate"})


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in BETWEEN_HOSTS])
def test_whatever_happens_to_the_host_or_the_worker_it_ends_soundly(story: Story, name: str) -> None:
    kinds = [("hang", "before"), ("hang", "after")]
    kinds += [] if name in MORE_ELSEWHERE else [("fail", "before"), ("kill", "before"), ("kill", "after")]
    instance = prepared(story, name)
    calls = calls_made(story.host, lambda: do(instance, lambda one: asked(story, one, name)))
    assert calls >= 1
    clear_away(story, Instance.objects.get(pk=instance.pk))
    for kind, when in kinds:
        for call in range(1, calls + 1):
            fault = (kind, call, when)
            instance = strike(story.host, prepared(story, name), lambda one: asked(story, one, name), fault)
            assert_said(story, instance, name, fault)
            instance = looked_after(story, instance, fault)
            assert_agrees(story, instance, fault)
            clear_away(story, instance)


def prepared(story: Story, name: str) -> Instance:
    """What the operation can be asked for; to be created is the beginning of all."""
    return story.create() if name == "create" else story.ready(name)


def asked(story: Story, instance: Instance, name: str) -> None:
    """It is asked for; a creation has been."""
    if name != "create":
        story.ask(instance, name)


def looked_after(story: Story, instance: Instance, fault: tuple[str, int, str]) -> Instance:
    """Watchers have looked. What a call did after it was given up and no rule puts right, its user does."""
    for other in Host.objects.filter(name=SECOND):
        learn(other)
    HostWatch(story.host)._sync(hypervisor_of(story.host), at_start=True)
    instance = finish(instance)
    if fault[0] == "hang" and instance.host == story.host and not is_as_its_rows(story.host, instance):
        remedy = REMEDY.get(instance.vm_state, "reboot_hard")
        instance = do(instance, lambda one: story.say(one, remedy))
    return instance


def is_as_its_rows(host: Host, instance: Instance) -> bool:
    """Whether the guest runs or not as its state says, with its own disks and cards."""
    driver: Any = hypervisor_of(host)
    seen = driver.guest(instance.id)
    return (
        seen is not None
        and int(seen.power_state) in POWER[instance.vm_state]
        and driver.disks(instance.id) == [one.volume for one in Layout.of(instance).disks()]
        and set(driver.nics(instance.id)) == {port.mac for port in instance.ports.all()}
    )


def assert_said(story: Story, instance: Instance, name: str, about: tuple[str, int, str]) -> None:
    """The action has ended, and says why, if in error."""
    action = Action.objects.filter(instance=instance, operation=name).order_by("id").last()
    assert action is not None and action.finished_at is not None, about
    if about[0] == "kill":
        assert action.state == "done", (about, action.message)
    if action.state == "error":
        reason = "told to fail" if about[0] == "fail" else "did not answer within "
        assert reason in action.message, (about, action.message)
        assert story.host.name not in action.message


def assert_agrees(story: Story, instance: Instance, about: object) -> None:
    """Rows, host, store and counts agree; nobody is at it, and the user can do something."""
    assert instance.task_state is None and VmState(instance.vm_state), about
    assert not Action.objects.filter(instance=instance, state__in=OPEN_STATES).exists(), about
    assert stored() - story.others_files == {str(one.pk) for one in Image.objects.all()}, about
    assert set(Image.objects.values_list("status", flat=True)) == {"active"}, about
    if instance.deleted_at is not None:
        return assert_gone(story.host, instance)
    assert offered(instance, story.persona.actor), (about, instance.vm_state)
    if instance.host != story.host:
        assert instance.host is not None or instance.vm_state in ("error", "shelved_offloaded"), (about, instance)
        return assert_nothing_is_there(story.host, instance, about)
    assert_guest(story.host, instance, about)
    assert_held(story.host, instance, about)


def assert_guest(host: Host, instance: Instance, about: object) -> None:
    """The guest, its disks and its cards are as the rows say."""
    driver: Any = hypervisor_of(host)
    seen = driver.guest(instance.id)
    power = 0 if seen is None else int(seen.power_state)
    assert power == instance.power_state and power in POWER[instance.vm_state], (about, instance.vm_state, power)
    needed = set(Layout.of(instance).volumes())
    for one in Migration.objects.filter(instance=instance, status__in=OPEN_MIGRATIONS):
        needed |= set(Layout(instance.id, one.old_flavor, one.old_volume_names).volumes())
    there = set(driver.volumes(prefix=str(instance.id)))
    assert there == needed or (instance.vm_state in ("error", "shelved") and there < needed), (about, there ^ needed)
    if seen is not None and instance.vm_state != "error":
        assert driver.disks(instance.id) == [one.volume for one in Layout.of(instance).disks()], about
        assert set(driver.nics(instance.id)) == {port.mac for port in instance.ports.all()}, about


def assert_held(host: Host, instance: Instance, about: object) -> None:
    """The claim on the host and the quota are what the rows add up to."""
    now = Host.objects.get(pk=host.pk)
    held = [{"vcpus": instance.vcpus, "memory_mb": instance.memory_mb, "disk_gb": instance.disk_gb}]
    for one in Migration.objects.filter(instance=instance, status__in=OPEN_MIGRATIONS):
        held = [amounts(flavor) for flavor in (one.old_flavor, one.new_flavor)]
    for name in ("vcpus", "memory_mb", "disk_gb"):
        assert getattr(now, f"{name}_used") == sum(one[name] for one in held), (about, name)
    assert now.instances_used == 1, about
    counts = 0 if instance.vm_state == "soft-delete" else 1
    used = {
        "instances": counts,
        "cores": counts * max(one["vcpus"] for one in held),
        "memory_mb": counts * max(one["memory_mb"] for one in held),
    }
    assert quota.usage(instance.project_id) == used, about


def assert_nothing_is_there(host: Host, instance: Instance, about: object) -> None:
    """It is on no host; it counts in the quota as long as it is not deleted."""
    driver = hypervisor_of(host)
    now = Host.objects.get(pk=host.pk)
    assert driver.guest(instance.id) is None and driver.volumes(prefix=str(instance.id)) == {}, about
    assert (now.vcpus_used, now.memory_mb_used, now.disk_gb_used, now.instances_used) == (0, 0, 0, 0), about
    assert quota.usage(instance.project_id)["instances"] == 1, about


def stored() -> set[str]:
    """The files in the image store."""
    return {path.name for path in Path(django_settings.IMAGE_STORE).iterdir() if path.is_file()}


def clear_away(story: Story, instance: Instance) -> None:
    """The user deletes it, and what it left on purpose."""
    if instance.deleted_at is None:
        instance = do(instance, lambda one: story.say(one, "force_delete"))
    assert_gone(story.host, instance)
    assert not Port.objects.filter(instance=instance).exists()
    for image in Image.objects.exclude(pk=story.cloud.image.pk):
        delete_image(actor=story.persona.actor, image=image)
