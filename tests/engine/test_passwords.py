"""The administrator's password on its way to the guest: on the config drive, and nowhere else in clear."""

from __future__ import annotations

import base64
import io
import json
import logging
from typing import Any

import pytest
from pycdlib import PyCdlib

from compute.hosts.connections import hypervisor_of
from compute.models import Action, Event, Host, Instance
from compute.operations import OPERATIONS
from compute.operations.cancellation import cancel_action
from compute.operations.engine import request
from compute.operations.rebuild import RebuildRequest, rebuild
from tests.conftest import Cloud, Persona
from tests.engine.matrix import boot, do, finish, shared_host

__all__ = ["shared_host"]
pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "hunter2"


def meta_data(host: Host, instance: Instance) -> dict[str, Any]:
    """What the guest reads on its config drive."""
    iso, out = PyCdlib(), io.BytesIO()
    iso.open_fp(io.BytesIO(b"".join(hypervisor_of(host).download(instance.config_volume))))
    iso.get_file_from_iso_fp(out, joliet_path="/openstack/latest/meta_data.json")
    return dict(json.loads(out.getvalue()))


def assert_kept_nowhere() -> None:
    for action in Action.objects.all():
        assert action.secret == ""
        assert PASSWORD not in f"{action.params} {action.progress} {action.message}"
    assert not any(PASSWORD in f"{event.message} {event.traceback}" for event in Event.objects.all())


def test_of_a_new_instance(cloud: Cloud, shared_host: Host, alice: Persona, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        instance = boot(alice, cloud, admin_password=PASSWORD)
    assert meta_data(shared_host, instance)["admin_pass"] == PASSWORD
    assert PASSWORD not in caplog.text
    assert_kept_nowhere()
    assert "admin_pass" not in meta_data(shared_host, boot(alice, cloud))


def test_it_waits_sealed(cloud: Cloud, shared_host: Host, alice: Persona) -> None:
    instance = boot(alice, cloud)
    rebuild(alice.actor, instance, RebuildRequest(str(cloud.image.id), admin_password=PASSWORD))
    action = Action.objects.get(operation="rebuild")
    assert action.secret and PASSWORD not in f"{action.secret} {action.params}"
    instance = finish(instance)
    assert meta_data(shared_host, instance)["admin_pass"] == PASSWORD
    assert_kept_nowhere()


def test_of_a_rescue_it_goes_with_the_rescue(cloud: Cloud, shared_host: Host, alice: Persona) -> None:
    instance = boot(alice, cloud)
    secrets = {"admin_password": PASSWORD}
    instance = do(instance, lambda one: request(OPERATIONS["rescue"], one, alice.actor, secrets=secrets))
    assert meta_data(shared_host, instance)["admin_pass"] == PASSWORD
    instance = do(instance, lambda one: request(OPERATIONS["unrescue"], one, alice.actor))
    assert "admin_pass" not in meta_data(shared_host, instance)
    assert_kept_nowhere()


@pytest.mark.parametrize("before", [None, base64.b64encode(b"#!/bin/sh\n# old hunter2").decode()])
def test_a_rebuild_keeps_no_user_data_in_its_action_and_brings_it_back(
    cloud: Cloud, shared_host: Host, alice: Persona, before: str | None
) -> None:
    instance = boot(alice, cloud, user_data=before)
    after = base64.b64encode(b"#!/bin/sh\n# new hunter2").decode()
    wanted = RebuildRequest(str(cloud.image.id), {"user_data": after, "name": "anew"})
    hypervisor_of(shared_host).break_down()
    assert rebuild(alice.actor, instance, wanted).user_data == after
    action = Action.objects.get(operation="rebuild")
    assert "user_data" not in str(action.params)
    hypervisor_of(shared_host).heal()
    cancel_action(alice.actor, instance, action.request_id)
    instance = finish(instance)
    assert (instance.user_data, instance.name) == (before, "web")
    rebuild(alice.actor, instance, wanted)
    assert finish(instance).user_data == after
    assert_kept_nowhere()
