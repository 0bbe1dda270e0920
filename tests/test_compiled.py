"""Statements that are made once answer as the querysets do that they are made of, with any values."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import F
from django.utils import timezone

from compute.models import Action, Change, Instance, PowerState
from compute.operations.create import BootRequest, create
from portal.compiled import Rows, among, given, insert, update_each
from tests.conftest import Cloud, Persona

pytestmark = pytest.mark.django_db

BY_NAME = Rows(lambda: Instance.objects.filter(**given(Instance, "name")).select_related("project").order_by("id"))
AMONG = Rows(lambda: Instance.objects.filter(**among(Instance, pk="ids")).order_by("name"), progress=F("progress") + 1)
NAMES = Rows(lambda: Instance.objects.filter(**among(Instance, pk="ids")).order_by("name").values_list("name"))
ON_HOST = Rows(lambda: Instance.objects.filter(**given(Instance, "host")).values_list("pk"))


@pytest.fixture
def three(cloud: Cloud, alice: Persona) -> list[Instance]:
    wanted = {"flavor_id": cloud.nano.id, "image_id": str(cloud.image.id)}
    return [create(alice.actor, BootRequest(name=name, **wanted))[0] for name in ("a", "b", "c")]


def test_objects_are_those_of_the_queryset(three: list[Instance], django_assert_num_queries: Any) -> None:
    for name, wanted in (("b", three[1]), ("a", three[0]), ("b", three[1])):
        with django_assert_num_queries(1):
            (found,) = BY_NAME.all(name=name)
            assert found.project.name
        assert found.__dict__.keys() >= wanted.__dict__.keys() - {"_state"}
        assert (found, found.flavor, found.created_at) == (wanted, wanted.flavor, wanted.created_at)
    assert BY_NAME.first(name="nobody") is None
    assert not BY_NAME.exist(name="nobody")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_list_of_any_length_is_one_value(three: list[Instance], count: int) -> None:
    ids = [instance.pk for instance in three[:count]]
    assert NAMES.rows(ids=ids) == [("a",), ("b",), ("c",)][:count]
    assert AMONG.update({"power_state": PowerState.RUNNING, "task_state": None}, ids=ids) == count
    changed = Instance.objects.filter(power_state=PowerState.RUNNING, progress=1).order_by("name")
    assert list(changed.values_list("pk", flat=True)) == ids


def test_what_is_null_is_equal_to_nothing(three: list[Instance]) -> None:
    assert not ON_HOST.exist(host=None)


def test_new_rows_learn_their_keys_and_have_their_defaults(three: list[Instance]) -> None:
    rows = [Change(kind="server", object_id=str(one.pk)) for one in three]
    insert(*rows)
    assert list(Change.objects.filter(pk__in=[row.pk for row in rows]).order_by("pk")) == rows
    assert not any(row._state.adding for row in rows)
    assert all(Change.objects.get(pk=row.pk).at == row.at for row in rows)


def test_a_row_that_is_there_is_not_written_again(three: list[Instance]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        insert(three[0])
    assert Instance.objects.count() == 3


def test_each_row_gets_values_of_its_own(three: list[Instance], cloud: Cloud) -> None:
    a, b, c = three
    now = timezone.now()
    values = {a.pk: (cloud.host, {"x": "ö%s'"}, now, None), b.pk: (None, {}, now, "spawning")}
    assert update_each(Instance, ("host", "metadata", "updated_at", "task_state"), values) == 2
    found = {one.name: one for one in Instance.objects.all()}
    assert (found["a"].host, found["a"].metadata, found["a"].task_state) == (cloud.host, {"x": "ö%s'"}, None)
    assert (found["b"].host, found["b"].metadata, found["b"].task_state) == (None, {}, "spawning")
    assert found["a"].updated_at == found["b"].updated_at == now
    assert found["c"].updated_at == c.updated_at


def test_only_rows_where_a_field_is_still_null(three: list[Instance]) -> None:
    a, b, _ = three
    Instance.objects.filter(pk=a.pk).update(deleted_at=timezone.now())
    assert update_each(Instance, ["name"], {a.pk: ["x"], b.pk: ["y"]}, null="deleted_at") == 1
    assert sorted(Instance.objects.values_list("name", flat=True)) == ["a", "c", "y"]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite keeps a text of any length")
def test_what_is_too_long_is_an_error(three: list[Instance]) -> None:
    with pytest.raises(DataError), transaction.atomic():
        update_each(Instance, ["reservation_id"], {three[0].pk: ["x" * 33]})


def test_keys_that_are_numbers(three: list[Instance], alice: Persona) -> None:
    actions = [Action.objects.create(instance=one, operation="start", request_id="r", project_id="p") for one in three]
    assert update_each(Action, ["progress"], {one.pk: [{"n": one.pk}] for one in actions}) == 3
    found = Action.objects.filter(operation="start").order_by("pk")
    assert [action.progress for action in found] == [{"n": one.pk} for one in actions]
