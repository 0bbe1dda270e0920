"""Django's admin, for every model. Django imports this module by its name."""

from django.contrib import admin
from django.contrib.auth.models import Group
from django_q.models import Failure, OrmQ, Schedule, Success

from portal.dashboard.admin import cloud, groups, identity, records

__all__ = ["cloud", "groups", "identity", "records"]

# Rights come from roles, not from Django's groups. And whoever may write the queue's rows can have any
# function run: the queue is a doorbell (docs/architecture.md) and nobody's business but the workers'.
for model in (Group, Schedule, Success, Failure, OrmQ):
    if admin.site.is_registered(model):  # django-q2 registers its queue only where that is in the database
        admin.site.unregister(model)
