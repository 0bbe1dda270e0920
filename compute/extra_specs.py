"""Extra specs of flavors: which names the field knows, and what each may say.

The names are those of Nova's documentation of flavor extra specs, and Nacelle's own below ``nacelle:``. What
is in no namespace that is known here is anybody's own and may say anything; what is in one, but is no
name of it, is a mistake (as in Nova from microversion 2.86 on).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from compute.errors import Invalid
from compute.headroom import MAX_MEMORY_MB, MAX_VCPUS

# Says what is wrong with a text: what it must be; empty when nothing is.
Rule = Callable[[str], str]

_TRUTHS = frozenset({"true", "t", "yes", "y", "on", "1", "false", "f", "no", "n", "off", "0"})


def _any(text: str) -> str:
    return ""


def _truth(text: str) -> str:
    return "" if text.lower() in _TRUTHS else "true or false"


def _number(least: int) -> Rule:
    def rule(text: str) -> str:
        good = text.isascii() and text.isdigit() and len(text) <= 18 and int(text) >= least
        return "" if good else f"a whole number, at least {least}"

    return rule


def _one_of(*words: str) -> Rule:
    return lambda text: "" if text in words else f"one of {', '.join(words)}"


def _like(pattern: str, words: str) -> Rule:
    found = re.compile(pattern)
    return lambda text: "" if found.fullmatch(text) else words


_PROCESSORS = _like(r"\^?\d+((-\d+)?(,\^?\d+(-\d+)?)*)?", "numbers of processors, such as 0-3,^1")
_PAGES = _like(r"(large|small|any|\d+([kKMGT]i?)?(b|bit|B)?)", "large, small, any or a size, such as 2MB")
_QUOTAS = "cpu_limit cpu_reservation cpu_shares_share memory_limit memory_reservation memory_shares_share"
_DISKS = "read_bytes_sec read_iops_sec write_bytes_sec write_iops_sec total_bytes_sec total_iops_sec"
_CARDS = "inbound_average inbound_burst inbound_peak outbound_average outbound_burst outbound_peak"

SPECS: dict[str, Rule] = {
    MAX_VCPUS: _number(1),
    MAX_MEMORY_MB: _number(1),
    "accel:device_profile": _any,
    "hide_hypervisor_id": _truth,
    "group_policy": _one_of("none", "isolate"),
    **dict.fromkeys((f"hw:cpu_{name}" for name in ("sockets", "cores", "threads")), _number(1)),
    **dict.fromkeys((f"hw:cpu_max_{name}" for name in ("sockets", "cores", "threads")), _number(1)),
    "hw:cpu_policy": _one_of("dedicated", "shared", "mixed"),
    "hw:cpu_thread_policy": _one_of("prefer", "isolate", "require"),
    "hw:cpu_dedicated_mask": _PROCESSORS,
    "hw:cpu_realtime_mask": _PROCESSORS,
    "hw:emulator_threads_policy": _one_of("isolate", "share"),
    **dict.fromkeys(
        (
            f"hw:{name}"
            for name in (
                *("cpu_realtime", "hide_hypervisor_id", "boot_menu", "mem_encryption", "pmu", "locked_memory"),
                *("vif_multiqueue_enabled", "virtio_packed_ring", "ephemeral_encryption"),
            )
        ),
        _truth,
    ),
    "hw:ephemeral_encryption_format": _one_of("luks", "plain"),
    "hw:mem_page_size": _PAGES,
    "hw:numa_nodes": _number(1),
    "hw:pci_numa_affinity_policy": _one_of("required", "preferred", "legacy", "socket"),
    "hw:pmem": _any,
    "hw:serial_port_count": _number(0),
    "hw:sound_model": _any,
    "hw:usb_model": _any,
    "hw:redirected_usb_ports": _number(0),
    "hw:tpm_model": _one_of("tpm-tis", "tpm-crb"),
    "hw:tpm_version": _one_of("1.2", "2.0"),
    "hw:tpm_secret_security": _one_of("user", "host", "deployment"),
    "hw:watchdog_action": _one_of("none", "pause", "poweroff", "reset", "disabled"),
    "hw:maxphysaddr_mode": _one_of("passthrough", "emulate"),
    "hw:maxphysaddr_bits": _number(0),
    "hw:viommu_model": _one_of("intel", "smmuv3", "virtio", "auto"),
    "hw_rng:allowed": _truth,
    "hw_rng:rate_bytes": _number(0),
    "hw_rng:rate_period": _number(0),
    "hw_video:ram_max_mb": _number(0),
    "os:secure_boot": _one_of("disabled", "required"),
    "pci_passthrough:alias": _like(r"[^,:]+:\d+(,[^,:]+:\d+)*", "names with counts, such as gpu:1"),
    **dict.fromkeys((f"quota:{name}" for name in ("cpu_shares", "cpu_period", "cpu_quota")), _number(0)),
    **dict.fromkeys((f"quota:{name}" for name in _QUOTAS.split()), _number(0)),
    **dict.fromkeys((f"quota:disk_io_{name}" for name in ("limit", "reservation", "shares_share")), _number(0)),
    **dict.fromkeys((f"quota:vif_{name}" for name in ("limit", "reservation", "shares_share")), _number(0)),
    **dict.fromkeys((f"quota:disk_{name}" for name in _DISKS.split()), _number(0)),
    **dict.fromkeys((f"quota:vif_{name}" for name in _CARDS.split()), _number(0)),
    **dict.fromkeys(
        (f"quota:{what}_shares_level" for what in ("cpu", "memory", "disk_io", "vif")),
        _one_of("high", "normal", "low", "custom"),
    ),
    "vmware:hw_version": _any,
    "vmware:storage_policy": _any,
}
# Names with a part of the user's own, by what they look like.
PATTERNS: tuple[tuple[re.Pattern[str], Rule], ...] = (
    (re.compile(r"aggregate_instance_extra_specs:.+"), _any),
    (re.compile(r"capabilities:.+"), _any),
    (re.compile(r"hw:numa_cpus\.\d+"), _PROCESSORS),
    (re.compile(r"hw:numa_mem\.\d+"), _number(1)),
    (re.compile(r"resources([A-Za-z0-9_-]{0,64}):[A-Z0-9_]+"), _number(0)),
    (re.compile(r"trait([A-Za-z0-9_-]{0,64}):[A-Z0-9_]+"), _one_of("required", "forbidden")),
)
OWN = "nacelle"
NAMESPACES = frozenset(
    {name.partition(":")[0] for name in SPECS if ":" in name}
    | {"aggregate_instance_extra_specs", "capabilities", "resources", "trait"}
)


def check_known(specs: Mapping[str, str]) -> None:
    """Raise Invalid for a name that its namespace has not, and for a value that its name does not take."""
    for name, value in specs.items():
        if wrong := _wrong(name, value):
            raise Invalid(f"Validation failed; {wrong}", about="extra_specs")


def check_own(specs: Mapping[str, str]) -> None:
    """The same of Nacelle's own names alone: they are what they are in every version of the API."""
    check_known({name: value for name, value in specs.items() if name.partition(":")[0] == OWN})


def _wrong(name: str, value: str) -> str:
    rule = SPECS.get(name) or next((rule for pattern, rule in PATTERNS if pattern.fullmatch(name)), None)
    if rule is not None:
        must = rule(value)
        return f"'{value[:60]}' is not what extra spec '{name}' takes: {must}." if must else ""
    namespace, colon, _ = name.partition(":")
    if colon and namespace in NAMESPACES:
        return f"extra spec '{name[:60]}' does not appear to be a valid extra spec."
    return ""
