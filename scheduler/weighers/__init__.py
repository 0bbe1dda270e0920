"""Weighers: which of the hosts that can is best. Higher is better."""

from scheduler.weighers.base import Weigher
from scheduler.weighers.ram import RAMWeigher

WEIGHERS: tuple[Weigher, ...] = (RAMWeigher(),)

__all__ = ["WEIGHERS", "Weigher"]
