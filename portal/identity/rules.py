"""The policy rules of identity, with Keystone's names and default roles."""

from __future__ import annotations

from portal.identity.policy import Rule, declare

_I = "identity:"


def _admin(name: str, sentence: str) -> Rule:
    return Rule(_I + name, "admin", sentence)


def _read(name: str, sentence: str, *, in_domain: bool = False, owner: bool = False) -> Rule:
    domain_role = "reader" if in_domain else ""
    return Rule(_I + name, "admin", sentence, system_role="reader", domain_role=domain_role, owner=owner)


declare(
    Rule(_I + "validate_token", "service", "Show what a token says.", system_role="reader", owner=True),
    Rule(_I + "revoke_token", "admin", "End a token before its time.", owner=True),
    _read("list_domains", "List domains."),
    Rule(_I + "get_domain", "reader", "Show a domain.", system_role="reader", domain_role="reader"),
    _admin("create_domain", "Create a domain."),
    _admin("update_domain", "Change a domain."),
    _admin("delete_domain", "Delete a domain and all that is in it."),
    _read("list_projects", "List projects.", in_domain=True),
    Rule(_I + "get_project", "reader", "Show a project.", system_role="reader", domain_role="reader"),
    _admin("create_project", "Create a project."),
    _admin("update_project", "Change a project."),
    _admin("delete_project", "Delete a project."),
    _read("list_users", "List users.", in_domain=True),
    _read("get_user", "Show a user.", in_domain=True, owner=True),
    _admin("create_user", "Create a user."),
    _admin("update_user", "Change a user."),
    _admin("delete_user", "Delete a user."),
    _read("list_user_projects", "List the projects that a user has a role on.", in_domain=True, owner=True),
    _read("list_groups", "List groups.", in_domain=True),
    _read("list_groups_for_user", "List the groups that a user is in.", in_domain=True, owner=True),
    _read("list_roles", "List roles."),
    _read("get_role", "Show a role."),
    _admin("create_role", "Create a role."),
    _admin("update_role", "Change a role."),
    _admin("delete_role", "Delete a role."),
    _read("list_implied_roles", "See which roles imply which."),
    _admin("create_implied_role", "Have a role imply another."),
    _admin("delete_implied_role", "Have a role no longer imply another."),
    _read("list_role_assignments", "See who has which role where.", in_domain=True),
    _read("list_grants", "See a user's roles on a project, a domain or the system.", in_domain=True),
    _admin("create_grant", "Give a user a role."),
    _admin("revoke_grant", "Take a role from a user."),
    _read("list_application_credentials", "List a user's application credentials.", owner=True),
    Rule(_I + "create_application_credential", "admin", "Create an application credential of one's own.", owner=True),
    _read("get_application_credential", "Show an application credential.", owner=True),
    Rule(_I + "delete_application_credential", "admin", "Delete an application credential.", owner=True),
    _read("list_access_rules", "List a user's access rules.", owner=True),
    Rule(_I + "delete_access_rule", "admin", "Delete an access rule.", owner=True),
    _read("list_services", "See the services of the catalog."),
    _read("list_endpoints", "See the endpoints of the catalog."),
)
