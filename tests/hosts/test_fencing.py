"""Fencing a host: methods, programs, words, and the host that answers again."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from compute.errors import Conflict, Invalid
from compute.hosts import fence_methods, fence_runs, fencing
from compute.hosts.registration import mark_down, mark_up
from compute.models import Fencing, Host, HostEvent
from portal.identity.policy import Forbidden
from portal.setup.forks import close_connections

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def host(cloud: Any) -> Host:
    """One that does not answer."""
    mark_down(cloud.host.pk, "no route to host")
    return Host.objects.get()


@pytest.fixture
def method(settings: Any, tmp_path: Path) -> Any:
    """Write methods into the file."""
    settings.FENCE_METHODS = str(tmp_path / "fence.json")

    def write(**methods: Any) -> None:
        Path(settings.FENCE_METHODS).write_text(json.dumps(methods))

    return write


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def fenced_by(root: Any, host: Host, method: str = "power", timeout: int = 30, **values: str) -> Fencing:
    fencing.set_fence(root.actor, host, method=method, values=values, timeout=timeout)
    row = fencing.fence(root.actor, host)
    work_off(row)
    return Fencing.objects.get(pk=row.pk)


def work_off(row: Fencing) -> None:
    owner = fence_runs.take(row.pk)
    assert owner
    fence_runs.run(row.pk, owner)


def now(host: Host) -> Host:
    return Host.objects.get(pk=host.pk)


def test_a_program_switches_it_off_with_its_arguments_as_they_are(root, host, method, tmp_path):
    seen = tmp_path / "seen"
    code = "import sys, os, json; json.dump([sys.argv[1:], dict(os.environ)], open(sys.argv[1], 'w')); print('bye')"
    method(power={"off": python(code, str(seen), "{name}", "{bmc}", "{bmc}.lan {user}")})
    row = fenced_by(root, host, bmc="10.0.0.7; rm -rf /", user="$(id)")
    assert (row.state, row.result, row.output) == ("done", "Switched off by power.", "bye")
    arguments, environment = json.loads(seen.read_text())
    assert arguments[1:] == [host.name, "10.0.0.7; rm -rf /", "10.0.0.7; rm -rf /.lan $(id)"]
    assert not {name for name in environment if name.startswith(("NACELLE", "DATABASE", "DJANGO"))}
    assert now(host).is_fenced and now(host).fenced_at is not None
    said = [(one.kind, one.message, one.user_name) for one in HostEvent.objects.order_by("id")]
    assert said[1:] == [
        ("fence", "It is fenced by power from now on.", "root"),
        ("fence", "It is to be switched off by power.", "root"),
        ("fence", "Switched off by power.", ""),
    ]


def test_it_is_asked_whether_it_is_off_until_it_says_so(root, host, method, tmp_path, monkeypatch):
    monkeypatch.setattr(fence_runs, "STATUS_SECONDS", 0.01)
    count = tmp_path / "count"
    code = (
        "import sys, pathlib; p = pathlib.Path(sys.argv[1]); n = int(p.read_text()) if p.exists() else 0\n"
        "p.write_text(str(n + 1)); print('power is off' if n == 2 else 'power is on')"
    )
    method(power={"off": python("print('asked')"), "status": python(code, str(count)), "off_says": "is off"})
    row = fenced_by(root, host)
    assert (row.state, row.output, count.read_text()) == ("done", "asked\npower is off", "3")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"off": python("import sys; print('no such chassis'); sys.exit(3)")}, "ended with code 3"),
        ({"off": ["/nowhere/ipmitool"]}, "does not start: FileNotFoundError"),
        ({"off": python("import time; print('wait', flush=True); time.sleep(600)")}, "not confirmed to be off within"),
        (
            {"off": python(""), "status": python("print('on')"), "off_says": "is off"},
            "not confirmed to be off within 1 s",
        ),
        ({"off": python("print(1)"), "secrets": {"PASSWORD": "env:NOT_THERE"}}, "cannot be had: KeyError of a env"),
        ({"off": python("print(1)"), "secrets": {"PASSWORD": "file:/nowhere"}}, "cannot be had: FileNotFoundError"),
    ],
)
def test_what_is_not_confirmed_fences_nothing(root, host, method, given, why):
    method(power=given)
    row = fenced_by(root, host, timeout=1)
    assert row.state == "failed" and why in row.result
    assert not now(host).is_fenced
    assert HostEvent.objects.first().message == f"It could not be fenced. {row.result}"
    assert fencing.fence(root.actor, host).state == "queued"  # it can be tried again


def test_a_program_that_hangs_is_ended_with_all_that_it_started(root, host, method, tmp_path):
    pid = tmp_path / "pid"
    code = (
        "import subprocess, sys, time; p = subprocess.Popen(['sleep', '600'])\n"
        "open(sys.argv[1], 'w').write(str(p.pid)); time.sleep(600)"
    )
    method(power={"off": python(code, str(pid))})
    assert fenced_by(root, host, timeout=2).state == "failed"
    deadline = time.monotonic() + 30
    while _lives(int(pid.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_secrets_reach_the_program_alone(root, host, method, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("BMC_TOKEN", "hunter2-from-env")
    (tmp_path / f"{host.name}.password").write_text("hunter3-from-file\n")
    code = "import os; print(os.environ['TOKEN'], os.environ['IPMI_PASSWORD'])"
    secrets = {"TOKEN": "env:BMC_TOKEN", "IPMI_PASSWORD": f"file:{tmp_path}/{{name}}.password"}
    method(power={"off": python(code), "secrets": secrets})
    row = fenced_by(root, host)
    assert (row.state, row.output) == ("done", "••• •••")
    assert "hunter" not in caplog.text
    told = root.get(f"/nacelle/v1/hosts/{host.uuid}/fence").content.decode()
    assert "hunter" not in told and "BMC_TOKEN" not in told and str(tmp_path) not in told


def test_a_hosts_name_leads_to_no_other_file(root, host, method, tmp_path):
    (tmp_path / "secret").write_text("of another")
    Host.objects.update(name="../secret")
    method(power={"off": python("print(1)"), "secrets": {"P": f"file:{tmp_path}/bmc/{{name}}"}})
    row = fenced_by(root, now(host))
    assert row.state == "failed" and "named after 'name'" in row.result


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, "asks for: bmc"),
        ({"bmc": ""}, "asks for: bmc"),
        ({"bmc": "-oProxyCommand"}, "not begin with a hyphen"),
        ({"bmc": "a\nb"}, "printable"),
        ({"bmc": "x" * 256}, "at most 255 characters"),
        ({"bmc": "a", "other": "b"}, "not for other"),
    ],
)
def test_values_that_make_no_sense_are_refused(root, host, method, values, why):
    method(power={"off": ["/bin/true", "{bmc}"]})
    with pytest.raises(Invalid, match=why):
        fencing.set_fence(root.actor, host, method="power", values=values, timeout=60)
    assert now(host).fence_method == ""


@pytest.mark.parametrize(
    "given",
    [
        [],
        {"off": "ipmitool power off"},
        {"off": []},
        {"off": ["a", 1]},
        {"off": ["a"], "status": ["b"]},
        {"off": ["a"], "off_says": "off"},
        {"off": ["a"], "secrets": {"P": "hunter2"}},
        {"off": ["a"], "shell": True},
    ],
)
def test_a_file_that_makes_no_sense_says_so(method, given):
    method(power=given)
    with pytest.raises(fence_methods.NoMethod, match="power"):
        fence_methods.methods()


def test_a_broken_file_stops_nothing_else(root, host, settings, tmp_path):
    settings.FENCE_METHODS = str(tmp_path / "fence.json")
    assert fence_methods.methods() == {}
    Path(settings.FENCE_METHODS).write_text("{")
    with pytest.raises(fence_methods.NoMethod, match="cannot be read"):
        fencing.set_fence(root.actor, host, method="power", values={}, timeout=60)
    assert root.get(f"/nacelle/v1/hosts/{host.uuid}/fence").json()["fence"]["methods"] == {}


def test_only_a_host_that_is_down_is_fenced_and_once(root, cloud, method):
    method(power={"off": ["/bin/true"]})
    host = cloud.host
    fencing.set_fence(root.actor, host, method="power", values={}, timeout=60)
    for verb in (fencing.fence, fencing.confirm_off):
        with pytest.raises(Conflict, match="answers"):
            verb(root.actor, host)
    mark_down(host.pk, "gone")
    fencing.fence(root.actor, host)
    with pytest.raises(Conflict, match="being fenced already"):
        fencing.fence(root.actor, host)
    Fencing.objects.all().delete()
    fencing.confirm_off(root.actor, host)
    for verb in (fencing.fence, fencing.confirm_off):
        with pytest.raises(Conflict, match="fenced already"):
            verb(root.actor, host)


def test_a_word_is_enough_and_can_be_taken_back(root, host):
    with pytest.raises(Conflict, match="no fence method"):
        fencing.fence(root.actor, host)
    row = fencing.confirm_off(root.actor, host)
    assert (row.state, row.method, row.result, row.user_name) == ("done", "", "root says that it is off.", "root")
    assert now(host).is_fenced
    fencing.unfence(root.actor, host)
    assert not now(host).is_fenced
    with pytest.raises(Conflict, match="not fenced"):
        fencing.unfence(root.actor, host)


def test_forced_down_is_a_word_from_outside(root, cloud):
    host = cloud.host
    assert root.put(
        f"/compute/v2.1/os-services/{host.service_uuid}", {"forced_down": True},
        headers={"OpenStack-API-Version": "compute 2.53"},
    ).status_code == 200  # fmt: skip
    assert now(host).is_fenced
    with pytest.raises(Conflict, match="forced down"):
        fencing.unfence(root.actor, host)


def test_the_fence_is_lifted_when_the_host_answers(root, host):
    fencing.confirm_off(root.actor, host)
    mark_up(now(host))
    after = now(host)
    assert (after.state, after.fenced_at, after.down_since, after.is_fenced) == ("up", None, None, False)
    assert HostEvent.objects.first().message == "It answers again. It is fenced no more."


def test_a_host_that_came_back_meanwhile_is_not_fenced(root, host, method):
    method(power={"off": ["/bin/true"]})
    fencing.set_fence(root.actor, host, method="power", values={}, timeout=60)
    row = fencing.fence(root.actor, host)
    mark_up(now(host))
    work_off(row)
    row.refresh_from_db()
    assert (row.state, row.result) == ("failed", "The host answers: it was not off, or is on again.")
    assert now(host).fenced_at is None


def test_two_watchers_run_it_once(root, host, method):
    method(power={"off": ["/bin/true"]})
    fencing.set_fence(root.actor, host, method="power", values={}, timeout=60)
    row = fencing.fence(root.actor, host)
    assert fence_runs.take(row.pk)
    assert fence_runs.take(row.pk) == ""


def test_whoever_dies_at_it_is_followed_by_another(root, host, method, settings, tmp_path):
    method(power={"off": ["/bin/true"]})
    fencing.set_fence(root.actor, host, method="power", values={}, timeout=60)
    row = fencing.fence(root.actor, host)
    first = fence_runs.take(row.pk)
    Fencing.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    work_off(row)
    assert Fencing.objects.get().state == "done"
    with pytest.raises(fence_runs.Lost):
        fence_runs.run(row.pk, first)  # the first was only slow
    assert Fencing.objects.get().state == "done"


def test_what_kills_everybody_is_given_up(root, host, method):
    method(power={"off": ["/bin/true"]})
    fencing.set_fence(root.actor, host, method="power", values={}, timeout=60)
    row = fencing.fence(root.actor, host)
    Fencing.objects.update(attempts=3)
    work_off(row)
    row.refresh_from_db()
    assert row.state == "failed" and "given up" in row.result


def test_the_sweep_begins_what_waits(root, host, method):
    method(power={"off": ["/bin/true"]})
    fencing.set_fence(root.actor, host, method="power", values={}, timeout=60)
    fencing.fence(root.actor, host)
    assert (fence_runs.sweep(), fence_runs.sweep()) == (1, 0)
    for thread in [one for one in threading.enumerate() if one.name.startswith("fence-")]:
        thread.join(timeout=60)
    assert Fencing.objects.get().state == "done"


def test_a_process_killed_while_the_program_runs(root, host, method, settings, tmp_path):
    """The worker is killed for real, while its program sleeps; the next one finishes."""
    flag = tmp_path / "flag"
    code = (
        "import os, sys, time, pathlib; p = pathlib.Path(sys.argv[1]); again = p.exists()\n"
        "new = p.with_suffix('.new')\n"
        "again or (new.write_text(str(os.getpid())), new.rename(p), time.sleep(600))"
    )
    method(power={"off": python(code, str(flag))})
    settings.LEASE_SECONDS = 0.5
    fencing.set_fence(root.actor, host, method="power", values={}, timeout=30)
    row = fencing.fence(root.actor, host)
    close_connections()
    child = os.fork()
    if child == 0:
        try:
            fence_runs.run(row.pk, fence_runs.take(row.pk))
        finally:
            os._exit(0)
    deadline = time.monotonic() + 60
    while not flag.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.kill(int(flag.read_text()), signal.SIGKILL)
    while fence_runs.sweep() == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    while Fencing.objects.get().state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    row.refresh_from_db()
    assert (row.state, row.attempts) == ("done", 2)


def test_the_command_fences_and_lifts(root, host, method, capsys):
    method(power={"off": ["/bin/true"]})
    with pytest.raises(CommandError, match="no fence method"):
        call_command("host", "fence", host.name)
    fencing.set_fence(root.actor, host, method="power", values={}, timeout=60)
    call_command("host", "fence", host.name)
    assert "is fenced. Switched off by power." in capsys.readouterr().out
    call_command("host", "unfence", host.name)
    call_command("host", "fence", host.name, "--confirmed-off")
    assert now(host).is_fenced
    with pytest.raises(CommandError, match="no host nowhere"):
        call_command("host", "fence", "nowhere")


def test_only_administrators_fence(alice, bob, charlie, anyone, root, host, method):
    method(power={"off": ["/bin/true"]})
    path = f"/nacelle/v1/hosts/{host.uuid}/fence"
    for persona in (alice, bob, charlie):
        for call in (fencing.fence, fencing.confirm_off, fencing.unfence):
            with pytest.raises(Forbidden):
                call(persona.actor, host)
        for verb in ("get", "put", "post", "delete"):
            assert getattr(persona, verb)(path).status_code == 403
        assert persona.get(f"/nacelle/v1/hosts/{host.uuid}/events").status_code == 403
    assert anyone.get(path).status_code == 401
    assert not Fencing.objects.exists()


def test_the_api_sets_fences_and_lifts(root, host, method):
    method(power={"off": ["/bin/true", "{bmc}"]})
    path = f"/nacelle/v1/hosts/{host.uuid}/fence"
    assert root.post(path).status_code == 409
    assert root.put(path, {"method": "power", "values": {"bmc": 7}}).status_code == 400
    assert root.put(path, {"method": "nothing"}).status_code == 400
    put = root.put(path, {"method": "power", "values": {"bmc": "10.0.0.7"}, "timeout": 20}).json()["fence"]
    assert (put["method"], put["values"], put["timeout"], put["methods"]) == (
        "power", {"bmc": "10.0.0.7"}, 20, {"power": ["bmc"]},
    )  # fmt: skip
    assert root.post(path).json()["fencing"]["state"] == "queued"
    work_off(Fencing.objects.get())
    shown = root.get(path).json()["fence"]
    assert shown["fenced"] and shown["fencings"][0]["state"] == "done"
    assert root.delete(path).status_code == 204
    assert root.post(path, {"confirmed_off": True}).status_code == 202
    events = root.get(f"/nacelle/v1/hosts/{host.uuid}/events").json()["events"]
    assert events[0]["message"].startswith("It is off, by word")
    assert root.get("/nacelle/v1/hosts/00000000-0000-4000-8000-000000000000/fence").status_code == 404
