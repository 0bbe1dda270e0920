"""What `scripts/setup.sh` installs is what the program needs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from compute.images.tiny.build import REQUIRED_PACKAGES

ROOT = Path(__file__).resolve().parents[1]
# Part of every Debian machine.
ESSENTIAL = {"apt", "dpkg"}


def packages() -> set[str]:
    """The Debian packages that a machine gets without --dev."""
    script = (ROOT / "scripts" / "setup.sh").read_text()
    (listed,) = re.findall(r"^PACKAGES=\((.*?)^\)", script, re.DOTALL | re.MULTILINE)
    return set(shlex.split(listed, comments=True))


def test_it_installs_what_the_tiny_guest_is_built_with() -> None:
    assert set(REQUIRED_PACKAGES) - ESSENTIAL <= packages()


def test_requirements_are_named_once_and_pinned() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-client.txt"):
        lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
        pins = [line for line in lines if line and not line.startswith("-r ")]
        names = [re.split(r"[\[=]", pin)[0].lower() for pin in pins]
        assert len(names) == len(set(names)), name
        assert all("==" in pin for pin in pins), name
