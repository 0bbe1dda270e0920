"""Networks, subnets, ports and security groups: Neutron's nouns."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils import timezone

if TYPE_CHECKING:
    from portal.identity.actor import Actor


class NetworkQuerySet(models.QuerySet["Network"]):
    """Reads of networks."""

    def visible_to(self, actor: Actor) -> NetworkQuerySet:
        """Shared networks and the project's own; all for an administrator."""
        if actor.is_admin:
            return self
        return self.filter(models.Q(shared=True) | models.Q(project_id=actor.project_id))


class Network(models.Model):
    """A layer-2 network; on each host a libvirt network of the same uuid."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=255, blank=True, default="")
    description = models.CharField(max_length=255, blank=True, default="")
    project = models.ForeignKey("identity.Project", on_delete=models.PROTECT, related_name="networks")
    shared = models.BooleanField(default=False)
    external = models.BooleanField(default=False)
    admin_state_up = models.BooleanField(default=True)
    mtu = models.PositiveIntegerField(default=1500)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now)

    objects = NetworkQuerySet.as_manager()

    class Meta:
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return self.name or str(self.id)


class Subnet(models.Model):
    """A range of addresses on a network; Nacelle hands them out."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    network = models.ForeignKey(Network, on_delete=models.CASCADE, related_name="subnets")
    name = models.CharField(max_length=255, blank=True, default="")
    description = models.CharField(max_length=255, blank=True, default="")
    project = models.ForeignKey("identity.Project", on_delete=models.PROTECT, related_name="+")
    cidr = models.CharField(max_length=64)
    ip_version = models.PositiveSmallIntegerField(default=4)
    gateway_ip = models.GenericIPAddressField(null=True, blank=True)
    enable_dhcp = models.BooleanField(default=True)
    dns_nameservers = models.JSONField(default=list, blank=True)
    allocation_pools = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return self.name or self.cidr


class SecurityGroup(models.Model):
    """A set of rules that ports wear. Each project has one named ``default``."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=255)
    description = models.CharField(max_length=255, blank=True, default="")
    project = models.ForeignKey("identity.Project", on_delete=models.CASCADE, related_name="security_groups")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["project"], condition=models.Q(name="default"), name="one_default_security_group"
            )
        ]

    def __str__(self) -> str:
        return self.name


class SecurityGroupRule(models.Model):
    """One rule of a security group."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    group = models.ForeignKey(SecurityGroup, on_delete=models.CASCADE, related_name="rules")
    direction = models.CharField(max_length=8, choices=[("ingress", "ingress"), ("egress", "egress")])
    ethertype = models.CharField(max_length=8, choices=[("IPv4", "IPv4"), ("IPv6", "IPv6")], default="IPv4")
    protocol = models.CharField(max_length=16, null=True, blank=True)  # null: any
    port_range_min = models.PositiveIntegerField(null=True, blank=True)
    port_range_max = models.PositiveIntegerField(null=True, blank=True)
    remote_ip_prefix = models.CharField(max_length=64, null=True, blank=True)
    remote_group = models.ForeignKey(SecurityGroup, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    description = models.CharField(max_length=255, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return f"{self.direction} {self.protocol or 'any'}"


class Port(models.Model):
    """A network card's place on a network: a MAC, addresses, and whom it belongs to."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=255, blank=True, default="")
    description = models.CharField(max_length=255, blank=True, default="")
    project = models.ForeignKey("identity.Project", on_delete=models.PROTECT, related_name="+")
    network = models.ForeignKey(Network, on_delete=models.PROTECT, related_name="ports")
    instance = models.ForeignKey(
        "compute.Instance", on_delete=models.CASCADE, null=True, blank=True, related_name="ports"
    )
    position = models.PositiveSmallIntegerField(default=0)
    mac = models.CharField(max_length=17, unique=True)
    status = models.CharField(
        max_length=8, default="DOWN", choices=[("ACTIVE", "ACTIVE"), ("DOWN", "DOWN"), ("BUILD", "BUILD")]
    )
    admin_state_up = models.BooleanField(default=True)
    preserve = models.BooleanField(default=False, help_text="Made by the user, so it outlives the instance.")
    tag = models.CharField(max_length=60, blank=True, default="", help_text="What the user calls the card it is now.")
    security_groups: models.ManyToManyField[SecurityGroup, Any] = models.ManyToManyField(
        SecurityGroup, related_name="ports", blank=True
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["position", "created_at", "id"]

    def __str__(self) -> str:
        return self.name or self.mac


class PortAddress(models.Model):
    """An address in use. The constraint is what makes handing it out safe."""

    port = models.ForeignKey(Port, on_delete=models.CASCADE, related_name="addresses")
    subnet = models.ForeignKey(Subnet, on_delete=models.PROTECT, related_name="addresses")
    address = models.GenericIPAddressField()

    class Meta:
        verbose_name_plural = "port addresses"
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["subnet", "address"], name="address_once_per_subnet")]

    def __str__(self) -> str:
        return self.address


class NetworkRemoval(models.Model):
    """A network that is gone from the rows, or has lost its subnet, and is still to be taken off a host.

    There can be no key to the network's row: that is usually gone already.
    """

    host = models.ForeignKey("compute.Host", on_delete=models.CASCADE, related_name="+")
    network_id = models.UUIDField(db_index=True)
    taken_until = models.DateTimeField(null=True, blank=True, help_text="Somebody is at it; until then nobody else.")

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["host", "network_id"], name="network_removed_once_per_host")]

    def __str__(self) -> str:
        return f"{self.network_id} from {self.host}"
