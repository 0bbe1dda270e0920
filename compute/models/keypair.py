"""Key pairs: public keys that guests let in."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class KeyPair(models.Model):
    """A user's public key. The private half, where Nacelle makes it, is handed out once and not kept."""

    user = models.ForeignKey("identity.User", on_delete=models.CASCADE, related_name="key_pairs")
    name = models.CharField(max_length=255)
    type = models.CharField(max_length=16, default="ssh", choices=[("ssh", "SSH"), ("x509", "X.509")])
    public_key = models.TextField()
    fingerprint = models.CharField(max_length=255)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="key_pair_name_of_user")]

    def __str__(self) -> str:
        return self.name
