"""The first things of a cloud, and the files that let clients in."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from portal.identity.actor import RoleGraph
from portal.identity.bootstrap import ROLES, Access, admin_openrc, clouds_yaml, ensure_identity, write_private
from portal.identity.models import Assignment, Domain, Project, Role, User

pytestmark = pytest.mark.django_db
NASTY = 'it\'s `id` $(id) "quoted" #no: {yes}\n- second\\line é'


def test_an_empty_database_gets_an_administrator() -> None:
    identity = ensure_identity()
    assert identity.password is not None
    assert identity.user.check_password(identity.password)
    assert identity.domain.id == "default"
    assert identity.user.is_cloud_admin
    admin = Role.objects.get(name="admin")
    assert {role.name for role in RoleGraph.load().expand({admin.id})} == {"admin", "manager", "member", "reader"}
    assert set(Role.objects.filter(options__immutable=True).values_list("name", flat=True)) == set(ROLES)


def test_a_second_run_changes_nothing() -> None:
    first = ensure_identity("secret-one")
    stamp = User.objects.get(pk=first.user.pk).token_stamp
    counts = [model.objects.count() for model in (Domain, Project, User, Role, Assignment)]
    again = ensure_identity(None)
    assert again.password is None
    assert User.objects.get(pk=first.user.pk).token_stamp == stamp
    assert ensure_identity("secret-one").user.token_stamp == stamp
    assert [model.objects.count() for model in (Domain, Project, User, Role, Assignment)] == counts


def test_another_password_replaces_the_old_one() -> None:
    first = ensure_identity("secret-one")
    ensure_identity("secret-two")
    user = User.objects.get(pk=first.user.pk)
    assert user.check_password("secret-two")
    assert user.token_stamp != first.user.token_stamp


def test_the_password_is_not_in_the_words_for_a_log() -> None:
    assert "hidden" not in repr(ensure_identity("hidden"))
    assert "hidden" not in repr(Access("admin", "hidden", "admin"))


def test_clouds_yaml_holds_every_value_as_text() -> None:
    text = clouds_yaml(Access(username=NASTY, password="123", project_name=NASTY))
    cloud = yaml.safe_load(text)["clouds"]["nacelle"]
    assert cloud["auth"]["username"] == NASTY
    assert cloud["auth"]["password"] == "123"
    assert cloud["auth"]["auth_url"].endswith("/identity/v3")
    assert cloud["region_name"]


def test_openrc_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "openrc"
    write_private(path, admin_openrc(Access(username="admin", password=NASTY, project_name=NASTY)))
    script = f'. "{path}"; printf "%s|%s" "$OS_PASSWORD" "$OS_PROJECT_NAME"'
    shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout == f"{NASTY}|{NASTY}"
    assert shown.stderr == ""


def test_files_are_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "clouds.yaml"
    path.write_text("old")
    os.chmod(path, 0o644)
    write_private(path, "new\n")
    assert path.read_text() == "new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(UnicodeEncodeError):
        write_private(path, "\ud800")
    assert path.read_text() == "new\n"
    assert [one.name for one in tmp_path.iterdir()] == ["clouds.yaml"]
