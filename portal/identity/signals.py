"""What others may hear of identity, which knows none of them."""

from django.dispatch import Signal

changed = Signal()
"""A row that pages may show has changed; sent inside the transaction that changes it.

``kind`` is "domain", "project", "role" or "user", ``object_id`` its id, ``project_id`` the project whose
members may see it (empty: administrators alone).
"""
