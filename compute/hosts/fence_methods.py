"""How hosts are switched off from afar: methods that whoever runs Nacelle writes into a file on this machine.

A method is a program with its arguments, ``off``, and perhaps a second, ``status``, that says whether the host
is off. Administrators of the cloud choose a method for a host and give it values; which programs run here is for
the file alone to say. There is no shell: each argument stays one argument, whatever its values hold.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from compute.errors import Invalid
from compute.models import Host

PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
# What the host's row gives; all other placeholders are the method's values.
OWN = ("name", "address")
# A file's name that is made of values leads nowhere but into its folder.
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
KEYS = frozenset({"off", "status", "off_says", "secrets"})
VALUE_CAP = 255


class NoMethod(Invalid):
    """The file cannot be used, or has no such method."""


@dataclass(frozen=True)
class Method:
    """One way. ``secrets``: environment variables of its programs, and where each comes from (``env:``, ``file:``)."""

    name: str
    off: tuple[str, ...]
    status: tuple[str, ...] = ()
    off_says: str = ""
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def asks_for(self) -> list[str]:
        """The names of the values that a host must give."""
        texts = (*self.off, *self.status, *self.secrets.values())
        return sorted({name for text in texts for name in PLACEHOLDER.findall(text)} - set(OWN))


def methods() -> dict[str, Method]:
    """Every method of the file; none without a file. Raises NoMethod for a file that makes no sense."""
    path = Path(settings.FENCE_METHODS)
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise NoMethod(f"The file of the fence methods cannot be read: {type(error).__name__}.") from error
    if not isinstance(found, dict):
        raise NoMethod("The file of the fence methods holds no object.")
    return {name: _method(name, given) for name, given in found.items()}


def method_named(name: str) -> Method:
    """The method of this name. Raises NoMethod."""
    known = methods()
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        raise NoMethod(f"There is no fence method {name[:64]!r}; there are: {names}.", about="method")
    return known[name]


def _method(name: str, given: Any) -> Method:
    if not isinstance(given, dict) or not given.keys() <= KEYS:
        raise NoMethod(f"The fence method {name} is an object with {', '.join(sorted(KEYS))} and nothing else.")
    off, status, secrets = _command(given.get("off")), _command(given.get("status", [])), given.get("secrets", {})
    if not off or status is None:
        raise NoMethod(f"The fence method {name}: 'off' and 'status' are lists of texts, a program and its arguments.")
    if bool(status) != bool(given.get("off_says")) or not isinstance(given.get("off_says", ""), str):
        raise NoMethod(f"The fence method {name}: 'status' and 'off_says', the text that means off, come together.")
    if not isinstance(secrets, dict) or not all(_is_source(source) for source in secrets.values()):
        raise NoMethod(f"The fence method {name}: a secret comes from 'env:NAME' or 'file:PATH'.")
    return Method(name, off, status, given.get("off_says", ""), secrets)


def _command(value: Any) -> tuple[str, ...] | None:
    """A program with its arguments; None for what is none."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value) or (value and not value[0]):
        return None
    return tuple(value)


def _is_source(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("env:", "file:"))


@dataclass(frozen=True)
class Prepared:
    """A method with a host's values: what is run. ``environment`` holds the secrets."""

    off: list[str]
    status: list[str]
    off_says: str
    environment: dict[str, str] = field(repr=False)


def check_values(method: Method, values: dict[str, str]) -> None:
    """Raise Invalid unless the values are those that the method asks for, and none can be taken for an option."""
    if missing := [name for name in method.asks_for if not values.get(name)]:
        raise Invalid(f"The fence method {method.name} asks for: {', '.join(missing)}.", about="values")
    if unknown := sorted(set(values) - set(method.asks_for)):
        asked = ", ".join(method.asks_for) or "nothing"
        raise Invalid(
            f"The fence method {method.name} asks for {asked}, not for {', '.join(unknown)[:200]}.", about="values"
        )
    for name, value in values.items():
        if len(value) > VALUE_CAP or not value.isprintable() or value.startswith("-"):
            rule = f"must be printable, have at most {VALUE_CAP} characters, and not begin with a hyphen"
            raise Invalid(f"The value of '{name}' {rule}.", about="values")


def prepared(method: Method, host: Host) -> Prepared:
    """What is run to fence this host. Raises Invalid and NoMethod (a secret that is not to be had, say)."""
    values = {name: str(value) for name, value in host.fence_values.items()}
    check_values(method, values)
    values |= {"name": host.name, "address": values.get("address") or urlsplit(host.uri).hostname or ""}
    return Prepared(
        [_filled(text, values) for text in method.off],
        [_filled(text, values) for text in method.status],
        method.off_says,
        {variable: _secret(source, values) for variable, source in method.secrets.items()},
    )


def _filled(text: str, values: dict[str, str]) -> str:
    return PLACEHOLDER.sub(lambda found: values[found[1]], text)


def _secret(source: str, values: dict[str, str]) -> str:
    kind, _, where = source.partition(":")
    for name in PLACEHOLDER.findall(where):
        if not PLAIN.fullmatch(values[name]):
            raise NoMethod(f"A secret's place is named after '{name}', which holds more than letters and digits here.")
    where = _filled(where, values)
    try:
        return os.environ[where] if kind == "env" else Path(where).read_text().strip()
    except (KeyError, OSError, ValueError) as error:
        raise NoMethod(f"A secret of the fence method cannot be had: {type(error).__name__} of a {kind}.") from error
