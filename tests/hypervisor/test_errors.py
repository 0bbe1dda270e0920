"""libvirt's codes in the interface's six errors, and how the driver's door is kept."""

from __future__ import annotations

import errno
import inspect

import libvirt
import pytest

from compute.hypervisor import interface
from compute.hypervisor.drivers import open_hypervisor
from compute.hypervisor.fake import FakeHypervisor
from compute.hypervisor.interface import (
    Busy,
    Failed,
    Gone,
    HypervisorError,
    NoSpace,
    Unreachable,
    Unsupported,
)
from compute.hypervisor.libvirt import LibvirtHypervisor
from compute.hypervisor.libvirt.copies import check_success
from compute.hypervisor.libvirt.errors import plain_errors, translate

QEMU, STORAGE, RPC = libvirt.VIR_FROM_QEMU, libvirt.VIR_FROM_STORAGE, libvirt.VIR_FROM_RPC


def error(code: int, source: int = QEMU, text: str = "it said no", number: int = 0) -> libvirt.libvirtError:
    made = libvirt.libvirtError(text)
    made.err = (code, source, text, 2, text, None, None, number, -1)
    return made


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (error(libvirt.VIR_ERR_NO_DOMAIN), Gone),
        (error(libvirt.VIR_ERR_NO_STORAGE_VOL, STORAGE), Gone),
        (error(libvirt.VIR_ERR_NO_NETWORK), Gone),
        (error(libvirt.VIR_ERR_OPERATION_TIMEOUT), Busy),
        (error(libvirt.VIR_ERR_OPERATION_INVALID, STORAGE, "volume 'x' is still in use."), Busy),
        (error(libvirt.VIR_ERR_INTERNAL_ERROR, QEMU, 'Failed to get "write" lock'), Busy),
        (error(libvirt.VIR_ERR_NO_SUPPORT), Unsupported),
        (error(libvirt.VIR_ERR_CONFIG_UNSUPPORTED), Unsupported),
        (error(libvirt.VIR_ERR_INTERNAL_ERROR, QEMU, "No more available PCI slots"), Unsupported),
        (error(libvirt.VIR_ERR_SYSTEM_ERROR, STORAGE, "cannot write", errno.ENOSPC), NoSpace),
        (error(libvirt.VIR_ERR_INTERNAL_ERROR, QEMU, "qemu: Cannot allocate memory"), NoSpace),
        (error(libvirt.VIR_ERR_SYSTEM_ERROR, RPC, "unable to connect", errno.ECONNREFUSED), Unreachable),
        (error(libvirt.VIR_ERR_INTERNAL_ERROR, RPC, "client socket is closed"), Unreachable),
        (error(libvirt.VIR_ERR_RPC, RPC), Unreachable),
        (error(libvirt.VIR_ERR_AUTH_FAILED, RPC, "authentication failed"), Failed),
        (error(libvirt.VIR_ERR_OPERATION_INVALID), Failed),
        (error(libvirt.VIR_ERR_SYSTEM_ERROR, STORAGE, "cannot write", errno.EACCES), Failed),
        (error(libvirt.VIR_ERR_XML_ERROR), Failed),
    ],
)
def test_each_code_is_one_of_the_six(given: libvirt.libvirtError, expected: type[HypervisorError]) -> None:
    told = translate(given)
    assert type(told) is expected
    assert str(told) == given.get_error_message()


def test_a_host_that_fell_silent_is_told_as_that() -> None:
    told = translate(
        error(libvirt.VIR_ERR_INTERNAL_ERROR, RPC, "internal error: connection closed due to keepalive timeout")
    )
    assert isinstance(told, Unreachable) and "stopped answering" in str(told) and "internal" not in str(told)


@pytest.mark.parametrize(
    ("completed", "expected"),
    [
        ({"success": False, "errmsg": "No space left on device"}, NoSpace),
        ({"success": False, "errmsg": "Input/output error"}, Failed),
        ({}, Failed),
    ],
)
def test_a_copy_that_qemu_could_not_finish_is_no_copy(completed: dict[str, object], expected: type) -> None:
    with pytest.raises(expected):
        check_success(completed)
    check_success({"success": True})


def test_other_errors_pass_through() -> None:
    with pytest.raises(KeyError), plain_errors():
        raise KeyError("not libvirt's")


def test_no_verb_lets_an_error_of_libvirt_out() -> None:
    """Each is wrapped, but for the generator, which has its own block, and it is a verb of the interface."""
    verbs = public(interface.Hypervisor)
    for name in verbs:
        method = getattr(LibvirtHypervisor, name)
        assert hasattr(method, "__wrapped__") or inspect.isgeneratorfunction(method), name


@pytest.mark.parametrize("driver", [LibvirtHypervisor, FakeHypervisor])
def test_a_driver_has_every_verb_with_the_same_arguments(driver: type) -> None:
    for name in public(interface.Hypervisor):
        wanted = inspect.signature(getattr(interface.Hypervisor, name))
        offered = inspect.signature(getattr(driver, name))
        assert list(offered.parameters) == list(wanted.parameters), name


def public(kind: type) -> list[str]:
    return [name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")]


def test_a_driver_is_chosen_by_the_scheme() -> None:
    for uri in ("qemu:///system", "qemu+ssh://root@host/system", "qemu+tls://host/system", "qemu+tcp://host/system"):
        assert isinstance(open_hypervisor(uri), LibvirtHypervisor)
    assert isinstance(open_hypervisor("test:///default"), LibvirtHypervisor)
    assert isinstance(open_hypervisor("fake://a"), FakeHypervisor)
    for uri in ("xen:///system", "host", "", "http://host"):
        with pytest.raises(ValueError, match="No driver for"):
            open_hypervisor(uri)


def test_a_host_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(Unreachable, match=r"does not answer on port 1: connection refused$"):
        open_hypervisor("qemu+tcp://127.0.0.1:1/system").facts()
    with pytest.raises(Unreachable):
        open_hypervisor("qemu+unix:///system?socket=/nonexistent/libvirt-sock").facts()
