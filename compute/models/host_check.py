"""What the last look at a host has brought to light. Apart from the host's row, which is read all the time."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class HostCheck(models.Model):
    """The last check of a host; written by ``compute.hosts.checks`` alone."""

    host = models.OneToOneField("compute.Host", on_delete=models.CASCADE, primary_key=True, related_name="last_check")
    at = models.DateTimeField(default=timezone.now)
    details = models.JSONField(default=dict, blank=True, help_text="What was seen of the machine.")
    guests = models.JSONField(default=list, blank=True, help_text="Those on it that were not this cloud's then.")
    findings = models.JSONField(default=list, blank=True, help_text="What is to be said of it, the worst first.")

    def __str__(self) -> str:
        return f"{self.host} at {self.at:%F %T}"
