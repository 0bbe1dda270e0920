"""What an operation did on a real guest: its states before, during and after, its seconds, what the guest showed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.e2e.cloud import LATEST, SERVERS, Cloud
from tests.e2e.nacelle import wait_until

LOOK_SECONDS = 0.03
HEADINGS = ("operation", "asked by", "before", "during", "after", "seconds", "what was seen")

State = tuple[str, str | None]


@dataclass
class Seen:
    """One line of the table."""

    operation: str
    asked_by: str
    before: State
    after: State = ("", None)
    during: list[State] = field(default_factory=list)
    seconds: float = 0.0
    shown: str = ""

    def shows(self, what: str) -> None:
        """Say what was seen of it."""
        self.shown = what

    def line(self) -> str:
        """As Markdown."""
        passed = " → ".join(name_of(state) for state in self.during)
        cells = (self.operation, f"`{self.asked_by}`", name_of(self.before), passed, name_of(self.after))
        return f"| {' | '.join(cells)} | {self.seconds:.2f} | {self.shown} |"


def name_of(state: State) -> str:
    """A status, with the task that is under way."""
    status, task = state
    return f"{status} ({task})" if task else status


def state_of(cloud: Cloud, server_id: str) -> State:
    """What the API says of the server now."""
    answer = cloud.wire.get(f"{SERVERS}/{server_id}", **LATEST)
    if answer.status == 404:
        return ("gone", None)
    server = answer.json["server"]
    return (str(server["status"]), server["OS-EXT-STS:task_state"])


class Table:
    """The lines so far. ``do`` adds one."""

    def __init__(self) -> None:
        self.lines: list[Seen] = []

    def do(self, cloud: Cloud, server_id: str, operation: str, asked_by: str, ask: Callable[[], Any], end: str) -> Seen:
        """Ask, watch the server until it has ended in the status ``end``, and add what was seen to the table."""
        line = Seen(operation, asked_by, state_of(cloud, server_id))
        known = len(actions(cloud, server_id))
        with watched(cloud, server_id) as states:
            ask()
            wait_until(f"{operation} begins", lambda: len(actions(cloud, server_id)) > known)
            self._wait(cloud, server_id, line, end)
        line.during = [state for state in states if state not in (line.before, line.after)]
        return line

    def created(self, cloud: Cloud, server_id: str) -> Seen:
        """Watch a server that was just asked for until it is active, and add what was seen to the table."""
        line = Seen("create", "openstack server create", ("none", None))
        with watched(cloud, server_id) as states:
            self._wait(cloud, server_id, line, "ACTIVE")
        line.during = [state for state in states if state != line.after]
        return line

    def _wait(self, cloud: Cloud, server_id: str, line: Seen, end: str) -> None:
        wait_until(f"{line.operation} is over", lambda: is_over(cloud, server_id, end), pause=LOOK_SECONDS)
        line.after, line.seconds = state_of(cloud, server_id), seconds_of(cloud, server_id)
        self.lines.append(line)

    def write(self, path: Path) -> None:
        """As a page of Markdown."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rule = f"|{'---|' * len(HEADINGS)}"
        lines = [f"| {' | '.join(HEADINGS)} |", rule, *(line.line() for line in self.lines)]
        path.write_text("# Every operation on real guests\n\n" + "\n".join(lines) + "\n")


def actions(cloud: Cloud, server_id: str) -> list[dict[str, Any]]:
    """The server's action log, the newest first; a deleted server has one too."""
    return list(cloud.wire.get(f"{SERVERS}/{server_id}/os-instance-actions", **LATEST).json["instanceActions"])


def is_over(cloud: Cloud, server_id: str, end: str) -> bool:
    """Whether nothing is under way any more and the server is what it was to become."""
    if state_of(cloud, server_id) != (end, None):
        return False
    newest = actions(cloud, server_id)[0]
    path = f"{SERVERS}/{server_id}/os-instance-actions/{newest['request_id']}"
    events = cloud.wire.get(path, **LATEST).json["instanceAction"]["events"]
    return all(event["finish_time"] for event in events)


def seconds_of(cloud: Cloud, server_id: str) -> float:
    """From the request to the end of the server's newest action."""
    newest = actions(cloud, server_id)[0]
    began, ended = (datetime.fromisoformat(newest[name]) for name in ("start_time", "updated_at"))
    return (ended - began).total_seconds()


@contextmanager
def watched(cloud: Cloud, server_id: str) -> Iterator[list[State]]:
    """Collects the states that the server shows while the block runs, each once in the order of its first sight."""
    states: list[State] = []
    ended = threading.Event()
    wire = cloud.nacelle.wire()

    def watch() -> None:
        while not ended.is_set():
            found = wire.get(f"{SERVERS}/{server_id}", **LATEST)
            if found.status == 200:
                server = found.json["server"]
                state = (str(server["status"]), server["OS-EXT-STS:task_state"])
                if state not in states:
                    states.append(state)
            time.sleep(LOOK_SECONDS)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield states
    finally:
        ended.set()
        watcher.join()
        wire.close()
