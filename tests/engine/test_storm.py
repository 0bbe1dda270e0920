"""Many users and workers at once, hosts that fail: quota is never exceeded, and what is counted is what is there."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress

import pytest
from django.db import connections
from django.db.models import Sum

from compute import quota, reconciliation
from compute.errors import Conflict, NotFound, QuotaExceeded
from compute.hosts.connections import hypervisor_of
from compute.hypervisor.fake.faults import Fault
from compute.models import OPEN_STATES, Action, Host, Instance, Port, PortAddress, QuotaLimit
from compute.operations import OPERATIONS
from compute.operations.create import BootRequest, create
from compute.operations.engine import request
from compute.operations.worker import perform

pytestmark = pytest.mark.django_db(transaction=True)
LIMIT = 4


class Storm:
    """Its users and workers, and what went wrong with them."""

    def __init__(self, cloud, actor) -> None:
        self.cloud, self.actor = cloud, actor
        self.over = False
        self.errors: list[BaseException] = []
        self.wanted = BootRequest(name="storm", flavor_id=cloud.nano.id, image_id=str(cloud.image.id))

    def use(self, seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(8):
            with suppress(QuotaExceeded):
                create(self.actor, self.wanted)
            self.over |= Instance.objects.alive().count() > LIMIT
            time.sleep(chance.random() * 0.2)
            victim = Instance.objects.alive().order_by("?").first()
            if victim is not None and chance.random() < 0.6:
                with suppress(Conflict, NotFound):
                    request(OPERATIONS["delete"], victim, self.actor)

    def work(self, until: threading.Event) -> None:
        while (open_now := list(Action.objects.filter(state__in=OPEN_STATES).order_by("?")[:2])) or not until.is_set():
            for action in open_now:
                perform(action.pk, action.progress.get("lane", "compute"))
            time.sleep(0.01)

    def run(self) -> None:
        ended = threading.Event()
        users = [self._thread(self.use, seed) for seed in range(3)]
        workers = [self._thread(self.work, ended) for _ in range(3)]
        for thread in users:
            thread.join()
        ended.set()
        for thread in workers:
            thread.join()

    def _thread(self, target, argument) -> threading.Thread:
        def guarded() -> None:
            try:
                target(argument)
            except BaseException as error:
                self.errors.append(error)
            finally:
                connections.close_all()

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread


def assert_counted(cloud) -> None:
    """Claims, quota, ports, guests: each the sum over the instances."""
    alive, host = Instance.objects.alive(), Host.objects.get()
    placed = alive.filter(host=host)
    sums = placed.aggregate(memory=Sum("memory_mb"), disk=Sum("disk_gb"))
    assert (host.instances_used, host.memory_mb_used) == (placed.count(), sums["memory"] or 0)
    assert host.disk_gb_used == (sums["disk"] or 0)
    assert quota.usage(cloud.demo.id)["instances"] == alive.count()
    assert reconciliation.differences() == []
    assert Port.objects.count() == alive.count()
    assert PortAddress.objects.values("port").distinct().count() == PortAddress.objects.count()
    assert set(hypervisor_of(host).guests()) == set(alive.filter(vm_state="active").values_list("pk", flat=True))


def test_a_storm_of_creates_deletes_and_failures_leaves_everything_counted(cloud, alice, drain):
    QuotaLimit.objects.create(project_id=cloud.demo.id, resource="instances", limit=LIMIT)
    for verb in ("define", "start"):
        hypervisor_of(cloud.host).inject(Fault(verb, do="fail", times=3))
    storm = Storm(cloud, alice.actor)
    storm.run()
    assert storm.errors == []
    assert not storm.over
    with suppress(QuotaExceeded):  # then some have stayed; on a slow machine each may be deleted before it is built
        create(alice.actor, storm.wanted)
    drain()
    assert Action.objects.filter(operation="create").exclude(state="cancelled").exists()
    assert not Instance.objects.alive().exclude(task_state=None).exists()
    assert_counted(cloud)
    for instance in Instance.objects.alive():
        request(OPERATIONS["delete"], instance, alice.actor)
    drain()
    assert_counted(cloud)
    assert (Host.objects.get().memory_mb_used, Port.objects.count()) == (0, 0)
    for instance in Instance.objects.all():
        assert hypervisor_of(cloud.host).volumes(prefix=str(instance.id)) == {}
