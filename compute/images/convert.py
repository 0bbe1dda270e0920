"""qcow2 to raw by ``qemu-img``: never before the header was looked at, never without limits.

Both formats are always named, so that nothing is guessed from bytes that a user wrote (OSSA-2016-007,
OSSA-2026-002), and the process may take only so much time, memory and disk (OSSA-2016-012).
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from pathlib import Path

from compute.errors import ComputeError
from compute.images import inspect

MEMORY_BYTES = 2 << 30
CPU_SECONDS, CPU_SECONDS_PER_GIB = 30, 30
GIB = 1 << 30


def to_raw(source: Path, target: Path, size: int) -> None:
    """Make ``target`` the raw form (``size`` bytes, sparse) of the qcow2 file ``source``, unless it is there.

    Of several workers that ask at once, one converts and the others wait. Raises OSError (no such file,
    no room), Invalid (the header is not safe) and ComputeError (the image is damaged, or takes too much).
    """
    with source.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if target.exists():
            return
        inspect.check(file, "qcow2")
        descriptor, temporary = tempfile.mkstemp(prefix=f"{source.name}.", suffix=".part", dir=source.parent)
        os.close(descriptor)
        try:
            _convert(source, Path(temporary), size)
            os.replace(temporary, target)
        finally:
            Path(temporary).unlink(missing_ok=True)
        if not source.exists():  # the image was deleted meanwhile
            target.unlink(missing_ok=True)
            raise FileNotFoundError(source)


def command(source: Path, target: Path, size: int) -> list[str]:
    """The command with its limits. CPU time grows with the work, which is what is read and what is written."""
    seconds = CPU_SECONDS + CPU_SECONDS_PER_GIB * (source.stat().st_size // GIB)
    return [
        "prlimit", f"--cpu={seconds}", f"--as={MEMORY_BYTES}", f"--fsize={size}", "--core=0", "--",
        "qemu-img", "convert", "-f", "qcow2", "-O", "raw", "-S", "4k", str(source), str(target),
    ]  # fmt: skip


def _convert(source: Path, target: Path, size: int) -> None:
    argv = command(source, target, size)
    limit = 10 * (CPU_SECONDS + CPU_SECONDS_PER_GIB * (source.stat().st_size // GIB))
    try:
        done = subprocess.run(  # noqa: S603  (no shell, and both paths are made of the image's id)
            argv, capture_output=True, text=True, timeout=limit, check=False, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise ComputeError("Cannot convert the image: prlimit is not installed on this machine.") from error
    except subprocess.TimeoutExpired as error:
        raise ComputeError(f"Converting the image to raw took more than {limit} s and was given up.") from error
    if done.returncode:
        raise ComputeError(_why(done, source))
    if target.stat().st_size != size:
        raise ComputeError("The image is damaged: its raw form has not the size that its header says.")


def _why(done: subprocess.CompletedProcess[str], source: Path) -> str:
    if "No space left" in done.stderr:
        return "Cannot convert the image: the image store is full."
    if done.returncode < 0 or done.returncode > 128:
        return "Converting the image to raw took more processor time or disk than is allowed and was given up."
    if "failed to execute" in done.stderr:
        return "Cannot convert the image: qemu-img is not installed on this machine (Debian: qemu-utils)."
    reason = done.stderr.strip().splitlines()[-1:] or ["qemu-img gave no reason"]
    return f"The image cannot be converted to raw: {reason[0].replace(str(source.parent), '')}"
