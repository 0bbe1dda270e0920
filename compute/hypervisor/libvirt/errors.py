"""libvirt's errors, told in the six errors of the interface. The only place that knows libvirt's codes."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ContextDecorator, contextmanager
from types import TracebackType

import libvirt

from compute.hypervisor.interface import (
    Busy,
    Failed,
    Gone,
    HypervisorError,
    NoSpace,
    Unreachable,
    Unsupported,
)

BY_CODE: dict[int, type[HypervisorError]] = {
    libvirt.VIR_ERR_NO_DOMAIN: Gone,
    libvirt.VIR_ERR_NO_NETWORK: Gone,
    libvirt.VIR_ERR_NO_STORAGE_POOL: Gone,
    libvirt.VIR_ERR_NO_STORAGE_VOL: Gone,
    libvirt.VIR_ERR_NO_DOMAIN_METADATA: Gone,
    libvirt.VIR_ERR_OPERATION_TIMEOUT: Busy,
    libvirt.VIR_ERR_RESOURCE_BUSY: Busy,
    libvirt.VIR_ERR_BLOCK_COPY_ACTIVE: Busy,
    libvirt.VIR_ERR_NO_SUPPORT: Unsupported,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: Unsupported,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED: Unsupported,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: Unsupported,
    libvirt.VIR_ERR_NO_MEMORY: NoSpace,
    libvirt.VIR_ERR_NO_CONNECT: Unreachable,
    libvirt.VIR_ERR_INVALID_CONN: Unreachable,
    libvirt.VIR_ERR_RPC: Unreachable,
}

# Where libvirt has one code for many causes, only the text tells them apart. libvirt does translate
# its texts, so these count only as well as the host speaks English; without a match it is Failed.
BY_TEXT: tuple[tuple[str, type[HypervisorError]], ...] = (
    ("no space left on device", NoSpace),
    ("disk quota exceeded", NoSpace),
    ("cannot allocate memory", NoSpace),
    ("cannot set up guest memory", NoSpace),
    ("is still in use", Busy),
    ("still being allocated", Busy),
    ("has asynchronous jobs running", Busy),
    ('failed to get "write" lock', Busy),
    ("cannot acquire state change lock", Busy),
    ("no more available pci slots", Unsupported),
)

SILENT = "It stopped answering in the middle of a connection."

# The transport itself: what these report about a call is that its outcome is not known.
TRANSPORT = (libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE)
LOST = (libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_INTERNAL_ERROR)


def error_class(error: libvirt.libvirtError) -> type[HypervisorError]:
    """Which of the six errors this one is."""
    code, source = error.get_error_code(), error.get_error_domain()
    if code in LOST and source in TRANSPORT:
        return Unreachable
    if code == libvirt.VIR_ERR_SYSTEM_ERROR and error.get_int1() in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM):
        return NoSpace
    if code in BY_CODE:
        return BY_CODE[code]
    return error_class_of_text(str(error))


def error_class_of_text(text: str) -> type[HypervisorError]:
    """Which of the six errors a text of libvirt's or QEMU's speaks of."""
    return next((kind for words, kind in BY_TEXT if words in text.lower()), Failed)


def translate(error: libvirt.libvirtError) -> HypervisorError:
    """The same failure in the interface's words; libvirt's text is kept where it says something."""
    text = error.get_error_message() or str(error)
    return error_class(error)(SILENT if "keepalive timeout" in text else text)


class plain_errors(ContextDecorator):
    """Around a verb of the driver, or a part of one: no libvirtError leaves it."""

    def __enter__(self) -> plain_errors:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, libvirt.libvirtError):
            raise translate(error) from error


def has_code(error: libvirt.libvirtError, *codes: int) -> bool:
    """Whether it is one of these codes of libvirt: for the few places where a refusal is an answer."""
    return error.get_error_code() in codes


@contextmanager
def ignoring(*codes: int) -> Iterator[None]:
    """Errors of these codes are an answer, not a failure; without codes, all of them."""
    try:
        yield
    except libvirt.libvirtError as error:
        if codes and not has_code(error, *codes):
            raise
