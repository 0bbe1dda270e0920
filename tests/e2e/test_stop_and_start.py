"""Stopping and starting Nacelle itself, and what it says when it cannot start."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.nacelle import PATIENCE, ROOT, Nacelle

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def other() -> Iterator[Nacelle]:
    """A second Nacelle, that these tests may stop."""
    own = Nacelle()
    try:
        own.build_image()
        yield own
    finally:
        own.remove()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_every_process_and_the_guests_go_on(other: Nacelle, number: signal.Signals) -> None:
    other.start()
    cloud = Cloud(other)
    hello = cloud.named("hello")
    assert hello is not None
    cloud.wait_for_status(hello["id"], "ACTIVE")
    guest = cloud.libvirt.lookupByUUIDString(hello["id"]).ID()
    processes = other.processes()
    assert len(processes) > 6
    said = other.stop(number)
    assert not [process for process in processes if process.is_running()]
    assert "Nacelle has stopped; the guests go on running." in said
    assert "Traceback" not in said
    assert cloud.libvirt.lookupByUUIDString(hello["id"]).ID() == guest
    cloud.close()


def test_the_next_start_finds_everything(other: Nacelle) -> None:
    other.start()
    cloud = Cloud(other)
    before = cloud.wire.get("/compute/v2.1/servers/detail").json["servers"]
    assert [server["name"] for server in before] == ["hello"]
    password, guests = other.credentials["password"], cloud.guests()
    cloud.close()
    other.stop()
    other.start()
    cloud = Cloud(other)
    after = cloud.wire.get("/compute/v2.1/servers/detail").json["servers"]
    assert [(server["id"], server["status"]) for server in after] == [(before[0]["id"], "ACTIVE")]
    assert other.credentials["password"] == password
    assert cloud.guests() == guests
    said = other.shown()
    assert "Launched" not in said
    assert "Registered" not in said
    cloud.close()
    other.stop()


def test_a_killed_supervisor_leaves_no_process_behind(other: Nacelle) -> None:
    other.start()
    processes = other.processes()
    other.stop(signal.SIGKILL)
    for process in processes[1:]:
        process.wait(PATIENCE)
    other.start()
    other.stop()


def refusal(nacelle: Nacelle, *prefix: str, **settings: str) -> str:
    """Try to start it; return its one line of complaint."""
    command = [*prefix, sys.executable, "manage.py", "run"]
    environment = {**nacelle.environment, **settings}
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 1, ended
    lines = [line for line in (ended.stdout + ended.stderr).splitlines() if line.strip()]
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("variable", ["NACELLE_BIND", "NACELLE_CONSOLE_BIND"])
def test_a_port_in_use_is_one_sentence_that_names_the_setting(other: Nacelle, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refusal(other, **{variable: address})
    assert said == f"CommandError: Cannot listen on {address}: Address already in use. Set {variable} to another."


def test_an_address_of_another_machine_is_one_sentence(other: Nacelle) -> None:
    said = refusal(other, NACELLE_BIND="192.0.2.1:8000")
    assert said.startswith("CommandError: Cannot listen on 192.0.2.1:8000: ")


@pytest.mark.parametrize("address", ["8000", "127.0.0.1:http", "127.0.0.1:99999"])
def test_an_address_that_is_none_is_one_sentence(other: Nacelle, address: str) -> None:
    said = refusal(other, NACELLE_BIND=address)
    assert said == f"CommandError: NACELLE_BIND is an address and a port, such as 127.0.0.1:8000, not {address!r}."


def test_a_data_folder_in_use_is_one_sentence(nacelle: Nacelle) -> None:
    said = refusal(nacelle, NACELLE_BIND="127.0.0.1:0", NACELLE_CONSOLE_BIND="127.0.0.1:0")
    assert said == f"CommandError: Nacelle already runs with the data folder {nacelle.data}."


NO_LIBVIRT = "mount -t tmpfs none /run/libvirt"
NO_ENTRY = f"{NO_LIBVIRT} && install -m 600 /dev/null /run/libvirt/libvirt-sock"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without rights")
@pytest.mark.parametrize(
    ("libvirt", "sentence"),
    [
        (NO_LIBVIRT, "virtlogd does not run, and only root can start it: sudo systemctl start libvirtd virtlogd"),
        (
            f"{NO_ENTRY} && install -m 600 /dev/null /run/libvirt/virtlogd-sock",
            "libvirt runs, but this user may not use it. As root, add it to the group libvirt.",
        ),
    ],
)
def test_no_right_to_use_libvirt_is_one_sentence(other: Nacelle, tmp_path: Path, libvirt: str, sentence: str) -> None:
    """Somebody who may read this checkout, but neither start libvirt nor use it."""
    data = tmp_path / "data"
    data.mkdir()
    for folder in (data, *data.parents[:-2]):
        folder.chmod(0o755)
    shutil.chown(data, 65534, 65534)
    said = refusal(
        other,
        *("unshare", "--mount", "sh", "-c", f'{libvirt} && exec "$@"', "sh"),
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
        *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
        NACELLE_DATA_DIR=str(data),
    )
    assert said == f"CommandError: {sentence}"
