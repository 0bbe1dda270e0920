"""The range of the first network avoids what the machine uses."""

from __future__ import annotations

import pytest

from compute.errors import Invalid
from portal.setup.private_range import CANDIDATES, free_range

HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"


def routes(tmp_path, *lines):
    path = tmp_path / "route"
    path.write_text(
        HEAD
        + "".join(f"eth0\t{destination}\t00000000\t0001\t0\t0\t0\t{mask}\t0\t0\t0\n" for destination, mask in lines)
    )
    return path


def test_the_first_range_is_taken_when_it_is_free(tmp_path):
    assert free_range(routes(tmp_path, ("00000000", "00000000"), ("0011A8C0", "00FFFFFF"))) == "10.77.0.0/20"


def test_a_range_that_a_route_overlaps_is_passed_over(tmp_path):
    assert free_range(routes(tmp_path, ("00054D0A", "00FFFFFF"))) == "10.78.0.0/20"


def test_nothing_is_free(tmp_path):
    assert len(CANDIDATES) == 31
    with pytest.raises(Invalid, match="NACELLE_PRIVATE_CIDR"):
        free_range(routes(tmp_path, ("0000000A", "000000FF")))


def test_a_machine_without_the_kernels_table_has_no_routes(tmp_path):
    assert free_range(tmp_path / "nothing") == "10.77.0.0/20"
