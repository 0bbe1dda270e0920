"""Every path of the compute API, below ``/v2.1`` and ``/v2.1/{project_id}`` (and ``/v2``, the legacy one)."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, include, path, re_path, register_converter
from django.urls.converters import StringConverter

from portal.api.compute import (
    actions,
    aggregates,
    diagnostics,
    discovery,
    extensions,
    flavor_parts,
    flavors,
    hosts,
    image_metadata,
    instance_actions,
    interfaces,
    keypairs,
    limits,
    migrations,
    os_hosts,
    proxies,
    security_groups,
    server_groups,
    server_parts,
    servers,
    services,
    usages,
)


class ProjectConverter(StringConverter):
    """A project's id, by its form, so that it is not taken for a collection."""

    regex = "[0-9a-f-]{32,64}"


register_converter(ProjectConverter, "project")


SERVERS = [
    path("servers", servers.Servers.as_view()),
    path("servers/detail", servers.ServersDetail.as_view()),
    path("servers/<server_id>", servers.Server.as_view()),
    path("servers/<server_id>/action", actions.ServerAction.as_view()),
    path("servers/<server_id>/remote-consoles", actions.RemoteConsoles.as_view()),
    path("servers/<server_id>/diagnostics", diagnostics.Diagnostics.as_view()),
    path("servers/<server_id>/ips", server_parts.Addresses.as_view()),
    path("servers/<server_id>/ips/<network>", server_parts.AddressesOnNetwork.as_view()),
    path("servers/<server_id>/metadata", server_parts.Metadata.as_view()),
    path("servers/<server_id>/metadata/<key>", server_parts.MetadataItem.as_view()),
    path("servers/<server_id>/tags", server_parts.Tags.as_view()),
    path("servers/<server_id>/tags/<tag>", server_parts.Tag.as_view()),
    path("servers/<server_id>/os-interface", interfaces.Interfaces.as_view()),
    path("servers/<server_id>/os-interface/<port_id>", interfaces.Interface.as_view()),
    path("servers/<server_id>/os-volume_attachments", server_parts.VolumeAttachments.as_view()),
    path("servers/<server_id>/os-security-groups", server_parts.ServerSecurityGroups.as_view()),
    path("servers/<server_id>/os-server-password", server_parts.ServerPassword.as_view()),
    path("servers/<server_id>/migrations", migrations.ServerMigrations.as_view()),
    path("servers/<server_id>/migrations/<migration_id>", migrations.ServerMigration.as_view()),
    path("servers/<server_id>/migrations/<migration_id>/action", migrations.ServerMigrationAction.as_view()),
    path("servers/<server_id>/os-instance-actions", instance_actions.InstanceActions.as_view()),
    path("servers/<server_id>/os-instance-actions/<request_id>", instance_actions.InstanceAction.as_view()),
]
FLAVORS = [
    path("flavors", flavors.Flavors.as_view()),
    path("flavors/detail", flavors.FlavorsDetail.as_view()),
    path("flavors/<flavor_id>", flavors.FlavorView.as_view()),
    path("flavors/<flavor_id>/action", flavor_parts.FlavorAction.as_view()),
    path("flavors/<flavor_id>/os-flavor-access", flavor_parts.FlavorAccessList.as_view()),
    path("flavors/<flavor_id>/os-extra_specs", flavor_parts.ExtraSpecs.as_view()),
    path("flavors/<flavor_id>/os-extra_specs/<key>", flavor_parts.ExtraSpec.as_view()),
]
PROJECTS = [
    path("os-keypairs", keypairs.KeyPairs.as_view()),
    path("os-keypairs/<name>", keypairs.KeyPairView.as_view()),
    path("os-server-groups", server_groups.ServerGroups.as_view()),
    path("os-server-groups/<group_id>", server_groups.ServerGroupView.as_view()),
    path("limits", limits.Limits.as_view()),
    path("os-quota-sets/<quota_project>", limits.QuotaSet.as_view()),
    path("os-quota-sets/<quota_project>/defaults", limits.QuotaSetDefaults.as_view()),
    path("os-quota-sets/<quota_project>/detail", limits.QuotaSetDetail.as_view()),
    path("os-simple-tenant-usage", usages.Usages.as_view()),
    path("os-simple-tenant-usage/<usage_project>", usages.Usage.as_view()),
    path("extensions", extensions.Extensions.as_view()),
    path("extensions/<alias>", extensions.Extension.as_view()),
]
HOSTS = [
    path("os-aggregates", aggregates.Aggregates.as_view()),
    path("os-aggregates/<aggregate_id>", aggregates.AggregateView.as_view()),
    path("os-aggregates/<aggregate_id>/action", aggregates.AggregateAction.as_view()),
    path("os-aggregates/<aggregate_id>/images", aggregates.AggregateImages.as_view()),
    path("os-availability-zone", hosts.Zones.as_view()),
    path("os-availability-zone/detail", hosts.ZonesDetail.as_view()),
    path("os-hypervisors", hosts.Hypervisors.as_view()),
    path("os-hypervisors/detail", hosts.HypervisorsDetail.as_view()),
    path("os-hypervisors/statistics", hosts.HypervisorStatistics.as_view()),
    path("os-hypervisors/<hypervisor_id>", hosts.HypervisorView.as_view()),
    path("os-hypervisors/<hypervisor_id>/search", hosts.HypervisorSearch.as_view()),
    path("os-hypervisors/<hypervisor_id>/servers", hosts.HypervisorServers.as_view()),
    path("os-hypervisors/<hypervisor_id>/uptime", hosts.HypervisorUptime.as_view()),
    path("os-hosts", os_hosts.OsHosts.as_view()),
    path("os-hosts/<host_name>", os_hosts.OsHost.as_view()),
    path("os-hosts/<host_name>/startup", os_hosts.OsHostPower.as_view()),
    path("os-hosts/<host_name>/shutdown", os_hosts.OsHostPower.as_view()),
    path("os-hosts/<host_name>/reboot", os_hosts.OsHostPower.as_view()),
    path("os-migrations", migrations.Migrations.as_view()),
    path("os-services", services.Services.as_view()),
    path("os-services/<service_id>", services.ServiceView.as_view()),
]
PROXIES = [
    path("images", proxies.Images.as_view()),
    path("images/detail", proxies.ImagesDetail.as_view()),
    path("images/<image_id>", proxies.ImageView.as_view()),
    path("images/<image_id>/metadata", image_metadata.ImageMetadata.as_view()),
    path("images/<image_id>/metadata/<key>", image_metadata.ImageMetadataItem.as_view()),
    path("os-networks", proxies.Networks.as_view()),
    path("os-networks/<network_id>", proxies.NetworkView.as_view()),
    path("os-tenant-networks", proxies.Networks.as_view()),
    path("os-tenant-networks/<network_id>", proxies.NetworkView.as_view()),
    path("os-security-groups", security_groups.SecurityGroups.as_view()),
    path("os-security-groups/<group_id>", security_groups.SecurityGroupView.as_view()),
]
ROUTES: list[URLPattern] = [*SERVERS, *FLAVORS, *PROJECTS, *HOSTS, *PROXIES]
urlpatterns: list[Any] = [
    re_path(r"^/?$", discovery.Versions.as_view()),
    re_path(r"^/v2\.1/?$", discovery.VersionDocument.as_view(), {"version_id": "v2.1"}),
    re_path(r"^/v2/?$", discovery.VersionDocument.as_view(), {"version_id": "v2.0"}),
    path("/v2.1/versions/<version_id>", discovery.VersionDocument.as_view()),
    path("/versions/<version_id>", discovery.VersionDocument.as_view()),
    path("/v2.1/", include(ROUTES)),
    path("/v2.1/<project:project_id>/", include(ROUTES)),
    path("/v2/", include(ROUTES)),
    path("/v2/<project:project_id>/", include(ROUTES)),
]
