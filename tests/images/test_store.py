"""The store: whole files or none, digests, limits, raw disks for hosts, and faults as sentences."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from compute.errors import ComputeError, Invalid, TooLarge
from compute.images import convert, inspect, store
from compute.models import Image
from tests.images import corpus

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Iterator[Path]:
    settings.IMAGE_STORE = tmp_path / "store"
    yield settings.IMAGE_STORE


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def save(image_id: UUID, stream: store.Readable, disk_format: str | None) -> store.Stored:
    with store.receive(image_id, stream, disk_format) as received:
        received.keep()
    return received.stored


def an_image(disk_format: str, stored: store.Stored | None = None) -> Image:
    image = Image(disk_format=disk_format, container_format="bare")
    if stored is not None:
        image.size, image.virtual_size = stored.size, stored.virtual_size
    return image


def test_bytes_are_kept_under_the_id_with_their_digests(folder: Path) -> None:
    content = os.urandom(3 * MIB + 17)
    image = an_image("raw")
    stored = save(image.id, io.BytesIO(content), "raw")
    assert kept(folder) == [str(image.id)]
    assert (stored.size, stored.virtual_size) == (len(content), len(content))
    assert stored.checksum == hashlib.md5(content).hexdigest()
    assert stored.hash_value == hashlib.sha512(content).hexdigest()
    assert oct(folder.stat().st_mode)[-3:] == "700"


def test_raw_comes_back_as_it_went_in(folder: Path) -> None:
    content = os.urandom(2 * MIB + 5)
    image = an_image("raw")
    stored = save(image.id, io.BytesIO(content), "raw")
    image.size = stored.size
    chunks = list(store.open_raw(image))
    assert b"".join(chunks) == content == b"".join(store.open_bytes(image))
    assert max(map(len, chunks)) <= store.CHUNK_BYTES
    assert store.raw_size(image) == len(content)


def a_stored_qcow2(tmp_path: Path, *options: str) -> Image:
    path = corpus.qemu_img(tmp_path / "made", "qcow2", "8M", *options)
    corpus.qemu_io(path, "qcow2", "write -P 7 1M 64k")
    image = an_image("qcow2")
    with path.open("rb") as file:
        stored = save(image.id, file, "qcow2")
    image.size, image.virtual_size = stored.size, stored.virtual_size
    return image


def test_qcow2_is_converted_once_sparse_and_exact(tmp_path: Path, folder: Path, monkeypatch: Any) -> None:
    image = a_stored_qcow2(tmp_path)
    content = b"".join(store.open_raw(image))
    assert len(content) == store.raw_size(image) == 8 * MIB
    assert content == b"\0" * MIB + b"\x07" * 65536 + b"\0" * (7 * MIB - 65536)
    raw = folder / f"{image.id}.raw"
    assert raw.stat().st_blocks * 512 < MIB
    monkeypatch.setattr(convert, "_convert", None)
    assert b"".join(store.open_raw(image)) == content
    assert kept(folder) == [str(image.id), f"{image.id}.raw"]


def test_workers_that_ask_at_once_convert_once(tmp_path: Path, folder: Path, monkeypatch: Any) -> None:
    image = a_stored_qcow2(tmp_path)
    calls: list[list[str]] = []
    real = convert.command

    def counted(*args: Any) -> list[str]:
        calls.append(real(*args))
        return calls[-1]

    monkeypatch.setattr(convert, "command", counted)
    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(sum(map(len, store.open_raw(image))))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [8 * MIB] * 4
    assert len(calls) == 1


def test_the_tool_is_told_both_formats_and_has_limits(tmp_path: Path, folder: Path) -> None:
    image = a_stored_qcow2(tmp_path)
    argv = convert.command(store.path_of(image.id), store.raw_path_of(image.id), 8 * MIB)
    assert argv[: argv.index("--")] == [
        "prlimit", "--cpu=30", "--as=2147483648", f"--fsize={8 * MIB}", "--core=0",
    ]  # fmt: skip
    asked = argv[argv.index("--") + 1 :]
    assert asked[:6] == ["qemu-img", "convert", "-f", "qcow2", "-O", "raw"]


def test_what_is_not_what_it_says_leaves_nothing(tmp_path: Path, folder: Path) -> None:
    hostile = corpus.with_backing(tmp_path / "one")
    for declared in ("qcow2", "raw"):
        with pytest.raises(Invalid):
            save(uuid4(), io.BytesIO(hostile), declared)
    assert kept(folder) == []


def test_more_than_the_cap_leaves_nothing(folder: Path, settings: Any) -> None:
    settings.IMAGE_SIZE_CAP_BYTES = MIB
    with pytest.raises(TooLarge, match="1048576 bytes"):
        save(uuid4(), io.BytesIO(b"x" * (MIB + 1)), "raw")
    assert kept(folder) == []
    assert save(uuid4(), io.BytesIO(b"x" * MIB), "raw").size == MIB


def test_a_small_file_with_a_huge_virtual_size_is_too_large(tmp_path: Path, folder: Path, settings: Any) -> None:
    settings.IMAGE_SIZE_CAP_BYTES = 100 << 30
    bomb = corpus.qcow2(tmp_path / "one", "1T")
    assert len(bomb) < MIB
    with pytest.raises(TooLarge, match="virtual size"):
        save(uuid4(), io.BytesIO(bomb), "qcow2")
    assert kept(folder) == []


def test_a_stream_that_breaks_leaves_nothing(folder: Path) -> None:
    class Broken:
        def __init__(self) -> None:
            self.reads = 0

        def read(self, size: int = -1) -> bytes:
            self.reads += 1
            if self.reads > 2:
                raise ConnectionResetError(104, "reset")
            return b"x" * 1000

    with pytest.raises(ComputeError, match="Connection reset"):
        save(uuid4(), Broken(), "raw")
    assert kept(folder) == []


def test_a_full_disk_is_said_so_and_leaves_nothing(folder: Path, monkeypatch: Any) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ComputeError, match="the image store is full"):
        save(uuid4(), io.BytesIO(b"x"), "raw")
    assert kept(folder) == []


def test_a_missing_file_is_said_so_without_its_path(folder: Path) -> None:
    for disk_format in ("raw", "qcow2"):
        with pytest.raises(ComputeError, match="not in the store") as caught:
            store.open_raw(an_image(disk_format))
        assert str(folder) not in str(caught.value)


def test_formats_that_cannot_be_booted_are_named(folder: Path) -> None:
    for disk_format in ("vmdk", "vdi", "vhd", None):
        with pytest.raises(ComputeError, match="cannot be booted yet"):
            store.open_raw(an_image(disk_format))  # type: ignore[arg-type]  # or none at all
    assert all(store.not_bootable(an_image(name)) == "" for name in ("raw", "qcow2", "iso"))


def test_no_qemu_img_is_said_so(tmp_path: Path, folder: Path, monkeypatch: Any) -> None:
    image = a_stored_qcow2(tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "prlimit").symlink_to("/usr/bin/prlimit")
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(ComputeError, match="qemu-img is not installed"):
        store.open_raw(image)
    assert kept(folder) == [str(image.id)]
    (tools / "prlimit").unlink()
    with pytest.raises(ComputeError, match="prlimit is not installed"):
        store.open_raw(image)


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        ("kill -XCPU $$", "more processor time or disk"),
        ("echo 'qemu-img: error while writing: No space left on device' >&2; exit 1", "store is full"),
        ("echo 'qemu-img: Could not open: bad' >&2; exit 1", "cannot be converted to raw: qemu-img: Could not open"),
        ("true", "has not the size"),
    ],
)
def test_a_conversion_that_fails_says_why_and_leaves_nothing(
    tmp_path: Path, folder: Path, monkeypatch: Any, tool: str, said: str
) -> None:
    image = a_stored_qcow2(tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "qemu-img").write_text(f"#!/bin/bash\n{tool}\n")
    (tools / "qemu-img").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    with pytest.raises(ComputeError, match=said) as caught:
        store.open_raw(image)
    assert str(folder) not in str(caught.value)
    assert kept(folder) == [str(image.id)]


def test_the_limits_hold_for_real(tmp_path: Path, folder: Path, monkeypatch: Any) -> None:
    image = a_stored_qcow2(tmp_path)
    monkeypatch.setattr(convert, "MEMORY_BYTES", 8 * MIB)
    with pytest.raises(ComputeError):
        store.open_raw(image)
    assert kept(folder) == [str(image.id)]


def test_a_file_that_was_swapped_in_the_store_is_looked_at_again(tmp_path: Path, folder: Path) -> None:
    image = a_stored_qcow2(tmp_path)
    store.path_of(image.id).write_bytes(corpus.with_backing(tmp_path / "evil"))
    with pytest.raises(Invalid, match="backing file"):
        store.open_raw(image)


def test_an_image_deleted_while_it_is_converted_leaves_nothing(tmp_path: Path, folder: Path, monkeypatch: Any) -> None:
    image = a_stored_qcow2(tmp_path)
    real = convert._convert

    def slow(source: Path, target: Path, size: int) -> None:
        real(source, target, size)
        source.unlink()

    monkeypatch.setattr(convert, "_convert", slow)
    with pytest.raises(ComputeError, match="not in the store"):
        store.open_raw(image)
    assert kept(folder) == []


def test_delete_takes_everything_and_may_run_twice(tmp_path: Path, folder: Path) -> None:
    image, other = a_stored_qcow2(tmp_path), a_stored_qcow2(tmp_path)
    list(store.open_raw(image))
    store.delete(image.id)
    store.delete(image.id)
    assert kept(folder) == [str(other.id)]


def test_a_raw_guest_that_writes_a_qcow2_header_stays_raw(folder: Path, tmp_path: Path) -> None:
    """What is stored as raw is streamed as raw, whatever a header in it says: nothing probes."""
    image = an_image("raw")
    folder.mkdir()
    evil = corpus.with_backing(tmp_path / "evil")
    store.path_of(image.id).write_bytes(evil)
    assert b"".join(store.open_raw(image)) == evil


def test_no_other_code_runs_qemu_img() -> None:
    root = Path(inspect.__file__).parents[2]
    callers = subprocess.run(
        ["grep", "-rlE", "\"qemu-img\",", "--include=*.py", "compute", "portal", "scheduler", "consoleproxy"],
        cwd=root, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert "compute/images/convert.py" in callers
    for caller in callers:
        text = (root / caller).read_text()
        assert '"-f"' in text or '"-O"' in text, f"{caller} calls qemu-img without naming the format"
