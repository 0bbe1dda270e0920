"""The way to a host over ssh: the system's own client, which never asks and never waits for long.

libvirt calls ssh with the arguments that it needs, and the URI can name another program in its place. Ours is a
script of two lines that adds what libvirt has no parameter for: a limit for the connection, the refusal of host
keys that are not known, and the file that knows them.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shlex
from pathlib import Path
from urllib.parse import SplitResult

from compute.hypervisor import ways

CONNECT_SECONDS = 5
ALIVE_SECONDS = 5
FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


def without_prompts(uri: str, folder: str = "") -> str:
    """The URI, with our script for ssh and without the parameters that only the script knows."""
    known_hosts = ways.parameters(uri).get("known_hosts", "")
    uri = ways.with_parameters(uri, {"known_hosts": None, "no_tty": "1"})
    return ways.with_parameters(uri, {"command": str(program(folder, known_hosts))})


def program(folder: str = "", known_hosts: str = "") -> Path:
    """The script that calls ssh with these host keys (empty: the user's own). It is made if it is not there."""
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": CONNECT_SECONDS,
        "ServerAliveInterval": ALIVE_SECONDS,
    }
    if known_hosts:
        options |= {"UserKnownHostsFile": known_hosts, "GlobalKnownHostsFile": "/dev/null"}
    said = " ".join(shlex.quote(f"-o{name}={value}") for name, value in options.items())
    text = f'#!/bin/sh\nexec ssh {said} "$@"\n'
    place = Path(folder) if folder else Path.home() / ".cache" / "nacelle-ssh"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = place / f"ssh-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if not path.exists():
        temporary = path.with_suffix(f".{secrets.token_hex(4)}")
        temporary.touch(mode=0o700)
        temporary.write_text(text)
        temporary.replace(path)
    return path


def explain(uri: str, said: str, means: ways.Ways) -> str:
    """What a failure of ssh means and what to do about it; empty where that is not known.

    ``said`` holds the end of what ssh wrote; libvirt runs it with its texts in English.
    """
    parts = ways.split(uri)
    host, port = parts.hostname or "", parts.port or ways.PORTS["qemu+ssh"]
    where = host if port == ways.PORTS["qemu+ssh"] else f"{host} (port {port})"
    if about_key := _about_host_key(uri, parts, where, said):
        return about_key
    if "Permission denied" in said:
        return (
            f"{where} does not let us in{_as(parts)}. Add the public key of the user that runs Nacelle (or that of the "
            "URI's keyfile=) to authorized_keys there; a key with a passphrase needs an agent."
        )
    if "Could not resolve hostname" in said:
        return f"The name {host} could not be resolved."
    for sign in ("Connection timed out", "Operation timed out", "Connection refused", "No route to host"):
        if sign in said and "port" in said:
            return f"{where} does not answer over ssh: {sign.lower()}."
    return ""


def _about_host_key(uri: str, parts: SplitResult, where: str, said: str) -> str:
    look = f"On this control node, as the user that runs Nacelle, run ssh{_port(parts)}"
    look += f"{_file(uri, '-o UserKnownHostsFile=')} {_login(parts)} true"
    if "IDENTIFICATION HAS CHANGED" in said or "key has just been changed" in said:
        return (
            f"{where} shows another host key than before{_shown(said)}. Either the host was set up anew, or somebody "
            "else answers in its place. Find out which; then forget the old key with "
            f"ssh-keygen{_file(uri, '-f ')} -R '{_known_as(parts)}' and accept the new one."
        )
    if "Value too large for defined data type" in said:  # libvirt reads 1024 bytes of it, and drops what is longer
        return (
            f"{where} is not reached, and ssh says more of it than libvirt passes on, as it does when a host shows "
            f"another host key than before. {look} to read it."
        )
    if "host key is known" in said or "Host key verification failed" in said:
        return (
            f"The host key of {where} is not known here. {look}, compare the fingerprint with the host's own, and "
            "accept it."
        )
    return ""


def _shown(said: str) -> str:
    found = FINGERPRINT.search(said)
    return f", {found.group()}" if found else ""


def _file(uri: str, option: str) -> str:
    """The option that names the file of host keys, where the URI names one."""
    name = ways.parameters(uri).get("known_hosts", "")
    return f" {option}{shlex.quote(name)}" if name else ""


def _known_as(parts: SplitResult) -> str:
    return parts.hostname or "" if parts.port in (None, ways.PORTS["qemu+ssh"]) else f"[{parts.hostname}]:{parts.port}"


def _port(parts: SplitResult) -> str:
    return "" if parts.port in (None, ways.PORTS["qemu+ssh"]) else f" -p {parts.port}"


def _login(parts: SplitResult) -> str:
    return f"{parts.username}@{parts.hostname}" if parts.username else parts.hostname or ""


def _as(parts: SplitResult) -> str:
    return f" as {parts.username}" if parts.username else ""
