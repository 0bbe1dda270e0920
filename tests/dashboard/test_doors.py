"""Every page: who may open it, how it may be asked, and what its answers carry."""

import re
import uuid
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.urls import URLPattern, reverse
from django.utils import timezone

from compute.hosts.strangers import as_json
from compute.models import (
    Action,
    Aggregate,
    HostCheck,
    Instance,
    Migration,
    Relocation,
    ServerGroup,
    Snapshot,
    SnapshotSchedule,
)
from portal.dashboard import context, menus
from portal.dashboard.urls import urlpatterns
from tests.conftest import Cloud, Persona
from tests.dashboard.conftest import FRAGMENT
from tests.engine.test_adopt import LEGACY

pytestmark = pytest.mark.django_db

OPEN = {"login", "logout", "console"}
POST_ONLY = {
    "logout", "choose_project", "instances_bulk", "instance_act", "instance_console_url", "instance_serial_url",
    "image_delete", "flavor_delete", "key_pair_add", "key_pair_delete", "host_enable",
    "host_force_down", "host_fence", "aggregate_evacuation", "relocation", "host_remove", "host_tls_script",
    "host_check", "host_resume",
    "server_group_add", "server_group_delete", "aggregate_delete", "aggregate_host_add", "aggregate_host_remove",
    "aggregate_metadata", "aggregate_metadata_remove", "aggregate_images",
    "scheduler_add", "scheduler_reset", "scheduler_override", "scheduler_turn", "scheduler_move", "scheduler_remove",
    "instance_force_complete",
    "instance_cancel", "flavor_describe", "flavor_spec_set", "flavor_spec_remove", "flavor_give", "flavor_take_away",
    "interface_detach", "network_delete", "snapshot_revert", "snapshot_delete", "schedule_switch", "schedule_delete",
}  # fmt: skip
OF_AN_INSTANCE = [one.name for one in urlpatterns if "instance_id" in one.pattern.converters]
OF_ADMINISTRATORS = {
    "all_instances", "flavor_create", "flavor_delete",
    "flavor_describe", "flavor_spec_set", "flavor_spec_remove", "flavor_give", "flavor_take_away",
    *(one.name for one in urlpatterns if one.name.startswith(("aggregate", "scheduler", "host"))),
    "relocation", "rebalance", "migrations", "migration",
}  # fmt: skip
CHANGES = {"instance_act", "instance_edit", "launch", "image_upload"}


def _guest(cloud: Cloud) -> str:
    """The id of a guest on the host that is not this cloud's."""
    HostCheck.objects.get_or_create(host=cloud.host, defaults={"guests": [as_json(cloud.host, LEGACY)]})
    return str(LEGACY.uuid)


def path_of(pattern: URLPattern, cloud: Cloud, instance: Instance | None = None) -> str:
    """An address of the page, with ids of things that are there where they are asked for."""
    ids = {
        "instance_id": instance.pk if instance else "00000000-0000-4000-8000-000000000000",
        "image_id": cloud.image.pk,
        "network_id": cloud.network.pk,
        "host_id": cloud.host.pk,
        "guest_id": _guest(cloud),
        "flavor_id": cloud.nano.pk,
        "key_pair_id": 1,
        "aggregate_id": Aggregate.objects.get_or_create(name="rack")[0].pk,
        "relocation_id": Relocation.objects.get_or_create(kind="drain", host=cloud.host, state="done", at_once=1)[0].pk,
        "group_id": ServerGroup.objects.get_or_create(name="web", policy="affinity", project=cloud.demo)[0].pk,
        "operation": "stop",
        "request_id": "req-none",
        "project_id": cloud.other.pk,
        "kind": "weigher",
        "name": "RAMWeigher",
        "port_id": instance.ports.get().pk if instance else "00000000-0000-4000-8000-000000000000",
        "snapshot_id": _snapshot(instance),
        "schedule_id": _schedule(instance),
        "migration_id": _migration(cloud),
    }
    return reverse(pattern.name, kwargs={name: ids[name] for name in pattern.pattern.converters})


def _snapshot(instance: Instance | None) -> uuid.UUID:
    if instance is None:
        return uuid.uuid4()
    return Snapshot.objects.get_or_create(instance=instance, name="nasty <b>", state="available")[0].pk


def _migration(cloud: Cloud) -> int:
    """One of an instance that is deleted, so that it is nobody's way in to anything else."""
    found = Migration.objects.first()
    if found is None:
        gone = Instance.objects.create(
            name="<i>gone</i>", hostname="gone", project=cloud.demo, flavor=cloud.nano.snapshot(), vcpus=1,
            memory_mb=128, disk_gb=1, deleted_at=timezone.now(),
        )  # fmt: skip
        found = Migration.objects.create(
            instance=gone, source_host=cloud.host, status="completed", migration_type="live-migration",
            old_flavor=gone.flavor, new_flavor=gone.flavor, old_vm_state="active",
        )  # fmt: skip
    return found.pk


def _schedule(instance: Instance | None) -> uuid.UUID:
    if instance is None:
        return uuid.uuid4()
    due = {"next_run_at": timezone.now(), "try_at": timezone.now()}
    return SnapshotSchedule.objects.get_or_create(instance=instance, name="nasty <b>", defaults=due)[0].pk


def by_name(name: str) -> URLPattern:
    return next(one for one in urlpatterns if one.name == name)


