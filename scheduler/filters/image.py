"""What an image asks of a host."""

from __future__ import annotations

from scheduler.filters.base import Filter, by_make
from scheduler.hoststate import HostView
from scheduler.operators import matches
from scheduler.options import Option
from scheduler.request import Request
from scheduler.scene import Scene

# Names that mean the same architecture (Glance, "Useful image properties").
_CANONICAL = {"amd64": "x86_64", "x64": "x86_64", "x86": "i686", "i386": "i686", "i486": "i686", "i586": "i686"}
# Each is known under the name of today and the one of the old compute API.
ARCHITECTURE = ("hw_architecture", "architecture")
HYPERVISOR_TYPE = ("img_hv_type", "hypervisor_type")
VM_MODE = ("hw_vm_mode", "vm_mode")
HYPERVISOR_VERSION = ("img_hv_requested_version", "hypervisor_version_requires")


class ImagePropertiesFilter(Filter):
    """The host can run the image's architecture, hypervisor type and mode."""

    sentence = "Keeps hosts that support the image's architecture, hypervisor type and version, and mode."
    short = "cannot run such an image"
    on_rebuild = True
    options = (
        Option(
            "image_properties_default_architecture", "text", "", "The architecture of images that do not say theirs."
        ),
    )

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those that support what it says."""
        if not any(self._wanted(request)):
            return hosts
        return by_make(hosts, lambda host: not self.why(host, request, scene))

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """What the host lacks; empty if nothing."""
        architecture, hypervisor, mode, version = self._wanted(request)
        if architecture and architecture != host.facts.architecture:
            return f"has the architecture {host.facts.architecture or 'unknown'}, the image needs {architecture}"
        if hypervisor and hypervisor not in types_of(host):
            return f"runs {' and '.join(sorted(types_of(host)))}, the image needs {hypervisor}"
        if mode and mode != "hvm":
            return f"runs guests in the mode hvm, the image needs {mode}"
        if version and not fits_version(host.facts.hypervisor_version, version):
            return f"has version {dotted(host.facts.hypervisor_version)} of its hypervisor, the image needs {version}"
        return ""

    def _wanted(self, request: Request) -> tuple[str, str, str, str]:
        architecture = _said(request, ARCHITECTURE) or self.chosen["image_properties_default_architecture"]
        return (
            _CANONICAL.get(architecture.lower(), architecture.lower()),
            _said(request, HYPERVISOR_TYPE).lower(),
            _said(request, VM_MODE).lower(),
            _said(request, HYPERVISOR_VERSION),
        )


def _said(request: Request, names: tuple[str, ...]) -> str:
    return next((str(value) for name in names if (value := request.image_properties.get(name))), "")


def types_of(host: HostView) -> set[str]:
    """The hypervisor types of a host; kvm only where it is used."""
    return {host.facts.hypervisor_type.lower() or "unknown", *(("kvm",) if host.facts.domain_type == "kvm" else ())}


def dotted(version: int) -> str:
    """7002022 as 7.2.22."""
    return f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"


def fits_version(version: int, wanted: str) -> bool:
    """Whether a version satisfies a list such as ``>=6.0,<8``; a number alone means exactly this one."""
    return all(_fits(version, part.strip()) for part in wanted.split(",") if part.strip())


def _fits(version: int, wanted: str) -> bool:
    digits = wanted.lstrip("<>=!")
    sign = wanted[: len(wanted) - len(digits)] or "=="
    try:
        parts = [int(part) for part in digits.strip().split(".")]
    except ValueError:
        return False
    major, minor, micro = (*parts, 0, 0, 0)[:3]
    number = major * 1_000_000 + minor * 1000 + micro
    if sign in ("<", ">"):
        return version < number if sign == "<" else version > number
    return matches(version, f"{'==' if sign == '=' else sign} {number}")


class IsolatedHostsFilter(Filter):
    """Isolated images go to isolated hosts."""

    sentence = "Keeps isolated images on isolated hosts, and (if restricted) everything else off them."
    short = "isolated from such images"
    on_rebuild = True
    options = (
        Option("isolated_images", "list", [], "Ids of the images."),
        Option("isolated_hosts", "list", [], "Names of the hosts."),
        Option(
            "restrict_isolated_hosts_to_isolated_images", "flag", True, "Nothing else may run on the isolated hosts."
        ),
    )

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """By what both are."""
        isolated = set(self.chosen["isolated_hosts"])
        if request.image_id in self.chosen["isolated_images"]:
            return [host for host in hosts if host.name in isolated]
        if not isolated or not self.chosen["restrict_isolated_hosts_to_isolated_images"]:
            return hosts
        return [host for host in hosts if host.name not in isolated]

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """Which of the two is isolated."""
        if request.image_id in self.chosen["isolated_images"]:
            return "is not one of the isolated hosts, where this image must run"
        return "is kept for isolated images"
