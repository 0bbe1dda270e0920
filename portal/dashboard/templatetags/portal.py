"""Icons, status words, sizes, ages and bars."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone

from compute.models import Instance

register = template.Library()

_TONES = {
    "ACTIVE": "ok", "VERIFY_RESIZE": "warn", "SHUTOFF": "off", "PAUSED": "warn", "SUSPENDED": "off", "RESCUE": "warn",
    "SHELVED": "off", "SHELVED_OFFLOADED": "off", "SOFT_DELETED": "off", "ERROR": "bad", "UNKNOWN": "bad",
    "BUILD": "busy", "REBOOT": "busy", "HARD_REBOOT": "busy",
    # images
    "active": "ok", "queued": "off", "saving": "busy", "killed": "bad", "deactivated": "warn",
    # hosts
    "up": "ok", "down": "bad", "new": "busy", "disabled": "warn", "maintenance": "warn", "silent": "warn",
    # actions
    "done": "ok", "running": "busy", "error": "bad", "cancelled": "warn", "Success": "ok", "Error": "bad",
    "failed": "bad", "waiting": "off", "moving": "busy", "stopped": "warn", "incomplete": "warn",
    # findings
    "warning": "warn", "info": "off",
    # ports
    "DOWN": "off",
}  # fmt: skip
_ALMOST_FULL, _FULL = 0.75, 0.95


@register.inclusion_tag("parts/icon.html")
def icon(name: str, extra: str = "") -> dict[str, Any]:
    """One of the symbols of static/img/icons.svg."""
    return {"name": name, "extra": extra}


@register.filter
def tone(word: str) -> str:
    """The colour of a status word."""
    return _TONES.get(word, "off")


@register.filter
def instance_tone(instance: Instance) -> str:
    """The colour of an instance: busy while something is under way, whatever it is."""
    return "busy" if instance.task_state else tone(instance.status)


@register.filter
def words(name: str | None) -> str:
    """``powering-off`` as a person would write it."""
    return (name or "").replace("_", " ").replace("-", " ")


@register.filter
def mib(amount: float | None) -> str:
    """Mebibytes in the unit that reads best."""
    if amount is None:
        return ""
    for unit in ("MiB", "GiB", "TiB"):
        if abs(amount) < 1024 or unit == "TiB":
            return f"{amount:.0f} {unit}" if amount == int(amount) else f"{amount:.1f} {unit}"
        amount /= 1024
    return ""


@register.filter
def size(amount: int | None) -> str:
    """Bytes in the unit that reads best."""
    if amount is None:
        return ""
    if amount < 1024:
        return f"{amount} B"
    return f"{amount / 1024:.0f} KiB" if amount < 1 << 20 else mib(amount / (1 << 20))


@register.filter
def age(moment: datetime | None) -> str:
    """How long ago, in one unit: ``12 s``, ``5 min``, ``3 h``, ``9 d``."""
    return lasted((timezone.now() - moment).total_seconds()) if moment else ""


def lasted(seconds: float) -> str:
    """A duration in one unit."""
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


@register.filter
def version(number: int | None) -> str:
    """libvirt's way of writing a version as one number: 7002022 is 7.2.22."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}" if number else ""


@register.filter
def since(end: datetime | None, start: datetime) -> str:
    """The time from ``start`` to ``end``, to the millisecond below ten seconds; empty while it runs."""
    if end is None:
        return ""
    seconds = (end - start).total_seconds()
    if seconds >= 60:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{seconds:.3f} s" if seconds < 10 else f"{seconds:.1f} s"


@register.filter
def clock(moment: datetime | None) -> str:
    """The time of day to the millisecond."""
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}" if moment else ""


@register.inclusion_tag("parts/moment.html")
def moment(at: datetime | None, *, ago: bool = True) -> dict[str, Any]:
    """A time element: its age, with the exact time on hover, or the exact time alone."""
    return {"at": at, "ago": ago}


def fullness(used: float, total: float) -> str:
    """The colour of a bar."""
    share = used / total if total > 0 else 0
    return "bad" if share >= _FULL else "warn" if share >= _ALMOST_FULL else ""


@register.inclusion_tag("parts/bar.html")
def bar(used: float, total: float) -> dict[str, Any]:
    """A bar of what is used of a total; nothing for a total that has no limit (below zero)."""
    percent = min(100.0, 100 * used / total) if total > 0 else 0
    return {"percent": f"{percent:.2f}", "tone": fullness(used, total)}


@register.inclusion_tag("parts/bar.html")
def share(part: float, whole: float) -> dict[str, Any]:
    """A bar of a part of a whole, where full is nothing to worry about."""
    return {"percent": f"{min(100.0, 100 * part / whole) if whole > 0 else 0:.2f}", "tone": ""}


@register.inclusion_tag("parts/donut.html")
def donut(used: float, total: float) -> dict[str, Any]:
    """The same as a ring; its length is 100 by ``pathLength``."""
    percent = min(100.0, 100 * used / total) if total > 0 else 0
    return {"percent": f"{percent:.2f}", "empty": percent == 0, "tone": fullness(used, total)}


@register.inclusion_tag("parts/sort.html", takes_context=True)
def sort(context: template.Context, name: str, label: str) -> dict[str, Any]:
    """A column's head that sorts the table, downwards at the second click."""
    now = context.get("sort", "")
    return {
        "request": context["request"],
        "label": label,
        "up": now == name,
        "down": now == f"-{name}",
        "to": f"-{name}" if now == name else name,
    }


@register.inclusion_tag("parts/copy.html")
def copyable(value: object, *, mono: bool = True) -> dict[str, Any]:
    """A value with a button that copies it."""
    return {"value": value, "mono": mono}
