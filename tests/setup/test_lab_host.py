"""A host of the laboratory, as far as it needs no machine's rights."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.setup.lab.commands import LabError
from portal.setup.lab.host import LabHost


def test_the_cable_of_a_host_that_is_off_is_not_put_back(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"^lab-1 is off\.$"):
        LabHost(tmp_path, 1, "lab-none", "198.18.0.11", 24).mend()
