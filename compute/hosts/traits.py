"""What a host can do, in the standard names that placement and its clients know.

Names are those of https://docs.openstack.org/os-traits; a host has a trait only where its facts, or what
Nacelle's driver does on every host, say so.
"""

from __future__ import annotations

from collections.abc import Iterator

import os_traits
from django.conf import settings

from compute.models import Host

STANDARD: frozenset[str] = frozenset(os_traits.get_traits())
# What the driver does on whatever host: how guests are built, and which images it takes.
OF_ALL_HOSTS = frozenset(
    {
        os_traits.COMPUTE_NODE,
        os_traits.COMPUTE_FIRMWARE_BIOS,
        os_traits.COMPUTE_IMAGE_TYPE_QCOW2,
        os_traits.COMPUTE_IMAGE_TYPE_RAW,
        os_traits.COMPUTE_NET_VIF_MODEL_VIRTIO,
        os_traits.COMPUTE_STORAGE_BUS_VIRTIO,
    }
)
# libvirt's name of a feature, where it is not the trait's name in small letters.
_FEATURES: dict[str, tuple[str, ...]] = {
    "3dnow": ("3DNOW",),
    "abm": ("ABM",),
    "aes": ("AESNI",),
    "amx-bf16": ("AMXBF16",),
    "amx-int8": ("AMXINT8",),
    "amx-tile": ("AMXTILE",),
    "amd-no-ssb": ("AMD_NO_SSB",),
    "amd-ssbd": ("AMD_SSBD",),
    "avx512-vpopcntdq": ("AVX512VPOPCNTDQ",),
    "avx512vnni": ("AVX512VNNI",),
    "bmi1": ("BMI",),
    "fma": ("FMA3",),
    "gfni": ("AVX512GFNI",),
    "ibpb": ("AMD_IBPB",),
    "md-clear": ("INTEL_MD_CLEAR",),
    "pcid": ("INTEL_PCID",),
    "pclmuldq": ("CLMUL",),
    "pni": ("SSE3",),
    "rtm": ("TSX",),
    "sha-ni": ("SHA",),
    "spec-ctrl": ("INTEL_SPEC_CTRL",),
    "ssbd": ("INTEL_SSBD",),
    "svm": ("SVM", "AMD_SVM"),
    "vaes": ("AVX512VAES",),
    "virt-ssbd": ("AMD_VIRT_SSBD",),
    "vmx": ("VMX", "INTEL_VMX"),
    "vpclmulqdq": ("AVX512VPCLMULQDQ",),
}


def traits_of(host: Host) -> frozenset[str]:
    """The traits of a host; every one is a standard name."""
    return (OF_ALL_HOSTS | frozenset(_of_facts(host))) & STANDARD


def _of_facts(host: Host) -> Iterator[str]:
    facts = host.facts
    architecture = str(facts.get("architecture", "")).upper()
    yield f"HW_ARCH_{architecture}"
    yield f"COMPUTE_ARCH_{architecture}"
    for feature in facts.get("cpu_features", ()):
        yield from _of_feature(feature)
    if facts.get("cpu_threads", 1) > 1:
        yield os_traits.HW_CPU_HYPERTHREADING
    if "sev" in facts.get("capabilities", ()):
        yield os_traits.HW_CPU_X86_AMD_SEV
    if settings.RESIZE_TO_SAME_HOST:
        yield os_traits.COMPUTE_SAME_HOST_COLD_MIGRATE
    if not host.enabled:
        yield os_traits.COMPUTE_STATUS_DISABLED


def _of_feature(name: str) -> Iterator[str]:
    plain = name.replace(".", "").replace("-", "").replace("_", "").upper()
    for trait in _FEATURES.get(name, (plain,)):
        yield f"HW_CPU_X86_{trait}"
