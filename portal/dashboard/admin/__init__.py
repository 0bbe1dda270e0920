"""Django's admin, for every model. Django imports this module by its name."""

from portal.dashboard.admin import cloud, identity

__all__ = ["cloud", "identity"]
