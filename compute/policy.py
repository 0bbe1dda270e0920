"""The policy rules of compute, with Nova's, Glance's and Neutron's names and default roles."""

from __future__ import annotations

from portal.identity.policy import Rule, declare

_C = "os_compute_api:"

declare(
    Rule(_C + "servers:index", "reader", "List the project's servers."),
    Rule(_C + "servers:index:get_all_tenants", "admin", "List the servers of all projects."),
    Rule(_C + "servers:show", "reader", "Show a server."),
    Rule(_C + "servers:create", "member", "Create a server."),
    Rule(_C + "servers:create:forced_host", "admin", "Create a server on a host of the caller's choice."),
    Rule(_C + "servers:update", "member", "Change a server's name, description or addresses."),
    Rule(_C + "servers:delete", "member", "Delete a server."),
    Rule(_C + "servers:start", "member", "Start a server."),
    Rule(_C + "servers:stop", "member", "Stop a server."),
    Rule(_C + "servers:reboot", "member", "Reboot a server."),
    Rule(_C + "os-extended-server-attributes", "admin", "See where a server runs."),
    Rule(_C + "os-remote-consoles", "member", "Open a server's console."),
    Rule(_C + "os-console-output", "member", "Read a server's console log."),
    Rule(_C + "os-instance-actions:list", "reader", "List what was done to a server."),
    Rule(_C + "os-instance-actions:show", "reader", "Show an action."),
    Rule(_C + "os-instance-actions:events", "reader", "See the steps of an action."),
    Rule(_C + "os-instance-actions:events:details", "admin", "See tracebacks and hosts of an action's steps."),
    Rule(_C + "os-flavor-manage:create", "admin", "Create a flavor."),
    Rule(_C + "os-flavor-manage:update", "admin", "Change a flavor's description."),
    Rule(_C + "os-flavor-manage:delete", "admin", "Delete a flavor."),
    Rule(_C + "os-hypervisors", "admin", "See the hosts."),
    Rule(_C + "os-services", "admin", "See and change the compute services."),
    Rule(_C + "os-availability-zone:list", "reader", "List zones."),
    Rule(_C + "os-availability-zone:detail", "admin", "List zones with their hosts."),
    Rule(_C + "limits", "reader", "Show the project's limits."),
    Rule(_C + "limits:other_project", "admin", "Show another project's limits."),
    Rule("image:get", "reader", "Show and list images."),
    Rule("image:create", "member", "Create an image."),
    Rule("image:modify", "member", "Change an image."),
    Rule("image:publicize", "admin", "Make an image public."),
    Rule("image:upload", "member", "Upload an image's bytes."),
    Rule("image:download", "member", "Download an image's bytes."),
    Rule("image:delete", "member", "Delete an image."),
    Rule("image:deactivate", "member", "Stop an image from being used, and let it be used again."),
    Rule("network:get", "reader", "Show and list networks, subnets, ports and security groups."),
    Rule("network:modify", "member", "Create and delete security groups."),
    Rule("nacelle:hosts", "admin", "See hosts with their load."),
    Rule("nacelle:host-add", "admin", "Add a host."),
)
