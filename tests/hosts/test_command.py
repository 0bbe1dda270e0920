"""`manage.py host`."""

from __future__ import annotations

import io
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from compute.hosts.connections import hypervisor_of
from compute.models import Aggregate, Host
from tests.conftest import Cloud
from tests.engine.test_adopt import LEGACY

pytestmark = pytest.mark.django_db


def host(*words: str) -> str:
    """What the command prints."""
    said = io.StringIO()
    call_command("host", *words, stdout=said)
    return said.getvalue()


def test_a_host_is_added_listed_shown_changed_and_removed(db: None) -> None:
    uri = f"fake://{uuid.uuid4().hex}?vcpus=4&memory=2048&disk=50"
    added = host("add", uri, "--name", "rack-1").splitlines()
    assert added[0] == "Registered rack-1: 4 CPUs, 2048 MiB, 50 GiB."
    assert added[1].startswith("warning  Its processor offers no virtualization (KVM)")
    assert added[2:] == ["info     It lacked the storage pool fake, which was made."]
    assert host("check", "rack-1").splitlines() == added[1:2]
    assert f"rack-1\t{uri}\tnova\tup" in host("list")
    made = Host.objects.get()
    for shown in (str(made.uuid), "0 of 64 claimed (4 * 16)", "qemu"):
        assert shown in host("show", "rack-1")
    assert host("show", str(made.uuid)) == host("show", "rack-1")
    Aggregate.objects.create(name="dense", metadata={"cpu_allocation_ratio": "3"}).hosts.add(made)
    assert "0 of 12 claimed (4 * 3)" in host("show", "rack-1")
    assert Host.objects.get().cpu_ratio == 16
    Aggregate.objects.all().delete()
    assert not [line for line in host("show", "rack-1").splitlines() if len(line.split()) < 2]  # none says nothing
    changed = host("set", "rack-1", "--name", "rack-2", "--cpu-ratio", "2", "--reserved-memory-mb", "100")
    assert "0 of 8 claimed (4 * 2)" in changed
    assert "Removed rack-2" in host("remove", "rack-2")
    assert not Host.objects.exists()


def test_that_a_host_cannot_be_evacuated_now_is_said_beforehand(cloud: Cloud, capsys: pytest.CaptureFixture) -> None:
    call_command("host", "evacuate", "host-1", "--dry-run")
    assert "Not now: Compute service of host-1 is still in use" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["add", "nonsense"], "No driver"),
        (["show", "nobody"], "There is no host nobody"),
        (["set", "host-1"], "Nothing to change"),
        (["set", "host-1", "--cpu-ratio", "0"], "An overcommit is more than 0"),
        (["remove", str(uuid.UUID(int=0))], "There is no host"),
    ],
)
def test_a_refusal_is_said(cloud: Cloud, words: list[str], why: str) -> None:
    with pytest.raises(CommandError, match=why):
        host(*words)
    assert Host.objects.get().name == "host-1"


def test_a_script_for_tls_is_written(db: None, settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    assert host("tls-script", "fd00::5").rstrip().endswith('Then add the host as qemu+tls://[fd00::5]/system"')
    with pytest.raises(CommandError, match="neither a host name nor an address"):
        host("tls-script", "a b")


def test_guests_are_listed_and_adopted(cloud: Cloud) -> None:
    hypervisor_of(cloud.host).put_foreign(LEGACY)  # type: ignore[attr-defined]  # it is a fake one
    host("check", "host-1")
    assert host("guests", "host-1").startswith(f"{LEGACY.uuid} legacy running 2 vCPUs 512 MiB /pool/legacy.qcow2")
    for words, why in (
        (["legacy", "--project", "nobody"], "There is no project nobody"),
        (["nobody", "--project", "demo"], "No guest nobody was seen on host-1"),
    ):
        with pytest.raises(CommandError, match=why):
            host("adopt", "host-1", *words)
    adopted = host("adopt", "host-1", "legacy", "--project", "demo", "--name", "web", "--delete-disks")
    assert adopted == f"Adopted web ({LEGACY.uuid}) into the project demo.\n"
    assert host("guests", "host-1") == ""
