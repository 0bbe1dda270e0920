"""Documents say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from django.conf import settings

from compute.images.tiny.build import REQUIRED_PACKAGES
from portal.setup.documents import DOCUMENTS

ROOT = Path(settings.BASE_DIR)


def test_every_setting_is_documented_and_every_documented_setting_exists():
    variable = re.compile(r"\b(NACELLE_[A-Z_]+|DATABASE_URL|REDIS_URL)\b")
    code = "".join(path.read_text() for path in [ROOT / "portal/settings.py", *(ROOT / "portal/setup").glob("*.py")])
    read = set(re.findall(r"environ(?:\.get)?[\(\[]\s*\"(\w+)\"", code)) | set(re.findall(r'_flag\("(\w+)"', code))
    documented = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE))
    assert {name for name in read if variable.fullmatch(name)} == documented


def test_derived_documents_are_as_the_code_derives_them():
    for path, derive in DOCUMENTS.items():
        assert (ROOT / path).read_text() == derive((ROOT / path).read_text()), f"{path}: run `manage.py document`"


def test_set_up_installs_what_the_tiny_guest_is_built_with():
    assert [name for name in REQUIRED_PACKAGES if name not in ("apt", "dpkg")] == [
        name
        for name in REQUIRED_PACKAGES
        if name in (ROOT / "scripts/setup.sh").read_text() and name not in ("apt", "dpkg")
    ]
