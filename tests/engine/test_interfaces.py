"""Network cards that come and go, on a fake host: every state, every fault, and who comes in between."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from compute import errors
from compute.hosts.connections import hypervisor_of
from compute.hypervisor.fake.faults import FOR_EVER, Fault
from compute.models import OPEN_STATES, Action, Host, Instance, Network, Port, PortAddress, Snapshot, Subnet
from compute.networks import addresses, ports, quota
from compute.networks.errors import NetworkNotFound, PortInUse, PortNotFound
from compute.networks.plugging import NetworkRequest
from compute.networks.ports import PortRequest
from compute.operations import OPERATIONS, interfaces
from compute.operations.engine import request
from compute.operations.rebuild import RebuildRequest, rebuild
from compute.operations.worker import perform
from portal.identity.policy import Forbidden
from tests.engine.matrix import (
    assert_gone,
    assert_sound,
    boot,
    calls_made,
    do,
    each_fault,
    finish,
    shared_host,
    strike,
)

__all__ = ["shared_host"]
pytestmark = pytest.mark.django_db(transaction=True)
STATES = {"active": (), "paused": ("pause",), "stopped": ("stop",)}


def ask(persona: Any, instance: Instance, name: str, **params: Any) -> Action:
    return request(OPERATIONS[name], instance, persona.actor, **params)


def act_of(persona: Any, name: str, **params: Any) -> Any:
    return lambda instance: ask(persona, instance, name, **params)


def launched(persona: Any, cloud: Any, **changes: Any) -> Instance:
    """An instance that runs, with a card on the shared network."""
    return boot(persona, cloud, **{"networks": (NetworkRequest(network_id=cloud.network.id),), **changes})


def in_state(persona: Any, cloud: Any, state: str) -> Instance:
    instance = launched(persona, cloud)
    for name in STATES[state]:
        instance = do(instance, act_of(persona, name))
    return instance


def assert_cards(host: Host, instance: Instance, about: object = "") -> None:
    """The guest has exactly the cards of the rows, and each of those is in use, with an address."""
    rows = list(instance.ports.all())
    assert hypervisor_of(host).nics(instance.id) == {port.mac: port.network_id for port in rows}, about
    assert {port.status for port in rows} <= {"ACTIVE"}, about
    assert all(port.addresses.exists() for port in rows), about
    assert Port.objects.filter(instance=None, preserve=False).count() == 0, about


@pytest.mark.parametrize("state", list(STATES))
def test_a_card_comes_and_goes_in_each_state(cloud, shared_host, alice, backstage, state):
    instance = in_state(alice, cloud, state)
    action = ask(alice, instance, "attach_interface", network_id=str(backstage.id), address="10.99.0.7", tag="back")
    port = Port.objects.get(pk=action.params["port_id"])
    assert (port.instance_id, port.status, port.tag, port.position) == (instance.id, "BUILD", "back", 1)
    assert [one.address for one in port.addresses.all()] == ["10.99.0.7"]
    assert Instance.objects.get(pk=instance.pk).task_state is None
    instance = finish(instance)
    assert instance.vm_state == state
    assert instance.ports.count() == 2
    assert_cards(shared_host, instance)
    if state == "paused":
        instance = do(instance, act_of(alice, "unpause"))
    instance = do(instance, act_of(alice, "detach_interface", port_id=str(port.id)))
    assert not Port.objects.filter(pk=port.pk).exists()
    assert_cards(shared_host, instance)
    assert [action.state for action in Action.objects.filter(instance=instance)] == ["done"] * Action.objects.count()


def test_a_port_of_the_users_is_plugged_in_and_outlives_its_card(cloud, shared_host, alice, backstage):
    instance = launched(alice, cloud)
    port = ports.create_port(actor=alice.actor, wanted=PortRequest(network_id=backstage.id, name="mine"))
    instance = do(instance, act_of(alice, "attach_interface", port_id=str(port.id), tag="x"))
    assert_cards(shared_host, instance)
    with pytest.raises(PortInUse):
        ask(alice, launched(alice, cloud, name="two"), "attach_interface", port_id=str(port.id))
    do(instance, act_of(alice, "detach_interface", port_id=str(port.id)))
    port.refresh_from_db()
    assert (port.instance, port.status, port.tag, port.name) == (None, "DOWN", "", "mine")
    assert port.addresses.count() == 1
    assert_cards(shared_host, instance)


def test_without_a_name_it_is_the_only_network_or_the_projects_own(cloud, shared_host, alice, backstage):
    instance = do(launched(alice, cloud, networks=None), act_of(alice, "attach_interface"))
    assert {port.network_id for port in instance.ports.all()} == {backstage.id}
    other = Network.objects.create(name="other", project=cloud.demo)
    Subnet.objects.create(network=other, project=cloud.demo, cidr="10.98.0.0/24", gateway_ip="10.98.0.1")
    with pytest.raises(errors.Invalid, match="Multiple possible networks found"):
        ask(alice, instance, "attach_interface")


@pytest.mark.parametrize("later", ["reboot_hard", "rebuild", "shelve", "rescue", "resize"])
def test_what_comes_after_has_the_card_too(cloud, shared_host, alice, backstage, later):
    instance = do(launched(alice, cloud), act_of(alice, "attach_interface", network_id=str(backstage.id)))
    macs = {port.mac for port in instance.ports.all()}
    params = {"rebuild": {"image_id": str(cloud.image.id)}, "resize": {"flavor_id": "1"}}.get(later, {})
    if later == "rebuild":
        instance = do(instance, lambda one: rebuild(alice.actor, one, RebuildRequest(str(cloud.image.id))))
    else:
        instance = do(instance, act_of(alice, later, **params))
    if later == "shelve":
        instance = do(instance, act_of(alice, "unshelve"))
    assert {port.mac for port in instance.ports.all()} == macs
    assert_cards(shared_host, instance)


def test_what_is_refused(cloud, shared_host, alice, bob, charlie, backstage):
    instance = launched(alice, cloud)
    theirs = Network.objects.create(name="theirs", project=cloud.other)
    bare = Network.objects.create(name="bare", project=cloud.demo)
    strange = ports.create_port(actor=charlie.actor, wanted=PortRequest(network_id=cloud.network.id))
    before = Port.objects.count()
    for wrong, error in (
        ({"network_id": str(theirs.id)}, NetworkNotFound),
        ({"network_id": str(bare.id)}, errors.Invalid),
        ({"network_id": str(backstage.id), "address": "10.7.7.7"}, errors.Invalid),
        ({"port_id": str(strange.id)}, PortNotFound),
    ):
        with pytest.raises(error):
            ask(alice, instance, "attach_interface", **wrong)
    for persona in (bob, charlie):
        with pytest.raises(Forbidden):
            ask(persona, instance, "attach_interface", network_id=str(backstage.id))
        with pytest.raises(Forbidden):
            ask(persona, instance, "detach_interface", port_id=str(instance.ports.get().id))
    with pytest.raises(errors.NotFound, match="does not have a port"):
        ask(alice, instance, "detach_interface", port_id=str(strange.id))
    assert Port.objects.count() == before
    assert not Action.objects.filter(state__in=OPEN_STATES).exists()
    Instance.objects.filter(pk=instance.pk).update(vm_state="paused")
    with pytest.raises(errors.Conflict, match=r"Cannot 'detach_interface'.* vm_state paused"):
        ask(alice, instance, "detach_interface", port_id=str(instance.ports.get().id))


def test_a_full_network_a_used_address_and_a_full_quota(cloud, shared_host, alice, backstage, monkeypatch):
    instance = launched(alice, cloud)
    Subnet.objects.filter(network=backstage).update(allocation_pools=[{"start": "10.99.0.2", "end": "10.99.0.2"}])
    instance = do(instance, act_of(alice, "attach_interface", network_id=str(backstage.id)))
    with pytest.raises(errors.Invalid, match="no free address"):
        ask(alice, instance, "attach_interface", network_id=str(backstage.id))
    with pytest.raises(errors.NoMoreAddresses, match="in use"):
        ask(alice, instance, "attach_interface", network_id=str(backstage.id), address="10.99.0.2")
    monkeypatch.setitem(quota.LIMITS, "port", Port.objects.filter(project=cloud.demo).count())
    with pytest.raises(errors.QuotaExceeded, match="Maximum number of ports exceeded"):
        ask(alice, instance, "attach_interface", network_id=str(cloud.network.id))
    with pytest.raises(errors.QuotaExceeded):
        launched(alice, cloud, name="two")
    assert Instance.objects.count() == 1
    assert instance.ports.count() == 2
    monkeypatch.setattr("compute.networks.plugging.MOST_CARDS", 2)
    monkeypatch.setitem(quota.LIMITS, "port", 500)
    with pytest.raises(errors.Invalid, match="at most 2 network cards"):
        ask(alice, instance, "attach_interface", network_id=str(cloud.network.id))


def test_a_host_that_is_away_is_not_waited_for(cloud, shared_host, alice):
    instance = launched(alice, cloud)
    Host.objects.filter(pk=shared_host.pk).update(state="down")
    with pytest.raises(errors.Conflict, match="unavailable"):
        ask(alice, instance, "attach_interface")
    with pytest.raises(errors.Conflict, match="unavailable"):
        ask(alice, instance, "detach_interface", port_id=str(instance.ports.get().id))
    assert instance.ports.count() == 1


def test_a_guest_that_does_not_let_go_is_asked_again_and_keeps_its_card_in_the_end(
    cloud, shared_host, alice, backstage, monkeypatch
):
    monkeypatch.setattr(interfaces, "PAUSE_SECONDS", 0.0)
    instance = do(launched(alice, cloud), act_of(alice, "attach_interface", network_id=str(backstage.id)))
    port, driver = instance.ports.get(network=backstage), hypervisor_of(shared_host)
    driver.inject(Fault("detach_nic", error="Busy", times=FOR_EVER))
    with monkeypatch.context() as impatient:
        impatient.setattr(interfaces, "PATIENCE", timedelta(0))
        instance = do(instance, act_of(alice, "detach_interface", port_id=str(port.id)))
    assert Action.objects.filter(operation="detach_interface").get().state == "error"
    assert_cards(shared_host, instance)
    driver.heal()
    driver.inject(Fault("detach_nic", error="Busy", times=3))
    instance = do(instance, act_of(alice, "detach_interface", port_id=str(port.id)))
    assert not Port.objects.filter(pk=port.pk).exists()
    assert_cards(shared_host, instance)


def test_one_port_is_detached_once_and_not_while_it_is_being_attached(cloud, shared_host, alice, backstage):
    instance = launched(alice, cloud)
    action = ask(alice, instance, "attach_interface", network_id=str(backstage.id))
    with pytest.raises(errors.Conflict, match="being changed"):
        ask(alice, instance, "detach_interface", port_id=action.params["port_id"])
    instance = finish(instance)
    ask(alice, instance, "detach_interface", port_id=action.params["port_id"])
    with pytest.raises(errors.Conflict, match="being detached"):
        ask(alice, instance, "detach_interface", port_id=action.params["port_id"])
    assert finish(instance).ports.count() == 1


def test_a_deletion_and_a_hard_reboot_win_over_an_attachment(cloud, shared_host, alice, backstage):
    instance = launched(alice, cloud)
    ask(alice, instance, "attach_interface", network_id=str(backstage.id))
    instance = do(instance, act_of(alice, "reboot_hard"))
    assert_cards(shared_host, instance)
    assert (instance.vm_state, instance.ports.count()) == ("active", 1)
    ask(alice, instance, "attach_interface", network_id=str(backstage.id))
    do(instance, act_of(alice, "delete"))
    assert_gone(shared_host, instance)
    assert not Port.objects.exists()


def test_a_guest_that_stops_meanwhile_gets_the_card_at_its_next_start(cloud, shared_host, alice, backstage):
    instance = launched(alice, cloud)
    attach = ask(alice, instance, "attach_interface", network_id=str(backstage.id))
    stop = ask(alice, instance, "stop")
    perform(stop.pk, "compute")
    perform(attach.pk, "compute")
    instance = do(finish(instance), act_of(alice, "start"))
    assert_cards(shared_host, instance)
    assert instance.ports.count() == 2


def test_addresses_come_and_go(cloud, shared_host, alice, backstage):
    instance = do(launched(alice, cloud), act_of(alice, "attach_interface", network_id=str(backstage.id)))
    port = instance.ports.get(network=backstage)
    do(instance, act_of(alice, "add_fixed_ip", network_id=str(backstage.id)))
    first, second = (one.address for one in port.addresses.all())
    instance = do(instance, act_of(alice, "remove_fixed_ip", address=first))
    with hypervisor_of(shared_host)._state.change() as state:
        assert state["networks"][str(backstage.id)][port.mac] == second
    assert [one.address for one in port.addresses.all()] == [second]
    with pytest.raises(errors.Invalid, match="only address"):
        ask(alice, instance, "remove_fixed_ip", address=second)
    with pytest.raises(errors.Invalid, match="could not be found"):
        ask(alice, instance, "remove_fixed_ip", address=first)
    with pytest.raises(errors.NotFound, match="for instance"):
        ask(alice, instance, "add_fixed_ip", network_id="00000000-0000-0000-0000-000000000000")
    # The guest may still use the address that its card has lost; so nobody else gets it while it is there.
    do(instance, act_of(alice, "add_fixed_ip", network_id=str(backstage.id)))
    assert first not in {one.address for one in PortAddress.objects.filter(subnet__network=backstage)}


@pytest.mark.parametrize("state", ["active", "stopped"])
@pytest.mark.parametrize("name", ["attach_interface", "detach_interface", "add_fixed_ip", "remove_fixed_ip"])
def test_at_every_call_it_fails_or_its_worker_is_killed(cloud, shared_host, alice, backstage, name, state):
    instance = in_state(alice, cloud, state)

    def ready() -> Any:
        """Bring the instance to where the operation may start; the operation."""
        now = Instance.objects.get(pk=instance.pk)
        if name != "attach_interface" and not now.ports.filter(network=backstage).exists():
            do(now, act_of(alice, "attach_interface", network_id=str(backstage.id)))
        if name == "attach_interface":
            for port in now.ports.filter(network=backstage):
                do(now, act_of(alice, "detach_interface", port_id=str(port.id)))
            return act_of(alice, name, network_id=str(backstage.id))
        port = now.ports.get(network=backstage)
        if name == "detach_interface":
            return act_of(alice, name, port_id=str(port.id))
        if name == "add_fixed_ip":
            PortAddress.objects.filter(pk__in=list(port.addresses.all()[1:].values_list("pk", flat=True))).delete()
            return act_of(alice, name, network_id=str(backstage.id))
        if port.addresses.count() == 1:
            do(now, act_of(alice, "add_fixed_ip", network_id=str(backstage.id)))
        return act_of(alice, name, address=port.addresses.first().address)

    act = ready()
    calls = calls_made(shared_host, lambda: do(instance, act))
    assert calls >= 2
    for fault in each_fault(calls):
        act = ready()
        before = _picture(instance)
        now = strike(shared_host, instance, act, fault)
        action = Action.objects.filter(operation=name).order_by("id").last()
        assert action.state == ("done" if fault[0] == "kill" else "error"), fault
        assert (_picture(instance) == before) == (action.state == "error"), fault
        assert now.vm_state == state, fault
        assert_sound(shared_host, now, fault)
        assert_cards(shared_host, now, fault)


def _picture(instance: Instance) -> list[Any]:
    """Cards and addresses as the rows have them."""
    return sorted((port.mac, [one.address for one in port.addresses.all()]) for port in instance.ports.all())


def test_deleting_a_snapshot_ends_no_card_that_is_being_plugged_in(cloud: Any, shared_host: Any, alice: Any) -> None:
    """The guest goes on, and may have the card already: its address must not be anybody else's."""
    instance = launched(alice, cloud)
    request(OPERATIONS["create_snapshot"], instance, alice.actor, name="before")
    instance = finish(instance)
    attach = ask(alice, instance, "attach_interface", network_id=str(cloud.network.pk))
    delete = ask(alice, instance, "delete_snapshot", snapshot=str(Snapshot.objects.get().pk))
    attach.refresh_from_db()
    assert attach.state in OPEN_STATES and instance.ports.count() == 2
    instance = finish(instance)
    attach.refresh_from_db()
    delete.refresh_from_db()
    assert (attach.state, delete.state, instance.ports.count()) == ("done", "done", 2)
    assert_sound(shared_host, instance)


