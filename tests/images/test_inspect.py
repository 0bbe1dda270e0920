"""What is told from an image's bytes: good files pass, hostile ones do not, whatever they are declared to be."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest

from compute.errors import Invalid
from compute.images.inspect import check, look
from tests.images import corpus

MIB = 1 << 20


def refusal(content: bytes, declared: str | None) -> str:
    with pytest.raises(Invalid) as caught:
        check(io.BytesIO(content), declared)
    return str(caught.value)


@pytest.mark.parametrize("image_format", ["qcow2", "vmdk", "vdi", "vhdx", "qed"])
def test_real_files_are_recognised_with_their_virtual_size(tmp_path: Path, image_format: str) -> None:
    with corpus.qemu_img(tmp_path / "one", image_format, "4M").open("rb") as file:
        content = look(file)
    assert content.formats == {image_format}
    assert content.virtual_size == (None if image_format in ("vhdx", "qed") else 4 * MIB)


def test_a_real_vhd_is_recognised_by_its_header_and_by_its_footer_alone(tmp_path: Path) -> None:
    dynamic = corpus.qemu_img(tmp_path / "dynamic", "vpc", "4M").read_bytes()
    fixed = corpus.qemu_img(tmp_path / "fixed", "vpc", "4M", "-o", "subformat=fixed").read_bytes()
    for content in (dynamic, fixed):
        found = look(io.BytesIO(content))
        assert found.formats == {"vhd"}
        assert found.virtual_size is not None and 4 * MIB <= found.virtual_size < 5 * MIB


@pytest.mark.parametrize(
    "options",
    [
        ("-o", "compat=0.10"),
        ("-o", "extended_l2=on,cluster_size=128k"),
        ("-o", "compression_type=zstd"),
        ("-o", "lazy_refcounts=on"),
        ("-o", "cluster_size=512"),
        ("-o", "cluster_size=2M"),
        ("-o", "preallocation=metadata"),
    ],
)
def test_every_kind_of_good_qcow2_is_accepted(tmp_path: Path, options: tuple[str, ...]) -> None:
    content = corpus.qcow2(tmp_path / "one", "10M", *options)
    assert check(io.BytesIO(content), "qcow2").virtual_size == 10 * MIB


@pytest.mark.parametrize("declared", ["raw", "iso", "vmdk", "vdi", "vhd"])
def test_a_qcow2_is_nothing_else(tmp_path: Path, declared: str) -> None:
    said = refusal(corpus.qcow2(tmp_path / "one"), declared)
    assert said == f"content does not match disk_format {declared}: it looks like qcow2."


def test_random_bytes_are_raw_and_nothing_else() -> None:
    content = b"\x07" * 2048
    assert check(io.BytesIO(content), "raw").virtual_size == 2048
    assert refusal(content, "qcow2") == "content does not match disk_format qcow2: it looks like raw."


def test_a_disk_with_partitions_is_raw_and_no_iso() -> None:
    assert check(io.BytesIO(corpus.GPT_DISK), "raw").formats == {"gpt", "mbr"}
    assert "it looks like gpt and mbr" in refusal(corpus.GPT_DISK, "iso")


def test_an_iso_may_start_from_a_stick_but_be_no_other_image(tmp_path: Path) -> None:
    assert check(io.BytesIO(corpus.iso()), "iso").formats == {"iso"}
    assert check(io.BytesIO(corpus.iso(corpus.GPT_DISK[:2048])), "iso").formats == {"iso", "mbr", "gpt"}
    assert "looks like iso and qcow2" in refusal(corpus.iso(corpus.qcow2(tmp_path / "one")[:4096]), "iso")
    assert "looks like iso" in refusal(corpus.iso(), "raw")


@pytest.mark.parametrize("declared", ["qcow2", "raw"])
def test_a_qcow2_with_a_backing_file_is_refused_under_any_name(tmp_path: Path, declared: str) -> None:
    said = refusal(corpus.with_backing(tmp_path / "one"), declared)
    assert ("backing file" in said) if declared == "qcow2" else ("looks like qcow2" in said)


def test_a_qcow2_with_a_data_file_is_refused_by_its_bit_and_by_its_extension(tmp_path: Path) -> None:
    content = corpus.with_data_file(tmp_path / "one")
    assert b"/etc/shadow" in content
    assert "external data file" in refusal(content, "qcow2")
    without_bit = corpus.patched(content, 72, ">Q", 0)
    assert "external data file" in refusal(without_bit, "qcow2")


@pytest.mark.parametrize(
    ("offset", "form", "value", "said"),
    [
        (4, ">I", 4, "version 4"),
        (16, ">I", 11, "backing file"),
        (20, ">I", 40, "cluster size"),
        (20, ">I", 8, "cluster size"),
        (24, ">Q", 1 << 50, "does not fit its virtual size"),
        (32, ">I", 2, "encrypted"),
        (36, ">I", 1 << 24, "does not fit"),
        (40, ">Q", 1 << 40, "cut short"),
        (72, ">Q", 2, "corrupt"),
        (72, ">Q", 1 << 5, "not known"),
        (72, ">Q", 1 << 63, "not known"),
        (100, ">I", 8, "length"),
    ],
)
def test_a_header_that_was_tampered_with_is_refused(
    tmp_path: Path, offset: int, form: str, value: int, said: str
) -> None:
    assert said in refusal(corpus.patched(corpus.qcow2(tmp_path / "one"), offset, form, value), "qcow2")


def test_a_backing_format_without_a_backing_file_is_refused(tmp_path: Path) -> None:
    content = bytearray(corpus.qcow2(tmp_path / "one"))
    length = struct.unpack_from(">I", content, 100)[0]
    content[length : length + 16] = struct.pack(">II", 0xE2792ACA, 3) + b"raw\0\0\0\0\0"
    assert "backing format" in refusal(bytes(content), "qcow2")


@pytest.mark.parametrize("length", [4, 60, 80, 103, 4096])
def test_a_truncated_qcow2_is_refused(tmp_path: Path, length: int) -> None:
    assert "cut short" in refusal(corpus.qcow2(tmp_path / "one")[:length], "qcow2")


def test_vmdk_only_in_one_file(tmp_path: Path) -> None:
    good = corpus.qemu_img(tmp_path / "one", "vmdk", "4M").read_bytes()
    assert check(io.BytesIO(good), "vmdk").virtual_size == 4 * MIB
    assert "one file" in refusal(corpus.vmdk_descriptor(), "vmdk")
    assert "looks like vmdk" in refusal(corpus.vmdk_descriptor(), "raw")
    assert "looks like vmdk" in refusal(b"\n\n  # a comment\n" + corpus.vmdk_descriptor()[22:], "raw")
    flat = 'createType="monolithicFlat"\nRW 8192 FLAT "/etc/passwd" 0\n'
    assert "one file" in refusal(corpus.sparse_vmdk(flat), "vmdk")
    outside = 'createType="monolithicSparse"\nRW 8192 SPARSE "/etc/passwd"\n'
    assert "outside" in refusal(corpus.sparse_vmdk(outside), "vmdk")
    two = 'createType="monolithicSparse"\nRW 8192 SPARSE "a.vmdk"\nRW 1 FLAT "/etc/passwd" 0\n'
    assert "one file" in refusal(corpus.sparse_vmdk(two), "vmdk")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"LUKS\xba\xbe\0\x02" + b"\0" * 600, "luks"),
        (b"QED\0" + b"\0" * 600, "qed"),
        (b"WithoutFreeSpace" + b"\0" * 600, "ploop"),
        (b"Bochs Virtual HD Image" + b"\0" * 600, "bochs"),
        (b"\0" * 4096 + b"koly".ljust(512, b"\0"), "dmg"),
        (b"\0" * 4096 + b"conectix".ljust(512, b"\0"), "vhd"),
    ],
)
def test_what_qemu_would_recognise_is_not_raw(content: bytes, found: str) -> None:
    assert f"looks like {found}" in refusal(content, "raw")


def test_nothing_at_all_and_nothing_declared_are_refused() -> None:
    assert "empty" in refusal(b"", "raw")
    assert "disk_format must be set" in refusal(b"x", None)
