"""Network cards that come and go while the instance lives, hot where it runs.

A card is the instance's from the request on: whatever starts the guest meanwhile gives it the card, as
definitions are made of the rows. A card that goes is the instance's until the guest has let go of it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Max
from django.utils import timezone

from compute.errors import ComputeError, Conflict, Invalid, NoMoreAddresses, NotFound
from compute.hypervisor.interface import Busy, PowerState
from compute.models import OPEN_STATES, Action, Instance, Network, Port, PortAddress, VmState, announce
from compute.networks import addresses, plugging, quota, removals
from compute.networks.groups import default_group
from compute.networks.plugging import Card, NetworkRequest
from compute.networks.specs import network_spec
from compute.operations.engine import Operation, Step
from compute.operations.guest import nic_of, ports_of, reservation_of
from portal.identity.actor import Actor

ON_OR_OFF = frozenset({VmState.ACTIVE, VmState.PAUSED, VmState.STOPPED})
# In which a running guest is to let go of a card. Nova asks eight times, twenty seconds apart.
PATIENCE = timedelta(minutes=2)
PAUSE_SECONDS = 1.0
GONE = "The network card is not the server's any more."


def check_host(instance: Instance) -> None:
    """Raise Conflict when the instance's host is away: nobody should wait for it."""
    if instance.host is None or not instance.host.is_up:
        raise Conflict("Service is unavailable at this time.")


def port_of(operation: Operation) -> Port | None:
    """The port that the operation is about (``port_id`` in its parameters), while it is the instance's."""
    mine = (port for port in ports_of(operation.instance) if str(port.pk) == operation.action.params["port_id"])
    return next(mine, None)


def is_there(operation: Operation) -> bool:
    """Whether there is a guest to change; what is not there gets its cards from the rows when it comes."""
    return operation.instance.host is not None and operation.hypervisor.guest(operation.instance.id) is not None


def bring_network(operation: Operation, keeping: PortAddress | None = None) -> None:
    """The host has the port's network, and its DHCP the card's address: this one, or else the first."""
    port, host = port_of(operation), operation.instance.host
    if port is None:
        raise ComputeError(GONE)
    if host is None:
        return
    removals.clear(host, operation.hypervisor)
    operation.hypervisor.ensure_network(network_spec(port.network))
    reservation = reservation_of(port, operation.instance.hostname)
    if reservation is not None and keeping is not None:
        reservation = replace(reservation, address=keeping.address)
    if reservation is not None:
        operation.hypervisor.reserve(port.network_id, reservation)


def release_network(operation: Operation) -> None:
    """The host's DHCP forgets the card."""
    if operation.instance.host is not None and (port := port_of(operation)) is not None:
        operation.hypervisor.release(port.network_id, port.mac)


def plug_in(operation: Operation) -> None:
    """The guest has the card."""
    if (port := port_of(operation)) is not None and is_there(operation):
        operation.hypervisor.attach_nic(operation.instance.id, nic_of(port))


def pull_out(operation: Operation) -> None:
    """The guest has the card no more."""
    if (port := port_of(operation)) is not None and is_there(operation):
        operation.hypervisor.detach_nic(operation.instance.id, port.mac)


class AttachInterface(Operation):
    """Give the instance another network card; a running guest gets it at once."""

    name = "attach_interface"
    label = "Attach interface"
    policy = "os_compute_api:os-attach-interfaces:create"
    for_adopted = True
    allowed = ON_OR_OFF
    during = None  # Nova shows none: the instance goes on
    leads_to = None
    in_menu = False

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """``params``: ``network_id`` or ``port_id``, ``address``, ``tag``; all optional, as in NetworkRequest.

        The port is the instance's from here on, with an address; its id is in ``port_id`` afterwards.
        Raises NotFound, PortInUse, Conflict, Invalid and QuotaExceeded.
        """
        check_host(instance)
        card = plugging.find(actor, _asked(params), instance.project_id)
        if instance.ports.count() >= plugging.MOST_CARDS:
            raise Invalid(f"A server may have at most {plugging.MOST_CARDS} network cards.", about="network")
        port = _plugged(instance, card)
        addresses.bind(port)
        params["port_id"] = str(port.pk)

    @classmethod
    def cancelled(cls, action: Action) -> None:
        """The card was not given: whatever ended this starts the guest without it."""
        plugging.unplug(action.instance, action.params["port_id"])

    def give_up(self) -> None:
        """The port is let go: deleted, or free for others if a user made it."""
        try:
            release_network(self)
        finally:
            plugging.unplug(self.instance, self.action.params["port_id"])

    steps = (
        Step("prepare_network", bring_network, give_up),
        Step("compute_attach_interface", plug_in, pull_out),
    )

    def completed(self) -> None:
        """The port is in use."""
        if (port := port_of(self)) is not None:
            plugging.in_use(port)


def _asked(params: dict[str, Any]) -> NetworkRequest:
    def uuid(name: str) -> UUID | None:
        return UUID(str(params[name])) if params.get(name) else None

    return NetworkRequest(uuid("network_id"), uuid("port_id"), params.get("address"), params.get("tag") or "")


def _plugged(instance: Instance, card: Card) -> Port:
    if card.port is None:
        quota.check_ports_of_servers(instance.project_id, 1)
    last = instance.ports.aggregate(last=Max("position"))["last"]
    port = plugging.plug(instance, card, [default_group(instance.project_id)], 0 if last is None else last + 1)
    announce("port", port.pk, port.project_id)
    if card.port is None and card.address is None:
        try:
            addresses.allocate(port)
        except NoMoreAddresses as error:
            raise Invalid(str(error), about="network") from error
    return port


