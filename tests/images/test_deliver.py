"""Images on their way to hosts, ahead of boots."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.utils import timezone

from compute.aggregates import add_host, create_aggregate
from compute.hosts.connections import hypervisor_of
from compute.hypervisor.fake.faults import Fault
from compute.images import deliver
from compute.models import Aggregate, Change, Host, Image, ImageDelivery
from compute.tasks import deliver_image
from tests.api.compute.conftest import at, message
from tests.conftest import Cloud, Persona

pytestmark = pytest.mark.django_db


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the queue was told."""
    told: list[Any] = []
    monkeypatch.setattr(deliver, "async_task", lambda *words, **options: told.append((words, options)))
    return told


@pytest.fixture
def rack(cloud: Cloud, root: Persona, rung: list[Any]) -> Aggregate:
    """Two hosts."""
    Host.objects.create(name="host-2", uri=f"fake://{uuid.uuid4()}", state="up")
    made = create_aggregate(root.actor, name="rack")
    for name in ("host-1", "host-2"):
        add_host(root.actor, made, host=name)
    return made


def ask(persona: Persona, rack: Aggregate, *images: object, version: str = "2.81") -> Any:
    """POST /os-aggregates/{id}/images."""
    body = {"cache": [{"id": str(image)} for image in images]}
    return persona.post(f"/compute/v2.1/os-aggregates/{rack.pk}/images", body, headers=at(version))


def test_an_image_comes_to_every_host(
    cloud: Cloud, root: Persona, rack: Aggregate, rung: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        response = ask(root, rack, cloud.image.id)
    assert (response.status_code, response.content) == (202, b"")
    assert [words[0] for words, options in rung if options == {"cluster": "transfer"}] == [
        "compute.tasks.deliver_image"
    ] * 2
    for words, _ in rung:
        deliver_image(words[1])
        deliver_image(words[1])  # a message may come twice
    assert not ImageDelivery.objects.exists()
    assert all(hypervisor_of(host).has_base(cloud.image.base_volume) for host in Host.objects.all())
    assert Change.objects.filter(kind="host").count() >= 4


def test_asked_twice_it_is_brought_once(cloud: Cloud, root: Persona, rack: Aggregate) -> None:
    assert [ask(root, rack, cloud.image.id).status_code for _ in range(2)] == [202, 202]
    assert ImageDelivery.objects.count() == 2


def test_a_lost_message_is_sent_again(cloud: Cloud, root: Persona, rack: Aggregate, rung: list[Any]) -> None:
    ask(root, rack, cloud.image.id)
    assert (deliver.sweep(), deliver.sweep(), len(rung)) == (2, 0, 2)
    ImageDelivery.objects.update(next_at=timezone.now())
    assert deliver.sweep() == 2


def test_a_queue_that_does_not_answer_loses_nothing(
    cloud: Cloud, root: Persona, rack: Aggregate, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(root, rack, cloud.image.id)

    def broken(*words: Any, **options: Any) -> None:
        raise ConnectionError("no queue")

    monkeypatch.setattr(deliver, "async_task", broken)
    deliver.sweep()
    assert ImageDelivery.objects.count() == 2


def test_a_failure_is_said_tried_again_and_given_up(cloud: Cloud, root: Persona, rack: Aggregate) -> None:
    ask(root, rack, cloud.image.id)
    row = ImageDelivery.objects.filter(host=cloud.host).get()
    for number in range(1, deliver.MOST_TRIES):
        hypervisor_of(cloud.host).inject(Fault("ensure_base"))  # type: ignore[attr-defined]  # it is a fake one
        deliver.work(row.pk)
        row.refresh_from_db()
        assert row.tries == number and row.message and row.next_at > timezone.now()
    hypervisor_of(cloud.host).inject(Fault("ensure_base"))  # type: ignore[attr-defined]  # it is a fake one
    deliver.work(row.pk)
    assert not ImageDelivery.objects.filter(pk=row.pk).exists()


def test_who_may_and_when(cloud: Cloud, root: Persona, alice: Persona, anyone: Persona, rack: Aggregate) -> None:
    assert ask(alice, rack, cloud.image.id).status_code == 403
    assert ask(anyone, rack, cloud.image.id).status_code == 401
    assert ask(root, rack, cloud.image.id, version="2.80").status_code == 404
    assert not ImageDelivery.objects.exists()


def test_bad_requests(cloud: Cloud, root: Persona, rack: Aggregate) -> None:
    path = f"/compute/v2.1/os-aggregates/{rack.pk}/images"
    queued = Image.objects.create(name="queued", project=cloud.demo)
    for body in ({}, {"cache": []}, {"cache": [{}]}, {"cache": ["x"]}, {"cache": [{"id": "x"}]}, {"cache": {}}):
        assert root.post(path, body, headers=at("2.81")).status_code == 400, body
    response = ask(root, rack, cloud.image.id, cloud.image.id)
    assert response.status_code == 400 and "Duplicate" in message(response)
    assert ask(root, rack, uuid.uuid4()).status_code == 404
    assert ask(root, rack, queued.id).status_code == 400
    assert ask(root, Aggregate(pk=999), cloud.image.id).status_code == 404
    assert not ImageDelivery.objects.exists()
