"""What tests make outside the folders that pytest gives them, and how it goes again."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


def folder_of_this_process(prefix: str) -> str:
    """A new folder, which goes when this process ends; those that it has forked leave it alone."""
    made, owner = tempfile.mkdtemp(prefix=prefix), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(made, ignore_errors=True)

    atexit.register(remove)
    return made


@contextlib.contextmanager
def place(path: Path) -> Iterator[Path]:
    """A folder of the machine's is there, to mount upon or for a program that wants it; one that was not goes again."""
    was_there = path.exists()
    path.mkdir(exist_ok=True)
    try:
        yield path
    finally:
        if not was_there:
            path.rmdir()