class DetachInterface(Operation):
    """Take a network card from the instance; a running guest lets go of it first."""

    name = "detach_interface"
    label = "Detach interface"
    policy = "os_compute_api:os-attach-interfaces:delete"
    for_adopted = True
    # Not while it is paused, unlike Nova, which tries in vain: a guest that stands still cannot let go of a card.
    allowed = ON_OR_OFF - {VmState.PAUSED}
    during = None
    leads_to = None
    in_menu = False

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """``port_id`` in the parameters is the port. Raises NotFound and Conflict."""
        check_host(instance)
        port_id = params["port_id"]
        if not instance.ports.filter(pk=port_id).exists():
            raise NotFound(f"Instance {instance.pk} does not have a port with id {port_id}")
        under_way = Action.objects.filter(instance=instance, state__in=OPEN_STATES, params__port_id=port_id)
        if other := under_way.first():
            doing = "detached" if other.operation == cls.name else "changed"
            raise Conflict(f"Port {port_id} is being {doing} already; wait for that to end.")

    def let_go(self) -> None:
        """The guest has the card no more. One that is still starting does not hear at first, and is asked again."""
        until = self.action.created_at + PATIENCE
        while True:
            try:
                return pull_out(self)
            except Busy:
                seen = self.hypervisor.guest(self.instance.id)
                runs = seen is not None and seen.power_state == PowerState.RUNNING
                if not runs or timezone.now() > until:
                    raise
            self.lease.renew()
            time.sleep(PAUSE_SECONDS)

    steps = (
        Step("compute_detach_interface", let_go, plug_in),
        Step("release_network", release_network, bring_network),
    )

    def completed(self) -> None:
        """The port is deleted, or free for others if a user made it."""
        plugging.unplug(self.instance, self.action.params["port_id"])


class AddFixedIp(Operation):
    """Give one of the instance's network cards another address of its network; the guest sets it up itself."""

    name = "add_fixed_ip"
    wire = "addFixedIp"
    logged_as = "add_fixed_ip"
    label = "Add address"
    policy = "os_compute_api:os-multinic:add"
    for_adopted = True
    allowed = ON_OR_OFF
    during = None  # Nova shows none: the instance goes on
    leads_to = None
    in_menu = False

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """``network_id`` in the parameters is the network. The address is the card's from here on.

        Raises NotFound when the instance has no card there, Invalid when the network is full, and Conflict.
        """
        check_host(instance)
        port = instance.ports.filter(network_id=params["network_id"]).order_by("position", "created_at").first()
        if port is None:
            raise NotFound(f"Network {params['network_id']} could not be found for instance {instance.pk}.")
        before = set(port.addresses.values_list("pk", flat=True))
        if len(before) >= addresses.MOST_ADDRESSES:
            raise Invalid(f"Exceeded maximum amount of fixed ips per port: {addresses.MOST_ADDRESSES}.")
        try:
            addresses.allocate_on(port, _first_subnet(port.network))
        except NoMoreAddresses as error:
            raise Invalid(str(error)) from error
        params["port_id"] = str(port.pk)
        params["address_id"] = port.addresses.exclude(pk__in=before).values_list("pk", flat=True).get()
        announce("port", port.pk, port.project_id)

    @classmethod
    def cancelled(cls, action: Action) -> None:
        """The address is free again."""
        PortAddress.objects.filter(pk=action.params["address_id"]).delete()

    def give_up(self) -> None:
        """The address is free again."""
        self.cancelled(self.action)

    steps = (Step("compute_add_fixed_ip_to_instance", bring_network, give_up),)


def _first_subnet(network: Network) -> Any:
    subnet = network.subnets.first()
    if subnet is None:
        raise Invalid(f"Network {network.pk} has no subnet.")
    return subnet


class RemoveFixedIp(Operation):
    """Take an address from one of the instance's network cards, which keeps at least one."""

    name = "remove_fixed_ip"
    wire = "removeFixedIp"
    logged_as = "remove_fixed_ip"
    label = "Remove address"
    policy = "os_compute_api:os-multinic:remove"
    for_adopted = True
    allowed = ON_OR_OFF
    during = None  # Nova shows none: the instance goes on
    leads_to = None
    in_menu = False

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """``address`` in the parameters is the address. Raises Invalid and Conflict."""
        check_host(instance)
        row = PortAddress.objects.filter(port__instance=instance, address=params["address"]).first()
        if row is None:
            raise Invalid(f"Fixed IP address {params['address']} could not be found for instance {instance.pk}.")
        going = Action.objects.filter(instance=instance, state__in=OPEN_STATES, operation=cls.name)
        leaving = {action.params["address_id"] for action in going}
        if row.pk in leaving:
            raise Conflict(f"Fixed IP address {row.address} is being removed already.")
        if not PortAddress.objects.filter(port=row.port_id).exclude(pk__in={row.pk, *leaving}).exists():
            raise Invalid(f"{row.address} is the only address of its network card; detach the card instead.")
        params["port_id"], params["address_id"] = str(row.port_id), row.pk

    def tell_dhcp(self) -> None:
        """DHCP gives the card the first of the addresses that it keeps."""
        port = port_of(self)
        kept = [one for one in port.addresses.all() if one.pk != self.action.params["address_id"]] if port else []
        bring_network(self, keeping=kept[0] if kept else None)

    steps = (Step("compute_remove_fixed_ip_from_instance", tell_dhcp, bring_network),)

    def completed(self) -> None:
        """The address is free."""
        PortAddress.objects.filter(pk=self.action.params["address_id"]).delete()
        announce("port", self.action.params["port_id"], self.instance.project_id)
