"""Django's admin: every model, the portal's look, and no way around the operations."""

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import Client

from compute.models import Change, Flavor, Host, Instance, QuotaLimit
from portal.identity.models import Assignment, Project, Role, User
from tests.conftest import PASSWORD, Cloud, Persona

pytestmark = pytest.mark.django_db

LABELS = ("identity", "compute", "consoleproxy")
MODELS = [model for label in LABELS for model in apps.get_app_config(label).get_models()]
# What operations, the watcher or the API alone write.
LOOK_ONLY = {
    "accessrule", "action", "applicationcredential", "change", "consoletoken", "event", "fault", "hostsample", "image",
    "instance", "migration", "network", "port", "portaddress", "quotausage", "revokedtoken", "securitygroup",
    "securitygrouprule", "subnet",
}  # fmt: skip


def path(model, page: str = "") -> str:
    return f"/admin/{model._meta.app_label}/{model._meta.model_name}/{page}"


def test_every_model_is_there() -> None:
    assert {model for model in MODELS if not model._meta.auto_created} <= set(admin.site._registry)


def test_nobody_else_writes_the_queue() -> None:
    assert {model._meta.app_label for model in admin.site._registry} == set(LABELS)


def test_every_list_and_row_opens(cloud: Cloud, root: Persona, browse, launch, drain) -> None:
    launch(root, "<script>alert(1)</script>")
    drain()
    client = browse(root)
    for model in MODELS:
        answer = client.get(path(model))
        assert (model, answer.status_code) == (model, 200)
        assert b"<script>alert" not in answer.content
        row = model._default_manager.first()
        if row is not None and model._meta.model_name != "consoletoken":
            assert (model, client.get(path(model, f"{row.pk}/change/")).status_code) == (model, 200)


def test_what_only_operations_write_cannot_be_written(cloud: Cloud, root: Persona, browse, launch, drain) -> None:
    launch(root)
    drain()
    client = browse(root)
    for model in MODELS:
        if model._meta.model_name not in LOOK_ONLY:
            continue
        assert (model, client.get(path(model, "add/")).status_code) == (model, 403)
        row = model._default_manager.first()
        if row is not None:
            assert (model, client.post(path(model, f"{row.pk}/change/"), {"vm_state": "error"}).status_code) == (
                model,
                403,
            )


def test_members_and_strangers_stay_out(alice: Persona, browse) -> None:
    assert Client().get("/admin/", follow=True).redirect_chain[-1] == ("/login?next=/admin/", 302)
    assert browse(alice).get("/admin/").status_code in (302, 403)
    assert browse(alice).get("/admin/login/").status_code == 403
    assert browse(alice).get(path(User), follow=True).status_code == 403


def test_claims_and_states_of_a_host_are_not_written(cloud: Cloud, root: Persona, browse) -> None:
    given = {
        "zone": "rack-2", "console_address": "127.0.0.1", "cpu_ratio": "4", "memory_ratio": "1", "disk_ratio": "1",
        "reserved_memory_mb": "1024", "reserved_disk_gb": "0", "vcpus_used": "7", "state": "down", "enabled": "",
    }  # fmt: skip
    assert browse(root).post(path(Host, f"{cloud.host.pk}/change/"), given).status_code == 302
    host = Host.objects.get()
    assert (host.zone, host.cpu_ratio, host.reserved_memory_mb) == ("nova", 4, 1024)
    assert (host.vcpus_used, host.state, host.enabled) == (0, "up", True)
    assert Change.objects.filter(kind="host").exists()


