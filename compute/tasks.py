"""What the queue calls. Arguments are ids alone; every task may be delivered twice."""

from __future__ import annotations


def perform(action_id: int, lane: str) -> None:
    """Work on an operation."""
    from compute.operations.worker import perform as work

    work(action_id, lane)


def deliver_image(delivery_id: int) -> None:
    """Bring an image to a host."""
    from compute.images.deliver import work

    work(delivery_id)
