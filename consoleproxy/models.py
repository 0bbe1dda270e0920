"""Console tokens."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class ConsoleToken(models.Model):
    """A right to open one console of one instance. Only the digest of the token is stored.

    ``user_stamp`` is the user's token stamp when it was issued: a new password ends it.
    ``request_id`` is the request that asked for it, so that the proxy's log lines carry the same id.
    """

    digest = models.CharField(max_length=64, primary_key=True)
    instance = models.ForeignKey("compute.Instance", on_delete=models.CASCADE, related_name="console_tokens")
    host = models.ForeignKey("compute.Host", on_delete=models.CASCADE, related_name="+")
    user_id = models.CharField(max_length=64)
    user_stamp = models.CharField(max_length=32)
    project_id = models.CharField(max_length=64, blank=True, default="", help_text="Empty: issued on the system.")
    application_credential_id = models.CharField(max_length=64, blank=True, default="")
    request_id = models.CharField(max_length=64)
    kind = models.CharField(max_length=16, choices=[("novnc", "Screen"), ("serial", "Serial port")])
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.kind} of {self.instance_id}"