def test_a_user_and_a_role_are_given(cloud: Cloud, root: Persona, browse) -> None:
    client = browse(root)
    given = {"name": "dora", "new_password": "a new password", "domain": "default", "enabled": "on"}
    assert client.post(path(User, "add/"), given).status_code == 302
    dora = User.objects.get(name="dora")
    assert dora.check_password("a new password")
    role = Role.objects.get(name="member")
    assert (
        client.post(path(Assignment, "add/"), {"user": dora.pk, "role": role.pk, "project": cloud.demo.pk}).status_code
        == 302
    )
    assert Assignment.objects.filter(user=dora, role=role, project=cloud.demo).exists()
    page = client.get(path(User, f"{dora.pk}/change/")).content.decode()
    assert "argon2" not in page
    assert dora.token_stamp not in page


def test_a_new_password_ends_the_tokens(alice: Persona, root: Persona, browse) -> None:
    stamp = alice.user.token_stamp
    given = {"name": "alice", "new_password": "a new password", "enabled": "on"}
    assert browse(root).post(path(User, f"{alice.user.pk}/change/"), given).status_code == 302
    alice.user.refresh_from_db()
    assert alice.user.token_stamp != stamp
    assert alice.user.check_password("a new password")
    assert not alice.user.check_password(PASSWORD)


def test_an_unchanged_password_stays(alice: Persona, root: Persona, browse) -> None:
    browse(root).post(
        path(User, f"{alice.user.pk}/change/"), {"name": "alice", "email": "a@example.com", "enabled": "on"}
    )
    alice.user.refresh_from_db()
    assert alice.user.email == "a@example.com"
    assert alice.user.check_password(PASSWORD)


def test_a_project_that_owns_something_is_kept_and_says_so(
    cloud: Cloud, alice: Persona, root: Persona, browse, launch
) -> None:
    launch(alice)
    client = browse(root)
    client.post(path(Project, f"{cloud.demo.pk}/delete/"), {"post": "yes"})
    assert Project.objects.filter(pk=cloud.demo.pk).exists()
    assert Instance.objects.exists()


def test_an_empty_project_is_made_and_goes(cloud: Cloud, root: Persona, browse) -> None:
    client = browse(root)
    assert client.post(path(Project, "add/"), {"name": "new", "domain": "default", "enabled": "on"}).status_code == 302
    made = Project.objects.get(name="new")
    assert client.post(path(Project, f"{made.pk}/delete/"), {"post": "yes"}).status_code == 302
    assert not Project.objects.filter(pk=made.pk).exists()


def test_a_flavor_is_made_and_its_size_never_changes(cloud: Cloud, root: Persona, browse) -> None:
    client = browse(root)
    given = {
        "name": "odd",
        "vcpus": "3",
        "memory_mb": "300",
        "disk_gb": "3",
        "ephemeral_gb": "0",
        "swap_mb": "0",
        "is_public": "on",
    }
    assert client.post(path(Flavor, "add/"), given).status_code == 302
    made = Flavor.objects.get(name="odd")
    client.post(path(Flavor, f"{made.pk}/change/"), {"vcpus": "9", "description": "an odd one"})
    made.refresh_from_db()
    assert (made.vcpus, made.description) == (3, "an odd one")


def test_a_limit_is_set_and_taken_back(cloud: Cloud, root: Persona, browse) -> None:
    client = browse(root)
    assert (
        client.post(path(QuotaLimit, "add/"), {"project": cloud.demo.pk, "resource": "cores", "limit": "5"}).status_code
        == 302
    )
    limit = QuotaLimit.objects.get()
    client.post(path(QuotaLimit, f"{limit.pk}/change/"), {"limit": "6"})
    limit.refresh_from_db()
    assert (limit.project_id, limit.limit) == (cloud.demo.pk, 6)
    client.post(path(QuotaLimit, f"{limit.pk}/delete/"), {"post": "yes"})
    assert not QuotaLimit.objects.exists()


def test_the_admin_looks_like_the_portal(root: Persona, browse) -> None:
    page = browse(root).get("/admin/").content.decode()
    assert "css/admin.css" in page
    assert "css/tokens.css" in page
    assert 'href="/logout"' in page or 'action="/logout"' in page
    assert browse(root).get("/admin/password_change/")["Location"] == "/password"
