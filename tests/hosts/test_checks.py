"""Checks of hosts: what is found, how bad it is, and where it is kept."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from compute.errors import Conflict
from compute.hosts.checks import check_host, last_check
from compute.hosts.connections import hypervisor_of
from compute.hosts.findings import Finding, Other, Severity, Surroundings, judge
from compute.hosts.registration import add_host
from compute.hosts.survey import Survey
from compute.hypervisor.drivers import open_hypervisor
from compute.hypervisor.fake.faults import Fault
from compute.hypervisor.inspection import CpuComparison
from compute.models import Change, Host, HostCheck, Network, Subnet
from portal.identity.actor import SYSTEM
from portal.identity.policy import Forbidden
from tests.conftest import Cloud, Persona

AROUND = Surroundings(address="127.0.0.1", domain_type="qemu", now=datetime(2026, 1, 1, tzinfo=UTC))


def uri(**facts: Any) -> str:
    return f"fake://{uuid.uuid4().hex[:8]}?" + "&".join(f"{name}={value}" for name, value in facts.items())


def found(facts: dict[str, Any] | None = None, details: dict[str, Any] | None = None, **survey: Any) -> Survey:
    """What a fake host answers, but for these."""
    driver = open_hypervisor(uri())
    seen, more = replace(driver.facts(), **(facts or {})), replace(driver.inspect(), **(details or {}))
    driver.close()
    return Survey((), seen, more, **survey)


def told(survey: Survey, around: Surroundings = AROUND, about: str = "") -> list[Finding]:
    return [one for one in judge(survey, around) if one.about == about]


# what follows from what was seen ------------------------------------------------------------------
def test_the_worst_comes_first() -> None:
    severities = [one.severity for one in judge(found({"hypervisor_type": "QEMU"}), AROUND)]
    assert severities[0] == Severity.ERROR
    assert severities == sorted(severities, key=list(Severity).index)


@pytest.mark.parametrize(
    ("libvirt", "qemu", "said"),
    [
        (9_000_000, 7_002_000, []),
        (5_006_000, 4_002_000, []),
        (5_005_999, 7_002_000, ["Its libvirt is 5.5.999, and 5.6.0 is the least: older ones cannot remove"]),
        (9_000_000, 4_001_001, ["Its QEMU is 4.1.1, and 4.2.0 is the least: older ones cannot copy"]),
    ],
)
def test_versions_that_are_too_old_are_named_with_the_least(libvirt: int, qemu: int, said: list[str]) -> None:
    facts = {"hypervisor_type": "QEMU", "libvirt_version": libvirt, "hypervisor_version": qemu}
    findings = told(found(facts), about="versions")
    assert [one.severity for one in findings] == [Severity.ERROR] * len(said)
    for one, beginning in zip(findings, said, strict=True):
        assert one.sentence.startswith(beginning)
        assert one.what_to_do


@pytest.mark.parametrize(
    ("has", "is_set", "said"),
    [("qemu", "qemu", "emulated, and slow"), ("kvm", "kvm", ""), ("kvm", "qemu", "is set to emulation"),
     ("qemu", "kvm", "is set to KVM")],
)  # fmt: skip
def test_emulation_is_a_warning(has: str, is_set: str, said: str) -> None:
    findings = told(found({"domain_type": has}), replace(AROUND, domain_type=is_set), "kvm")
    assert [one.severity for one in findings] == ([Severity.WARNING] if said else [])
    assert not said or said in findings[0].sentence


@pytest.mark.parametrize(
    ("pool", "about", "severity", "said"),
    [
        ({"kind": "logical"}, "pool", Severity.ERROR, "is of the kind logical"),
        ({"path": "/elsewhere"}, "pool", Severity.ERROR, "lies in /elsewhere; this cloud looks for it in /fake"),
        ({"active": False}, "pool", Severity.ERROR, "is not active"),
        ({"available_bytes": 5 << 30}, "space", Severity.WARNING, "5.0 GiB are free"),
        ({"available_bytes": 1 << 29}, "space", Severity.ERROR, "0.5 GiB are free"),
        ({}, "pool", None, ""),
        ({}, "space", None, ""),
    ],
)
def test_a_pool_that_cannot_hold_disks_is_told(pool: dict[str, Any], about: str, severity: Any, said: str) -> None:
    seen = found()
    other = replace(seen.details, pools=(replace(seen.details.pools[0], **pool),))
    findings = told(replace(seen, details=other), about=about)
    assert [one.severity for one in findings] == ([severity] if severity else [])
    assert not severity or (said in findings[0].sentence and findings[0].what_to_do)


def test_ranges_that_overlap_are_told() -> None:
    around = replace(AROUND, ranges=(("private", "10.77.0.0/20"),), address="10.77.1.5")
    driver = open_hypervisor(uri(lan="10.77.8.0/24"))
    overlapping = Survey((), driver.facts(), driver.inspect())
    lan, own = told(overlapping, around, "ranges")
    assert "private (10.77.0.0/20) overlaps with lan (10.77.8.0/24)" in lan.sentence
    assert "Its own address 10.77.1.5 lies within the network private" in own.sentence
    asleep = replace(overlapping.details, networks=(replace(overlapping.details.networks[0], active=False),))
    assert told(replace(overlapping, details=asleep), around, "ranges")[-1].severity == Severity.WARNING
    for harmless in ("0.0.0.0/0", "10.78.0.0/20", "fd00::/8"):
        seen = replace(overlapping.details.networks[0], ranges=(harmless,))
        apart = replace(overlapping, details=replace(overlapping.details, networks=(seen,)))
        assert told(apart, replace(around, address="node.example.org"), "ranges") == []
    driver.close()


@pytest.mark.parametrize(
    ("ahead", "within", "said"),
    [(0.0, 0.0, ""), (1.9, 0.0, ""), (-1.9, 0.0, ""), (3.0, 2.0, ""), (None, 0.0, ""), (5.0, 0.1, "5 s ahead of"),
     (-7200.0, 0.1, "7200 s behind")],
)  # fmt: skip
def test_clocks_that_differ_are_told(ahead: float | None, within: float, said: str) -> None:
    findings = told(found(details={"clock_ahead": ahead, "clock_within": within}), about="clock")
    assert bool(findings) == bool(said)
    assert not said or said in findings[0].sentence


@pytest.mark.parametrize(("days", "ends"), [(None, False), (61, False), (59, True), (-1, True)])
def test_a_certificate_that_ends_soon_is_told(days: int | None, ends: bool) -> None:
    until = AROUND.now + timedelta(days=days) if AROUND.now and days is not None else None
    around = replace(AROUND, address="10.0.0.5", named="node-1.example.org")  # the certificate is for the URI's name
    findings = told(found(details={"certificate_until": until}), around, "certificate")
    assert bool(findings) == ends
    assert all(one.what_to_do.endswith("host tls-script node-1.example.org") for one in findings)


def test_between_which_hosts_instances_can_move_live_is_told() -> None:
    kvm = replace(AROUND, domain_type="kvm")
    others = (
        Other("twin", "kvm", "x86_64", "cpu-1"), Other("richer", "kvm", "x86_64", "cpu-2"),
        Other("poorer", "kvm", "x86_64", "cpu-3"), Other("slow", "qemu", "x86_64", "cpu-1"),
        Other("arm", "kvm", "aarch64", "cpu-9"), Other("unseen", "kvm", "x86_64", ""),
    )  # fmt: skip
    cpus = {
        "cpu-1": CpuComparison(True, True),
        "cpu-2": CpuComparison(False, True, lacking_here=("avx9",)),
        "cpu-3": CpuComparison(True, False, lacking_there=("avx2", "bmi2")),
    }
    survey = found({"domain_type": "kvm"}, cpus=cpus)
    sentences = [one.sentence for one in told(survey, replace(kvm, others=others), "cpu")]
    assert sentences == [
        "Instances started on richer cannot move here live: this host's CPU lacks avx9.",
        "Instances started on this host cannot move to poorer live: the CPU of poorer lacks avx2, bmi2.",
        "Instances cannot move live between this host and slow: one of the two has KVM and the other emulates "
        "(slow: qemu).",
        "Instances cannot move live between this host and arm: arm is of another architecture (aarch64).",
        "As far as CPUs are concerned, instances can move live between this host and twin.",
    ]
    emulated = told(found(cpus={}), replace(AROUND, others=(others[3],)), "cpu")
    assert emulated[0].sentence.endswith("between this host and slow.")


# a check ------------------------------------------------------------------------------------------
@pytest.mark.django_db
def test_what_is_missing_is_made_and_said(cloud: Cloud) -> None:
    host = add_host(SYSTEM, uri=uri())
    made = [one["sentence"] for one in last_check(host).findings if one["about"] == "made"]  # type: ignore[union-attr]
    assert made == [
        "It lacked the storage pool fake, which was made.",
        "It lacked the network private, which was made.",
    ]
    assert f"ensure_network {cloud.network.id}" in hypervisor_of(host).calls()  # type: ignore[attr-defined]
    Change.objects.all().delete()
    check_host(SYSTEM, host)
    assert not any(one["about"] == "made" for one in HostCheck.objects.get(host=host).findings)
    assert Change.objects.filter(kind="host", object_id=str(host.pk)).exists()


@pytest.mark.django_db
def test_a_host_with_something_to_be_put_right_first_takes_no_instances(cloud: Cloud) -> None:
    subnet = Subnet.objects.get(network=cloud.network)
    host = add_host(SYSTEM, uri=uri(lan=subnet.cidr))
    assert not host.enabled
    assert f"({subnet.cidr}) overlaps with lan" in host.disabled_reason
    good = add_host(SYSTEM, uri=uri(clock=60))
    assert good.enabled
    (clock,) = (one for one in good.last_check.findings if one["about"] == "clock")
    assert clock["severity"] == "warning"
    assert clock["what_to_do"]


@pytest.mark.django_db
def test_a_network_that_cannot_be_brought_up_is_told(cloud: Cloud) -> None:
    address = uri()
    open_hypervisor(address).inject(Fault("ensure_network"))  # type: ignore[attr-defined]  # it is a fake one
    host = add_host(SYSTEM, uri=address)
    (network,) = (one for one in host.last_check.findings if one["about"] == "networks")
    assert network["sentence"] == "The network private could not be brought up: ensure_network was told to fail."
    assert not host.enabled


@pytest.mark.django_db
def test_a_network_without_a_subnet_and_one_of_nobodys_are_left_out(cloud: Cloud, alice: Persona) -> None:
    Network.objects.create(name="bare", project=cloud.demo, shared=True)
    own = Network.objects.create(name="own", project=cloud.demo)
    Subnet.objects.create(network=own, project=cloud.demo, cidr="10.99.0.0/24", gateway_ip="10.99.0.1")
    host = add_host(SYSTEM, uri=uri())
    calls = [call for call in hypervisor_of(host).calls() if call.startswith("ensure")]  # type: ignore[attr-defined]
    assert calls == [f"ensure_network {cloud.network.id}"]


@pytest.mark.django_db
def test_a_host_that_does_not_answer_is_not_checked_and_keeps_what_was_found(cloud: Cloud) -> None:
    host = add_host(SYSTEM, uri=uri())
    before = HostCheck.objects.values().get(host=host)
    hypervisor_of(host).break_down()  # type: ignore[attr-defined]  # it is a fake one
    with pytest.raises(Conflict, match="cannot be checked: no route to host"):
        check_host(SYSTEM, host)
    assert HostCheck.objects.values().get(host=host) == before


@pytest.mark.django_db
def test_the_others_are_compared_by_their_last_check(cloud: Cloud) -> None:
    first = add_host(SYSTEM, uri=uri(cpu="a,b"), name="first", domain_type="kvm")
    second = add_host(SYSTEM, uri=uri(cpu="a"), name="second", domain_type="kvm")
    sentences = [one["sentence"] for one in second.last_check.findings if one["about"] == "cpu"]
    assert "Instances started on first cannot move here live: this host's CPU lacks b." in sentences
    check_host(SYSTEM, first)
    sentences = [one["sentence"] for one in HostCheck.objects.get(host=first).findings if one["about"] == "cpu"]
    assert "Instances started on this host cannot move to second live: the CPU of second lacks b." in sentences


@pytest.mark.django_db
def test_only_administrators_check(cloud: Cloud, alice: Persona) -> None:
    with pytest.raises(Forbidden):
        check_host(alice.actor, cloud.host)
    assert not HostCheck.objects.exists()


@pytest.mark.real
@pytest.mark.django_db
def test_this_machine_is_checked_for_real(cloud: Cloud, libvirtd: None) -> None:
    Host.objects.all().delete()
    cloud.network.delete()
    host = add_host(SYSTEM, uri="qemu:///system")
    check = host.last_check
    assert check.details["machine_types"]
    assert check.details["cpu"].startswith("<cpu")
    assert abs(check.details["clock_ahead"]) < 2
    assert {one["about"] for one in check.findings if one["severity"] == "error"} <= {"space", "pool"}
