"""The config drive's file system, read by somebody else's reader; the tiny guest's kernel reads it in tests/images."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycdlib import PyCdlib

from compute.hypervisor import iso9660

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789._-", min_size=1, max_size=40).filter(
    lambda name: name not in (".", "..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda parts: "/".join([f"{part}d" for part in parts[:-1]] + ["f"]))
FILES = st.dictionaries(PATHS, st.binary(max_size=6000), min_size=1, max_size=8)


def read(image: bytes, **path: str) -> bytes:
    iso, out = PyCdlib(), io.BytesIO()
    iso.open_fp(io.BytesIO(image))
    iso.get_file_from_iso_fp(out, **path)
    return out.getvalue()


def names(image: bytes, **root: str) -> set[str]:
    iso = PyCdlib()
    iso.open_fp(io.BytesIO(image))
    return {f"{folder.rstrip('/')}/{name}" for folder, _, found in iso.walk(**root) for name in found}


@settings(deadline=None, max_examples=60)
@given(FILES)
def test_both_trees_have_every_file_with_its_name_and_content(files: dict[str, bytes]) -> None:
    image = iso9660.image("config-2", files)
    wanted = {f"/{path}" for path in files}
    assert names(image, rr_path="/") == wanted
    assert names(image, joliet_path="/") == wanted
    for path, content in files.items():
        assert read(image, rr_path=f"/{path}") == content
        assert read(image, joliet_path=f"/{path}") == content


def test_the_volume_is_named_and_as_long_as_it_says() -> None:
    image = iso9660.image("config-2", {"openstack/latest/meta_data.json": b"{}", "openstack/latest/user_data": b""})
    iso = PyCdlib()
    iso.open_fp(io.BytesIO(image))
    assert iso.pvd.volume_identifier.decode().strip() == "config-2"
    assert iso.joliet_vd.volume_identifier.decode("utf-16-be").strip() == "config-2"
    assert len(image) == iso.pvd.space_size * iso9660.SECTOR == iso.joliet_vd.space_size * iso9660.SECTOR


def test_a_folder_that_a_sector_cannot_name_is_refused() -> None:
    with pytest.raises(ValueError, match="too many files"):
        iso9660.image("config-2", {f"a-file-with-a-long-name-{number}": b"" for number in range(30)})
