"""Two requests for one instance at the same moment: one is accepted, the other is told why not."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from compute.errors import Conflict
from compute.models import Action, Instance
from compute.operations import OPERATIONS
from tests.engine.matrix import finish, shared_host
from tests.engine.test_every_operation import Story, clear_away, story

__all__ = ["shared_host", "story"]
pytestmark = pytest.mark.django_db(transaction=True)
# Those that show what is under way: no other may start over it, but what cancels it (a deletion).
ALONE = [
    name
    for name, operation in OPERATIONS.items()
    if operation.during is not None and operation.during not in operation.over and name != "create"
]
TIMES = 2


def test_what_may_come_at_any_time_is_known() -> None:
    """Nova shows no task for these, so the instance goes on and further requests are taken in turn."""
    assert set(OPERATIONS) - set(ALONE) >= {"create", "delete", "force_delete", "attach_interface"}
    assert len(ALONE) > 20


@pytest.mark.parametrize("name", ALONE)
def test_of_two_at_once_one_is_accepted(story: Story, name: str) -> None:
    for _ in range(TIMES):
        instance = story.ready(name)
        before = Action.objects.count()
        said = at_once(lambda: story.ask(instance, name))
        assert sorted(said) == ["accepted", "conflict"]
        assert Action.objects.count() == before + 1
        finish(instance)
        assert Action.objects.order_by("id").filter(operation=name).last().state == "done"  # type: ignore[union-attr]  # there is one
        clear_away(story, Instance.objects.get(pk=instance.pk))


def at_once(ask: Any) -> list[str]:
    """What two are told who ask at the same moment."""
    ready = threading.Barrier(2)

    def one() -> str:
        try:
            ready.wait(30)
            ask()
            return "accepted"
        except Conflict:
            return "conflict"
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as people:
        return [told.result(60) for told in [people.submit(one), people.submit(one)]]
