"""The way over TLS, to a real libvirtd that was set up by the script: who is not who they say is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from compute.hosts import certificates
from compute.hosts.tls_script import tls_script
from compute.hypervisor.drivers import open_hypervisor
from compute.hypervisor.interface import HypervisorError
from compute.hypervisor.libvirt import tls
from compute.hypervisor.ways import Ways
from portal.identity.actor import SYSTEM
from portal.setup.lab.host import LabHost
from portal.setup.lab.laboratory import Laboratory
from tests.e2e.lab import laboratory
from tests.leftovers import place

pytestmark = pytest.mark.real

PKI = Path("/etc/pki")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the cloud whose host it is."""
    return tmp_path_factory.mktemp("cloud")


@pytest.fixture(scope="module")
def lab() -> Iterator[Laboratory]:
    """A laboratory with one host."""
    with laboratory(1) as made:
        yield made


@pytest.fixture(scope="module")
def host(lab: Laboratory, data: Path) -> Iterator[LabHost]:
    """A host that the script was run on. It has a second address, for which it has no certificate."""
    one = lab.hosts[0]
    own = one.folder / "pki"
    own.mkdir()
    with place(PKI):  # to mount upon, in the host's own namespace
        one.execute("mount", "--bind", str(own), str(PKI))
        yield _set_up(one, data)
        one.execute("umount", str(PKI))


def _set_up(one: LabHost, data: Path) -> LabHost:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificates, "folder", lambda: data / "pki")
        script = one.folder / "setup.sh"
        script.write_text(tls_script(SYSTEM, one.address))
    configuration = one.folder / "etc/libvirtd.conf"
    configuration.write_text(configuration.read_text().replace("listen_tls = 0\n", ""))
    one.execute("sh", str(script))
    one.execute("ip", "address", "add", f"{other_address(one)}/{one.prefix}", "dev", "eth0")
    configuration.write_text(configuration.read_text().replace(f'listen_addr = "{one.address}"', ""))
    one.kill_libvirtd()
    one.start_libvirtd()
    return one


def other_address(host: LabHost) -> str:
    return host.address.rpartition(".")[0] + ".99"


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, data: Path) -> Callable[..., Any]:
    """What a cloud with its authority in this folder finds at an address."""

    def guests(address: str, folder: Path = data / "pki") -> Any:
        monkeypatch.setattr(certificates, "folder", lambda: folder)
        driver = open_hypervisor(f"qemu+tls://{address}/system", ways=Ways(pki=certificates.client_folder))
        try:
            return driver.guests()
        finally:
            driver.close()

    return guests


def test_the_cloud_that_made_the_script_comes_in(host: LabHost, cloud: Callable[..., Any]) -> None:
    assert cloud(host.address) == {}


def test_it_is_known_how_long_the_hosts_certificate_holds(host: LabHost, data: Path) -> None:
    made = x509.load_pem_x509_certificate((host.folder / "pki/libvirt/servercert.pem").read_bytes())
    means = Ways(pki=lambda: str(data / "pki"))
    assert tls.good_until(f"qemu+tls://{host.address}/system", means) == made.not_valid_after_utc
    assert tls.good_until(f"qemu+tls://{other_address(host)}/system", means) is None
    assert tls.good_until(f"qemu+tcp://{host.address}/system", means) is None
    assert tls.good_until(f"qemu+tls://{host.address}:1/system", means) is None


def test_another_cloud_takes_the_host_for_a_stranger(host: LabHost, cloud: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(HypervisorError, match=f"{host.address} shows a certificate of another authority"):
        cloud(host.address, tmp_path / "pki")


def test_a_host_is_a_stranger_by_another_name(host: LabHost, cloud: Callable[..., Any]) -> None:
    with pytest.raises(HypervisorError, match="is not for this address"):
        cloud(other_address(host))


def test_another_certificate_of_the_same_authority_does_not_come_in(
    host: LabHost, cloud: Callable[..., Any], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "pki"
    shutil.copytree(data / "pki", copy)
    (copy / "clientcert.pem").unlink()
    monkeypatch.setattr(certificates, "_client_of", lambda authority: "somebody-else")
    with pytest.raises(HypervisorError, match="does not let this cloud in"):
        cloud(host.address, copy)
    monkeypatch.undo()
    assert cloud(host.address) == {}


@pytest.mark.parametrize(
    ("certificate", "key"),
    [("libvirt/servercert.pem", "libvirt/private/serverkey.pem"), ("qemu/client-cert.pem", "qemu/client-key.pem")],
)
def test_a_hosts_own_certificates_do_not_come_in(
    host: LabHost, cloud: Callable[..., Any], data: Path, tmp_path: Path, certificate: str, key: str
) -> None:
    copy, own = tmp_path / "pki", host.folder / "pki"
    shutil.copytree(data / "pki", copy)
    (copy / "clientkey.pem").unlink()
    shutil.copy(own / certificate, copy / "clientcert.pem")
    shutil.copy(own / key, copy / "clientkey.pem")
    with pytest.raises(HypervisorError, match="does not let this cloud in"):
        cloud(host.address, copy)


def test_a_certificate_that_has_ended_does_not_come_in(
    host: LabHost, cloud: Callable[..., Any], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "pki"
    shutil.copytree(data / "pki", copy)
    (copy / "clientcert.pem").unlink()
    monkeypatch.setattr(certificates, "LIFE", certificates.BEFORE * -0.5)
    with pytest.raises(HypervisorError, match="does not let this cloud in"):
        cloud(host.address, copy)