def test_one_card_does_not_take_all_addresses(cloud: Any, shared_host: Any, alice: Any) -> None:
    instance = launched(alice, cloud)
    port = instance.ports.get()
    for _ in range(addresses.MOST_ADDRESSES - 1):
        addresses.allocate_on(port, Subnet.objects.get(network=cloud.network))
    with pytest.raises(errors.Invalid, match="maximum amount of fixed ips"):
        ask(alice, instance, "add_fixed_ip", network_id=str(cloud.network.pk))
    assert port.addresses.count() == addresses.MOST_ADDRESSES


def test_no_memory_brings_back_a_card_that_went_meanwhile(cloud: Any, shared_host: Any, alice: Any) -> None:
    """Its address may be somebody else's by then."""
    network = {"network_id": str(cloud.network.pk)}
    instance = do(launched(alice, cloud), act_of(alice, "attach_interface", **network))
    request(OPERATIONS["create_snapshot"], instance, alice.actor, name="both", memory=True)
    instance = finish(instance)
    going = instance.ports.order_by("position").last()
    ask(alice, instance, "detach_interface", port_id=str(going.pk))
    back = ask(alice, instance, "revert_snapshot", snapshot=str(Snapshot.objects.get().pk))
    instance = finish(instance)
    back.refresh_from_db()
    assert back.state == "error" and "other network cards" in back.message
    assert (instance.vm_state, instance.ports.count()) == ("active", 1)
    assert_sound(shared_host, instance)