class Inline(HTMLParser):
    """Collects what a strict policy would refuse: handlers, styles and scripts within a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """One tag."""
        names = {name for name, _ in attributes}
        self.found += [f"{tag} {name}" for name in names if name.startswith("on") or name == "style"]
        self.found += [f"{tag} {value}" for _, value in attributes if (value or "").strip().startswith("javascript:")]
        if (
            tag == "style"
            or (tag == "script" and "src" not in names)
            or (tag == "img" and dict(attributes)["src"] == "x")
        ):
            self.found.append(tag)


def test_nobody_gets_in_without_a_login(cloud: Cloud) -> None:
    for pattern in urlpatterns:
        if pattern.name in OPEN:
            continue
        method = Client().post if pattern.name in POST_ONLY else Client().get
        answer = method(path_of(pattern, cloud))
        assert (pattern.name, answer.status_code) == (pattern.name, 302)
        assert answer["Location"].startswith("/login?next=/")
        assert method(path_of(pattern, cloud), headers=FRAGMENT).status_code == 401


def test_what_changes_something_is_a_post(cloud: Cloud, root: Persona, browse) -> None:
    client = browse(root)
    for name in POST_ONLY:
        assert (name, client.get(path_of(by_name(name), cloud)).status_code) == (name, 405)


def test_what_changes_something_needs_its_csrf_token(cloud: Cloud, root: Persona) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(root.user)
    for name in (*POST_ONLY, *CHANGES, "password", "host_add", "flavor_create", "image_edit"):
        answer = client.post(path_of(by_name(name), cloud))
        assert (name, answer.status_code) == (name, 403)
        assert b"out of date" in answer.content


def test_pages_of_administrators_are_for_them_alone(cloud: Cloud, alice: Persona, root: Persona, browse) -> None:
    member, admin = browse(alice), browse(root)
    for name in OF_ADMINISTRATORS:
        path = path_of(by_name(name), cloud)
        assert (name, member.post(path).status_code) == (name, 403)
        if name not in POST_ONLY:
            assert (name, member.get(path).status_code) == (name, 403)
            assert (name, admin.get(path).status_code) == (name, 200)


def test_a_stranger_finds_no_foreign_instance(cloud: Cloud, alice: Persona, charlie: Persona, browse, launch) -> None:
    instance = launch(alice)
    client = browse(charlie)
    for name in OF_AN_INSTANCE:
        method = client.post if name in POST_ONLY else client.get
        assert (name, method(path_of(by_name(name), cloud, instance)).status_code) == (name, 404)
    assert Action.objects.filter(instance=instance).count() == 1


def test_a_reader_changes_nothing_and_opens_no_console(
    cloud: Cloud, alice: Persona, bob: Persona, browse, launch
) -> None:
    instance = launch(alice)
    client = browse(bob)
    for name in (
        *CHANGES,
        "instance_log",
        "instance_console",
        "instance_serial",
        "instance_log_text",
        "instance_serial_url",
    ):
        method = client.post if name in POST_ONLY else client.get
        assert (name, method(path_of(by_name(name), cloud, instance)).status_code) == (name, 403)
    assert Action.objects.count() == 1


def test_nothing_inline_in_any_page(cloud: Cloud, root: Persona, browse, launch, drain) -> None:
    nasty = {"name": "</title><img src=x onerror=alert(1)>", "description": "<script>alert(2)</script>"}
    instance = launch(root, **nasty, metadata={"<b onclick=alert(3)>": "'\"><script>alert(4)</script>"}, tags=("<i>",))
    drain()
    client = browse(root)
    for pattern in urlpatterns:
        if pattern.name in POST_ONLY:
            continue
        answer = client.get(path_of(pattern, cloud, instance))
        assert (pattern.name, Inline(answer.content.decode()).found) == (pattern.name, [])
        policy = answer["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer["X-Frame-Options"] == "DENY"
        assert answer["X-Content-Type-Options"] == "nosniff"


def test_pages_are_never_cached(cloud: Cloud, alice: Persona, browse) -> None:
    answer = browse(alice).get("/instances/")
    assert "no-store" in answer["Cache-Control"]
    assert "X-Fragment" in answer["Vary"]


@pytest.mark.parametrize(("path", "status"), [("/nothing/here", 404), ("/images/nothing", 404), ("/cloud/hosts/", 403)])
def test_error_pages_show_the_request_id(alice: Persona, browse, path: str, status: int) -> None:
    answer = browse(alice).get(path)
    assert answer.status_code == status
    assert answer["X-Openstack-Request-Id"] in answer.content.decode()
    assert b"Nacelle" in answer.content


def test_a_fault_of_ours_is_a_page_with_the_request_id(alice: Persona, browse, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("the secret reason")

    monkeypatch.setattr("portal.dashboard.views.instances._table", broken)
    client = browse(alice)
    client.raise_request_exception = False
    answer = client.get("/instances/")
    assert answer.status_code == 500
    assert answer["X-Openstack-Request-Id"] in answer.content.decode()
    assert b"secret reason" not in answer.content


def test_scripts_and_templates_name_files_that_are_there() -> None:
    templates = Path(settings.BASE_DIR / "templates")
    named = {
        name for one in templates.rglob("*.html") for name in re.findall(r"{% static '([^']+)' %}", one.read_text())
    }
    assert named
    ours = {name for name in named if not name.startswith(("vendor/", "admin/"))}
    assert [name for name in sorted(ours) if not (Path(settings.BASE_DIR) / "static" / name).exists()] == []


def test_icons_that_templates_name_are_drawn() -> None:
    drawn = set(re.findall(r'<symbol id="([\w-]+)"', (Path(settings.BASE_DIR) / "static/img/icons.svg").read_text()))
    templates = Path(settings.BASE_DIR / "templates")
    named = {name for one in templates.rglob("*.html") for name in re.findall(r'{% icon "([\w-]+)"', one.read_text())}
    named |= {icon for _, icon, _ in (*context.PROJECT_LINKS, *context.CLOUD_LINKS)} | set(menus.ICONS.values())
    assert named - drawn == set()
