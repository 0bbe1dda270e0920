"""Paths of the pages."""

from __future__ import annotations

from typing import Any

from django.urls import path

from portal.dashboard.views import (
    api_access,
    auth,
    console,
    flavors,
    hosts,
    images,
    instance,
    instances,
    key_pairs,
    launch,
    networks,
    overview,
    password,
    remake,
)

_ONE = "instances/<uuid:instance_id>/"

urlpatterns: list[Any] = [
    path("login", auth.log_in, name="login"),
    path("logout", auth.log_out, name="logout"),
    path("password", password.password, name="password"),
    path("project", auth.choose_project, name="choose_project"),
    path("", overview.overview, name="overview"),
    path("instances/", instances.instances, name="instances"),
    path("instances/bulk", instances.bulk, name="instances_bulk"),
    path("instances/launch", launch.launch, name="launch"),
    path(_ONE, instance.overview, name="instance"),
    path(_ONE + "act/<str:operation>", instances.act, name="instance_act"),
    path(_ONE + "resize", remake.resize, name="instance_resize"),
    path(_ONE + "rebuild", remake.rebuild, name="instance_rebuild"),
    path(_ONE + "rescue", remake.rescue, name="instance_rescue"),
    path(_ONE + "edit", instance.edit, name="instance_edit"),
    path(_ONE + "log", instance.log_tab, name="instance_log"),
    path(_ONE + "log/text", instance.log_text, name="instance_log_text"),
    path(_ONE + "console", instance.console_tab, name="instance_console"),
    path(_ONE + "serial", instance.serial_tab, name="instance_serial"),
    path(_ONE + "console/url/novnc", instance.console_url, {"kind": "novnc"}, name="instance_console_url"),
    path(_ONE + "console/url/serial", instance.console_url, {"kind": "serial"}, name="instance_serial_url"),
    path(_ONE + "actions", instance.actions, name="instance_actions"),
    path("images/", images.images, name="images"),
    path("images/upload", images.upload, name="image_upload"),
    path("images/<uuid:image_id>/", images.image, name="image"),
    path("images/<uuid:image_id>/edit", images.edit, name="image_edit"),
    path("images/<uuid:image_id>/delete", images.delete, name="image_delete"),
    path("flavors/", flavors.flavors, name="flavors"),
    path("flavors/create", flavors.create, name="flavor_create"),
    path("flavors/<str:flavor_id>/delete", flavors.delete, name="flavor_delete"),
    path("keypairs/", key_pairs.key_pairs, name="key_pairs"),
    path("keypairs/add", key_pairs.add, name="key_pair_add"),
    path("keypairs/<int:key_pair_id>/delete", key_pairs.delete, name="key_pair_delete"),
    path("networks/", networks.networks, name="networks"),
    path("networks/<uuid:network_id>/", networks.network, name="network"),
    path("access/", api_access.api_access, name="api_access"),
    path("access/openrc", api_access.openrc, name="openrc"),
    path("access/clouds.yaml", api_access.clouds, name="clouds_yaml"),
    path("cloud/instances/", instances.all_instances, name="all_instances"),
    path("cloud/hosts/", hosts.hosts, name="hosts"),
    path("cloud/hosts/add", hosts.add, name="host_add"),
    path("cloud/hosts/<int:host_id>/", hosts.host, name="host"),
    path("cloud/hosts/<int:host_id>/samples", hosts.samples, name="host_samples"),
    path("cloud/hosts/<int:host_id>/enable", hosts.enable, name="host_enable"),
    path("console/", console.console, name="console"),
]
