"""What the admin pages share.

They are a second door to the same rooms: what changes something calls the function that the API
calls, and what only an operation may change can be looked at and no more.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from compute.errors import ComputeError
from portal.dashboard.access import actor_in, projects_of
from portal.identity.actor import Actor, actor_on_system
from portal.identity.errors import IdentityError
from portal.identity.models import User
from portal.identity.policy import Forbidden


def actor_of(request: HttpRequest) -> Actor:
    """The administrator who is at it: by the role on the system, or by the one on a project."""
    assert isinstance(request.user, User)
    actor = actor_on_system(request.user) or actor_in(request.user, projects_of(request.user), None)
    if actor is None:
        raise Forbidden("admin")
    return actor


class LookOnly(admin.ModelAdmin[Any]):
    """To look at. Operations, the watcher or the API write these rows."""

    list_per_page = 100
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """No."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """No."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """No."""
        return False


class ByVerbs(admin.ModelAdmin[Any]):
    """To change, by the functions of ``make``, ``change`` and ``drop``. A refusal is said and changes nothing."""

    list_per_page = 100
    show_full_result_count = False
    # What is fixed once the row is there.
    fixed: tuple[str, ...] = ()

    def make(self, request: HttpRequest, obj: Any) -> Model:
        """Create what ``obj`` describes; the row that came of it."""
        raise NotImplementedError

    def change(self, request: HttpRequest, obj: Any, changes: dict[str, Any]) -> None:
        """Change these fields of a row."""
        raise NotImplementedError

    def drop(self, request: HttpRequest, obj: Any) -> None:
        """Delete a row."""
        raise NotImplementedError

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """The fixed ones too, of a row that is there."""
        return (*self.readonly_fields, *(self.fixed if obj else ()))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Make, or change."""
        if change:
            self.change(
                request,
                self.model._default_manager.get(pk=obj.pk),
                {name: form.cleaned_data[name] for name in form.changed_data},
            )
        else:
            obj.pk = self.make(request, obj).pk
            obj._state.adding = False

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete one."""
        self.drop(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete those that were ticked."""
        for row in queryset:
            self.drop(request, row)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The form; a refusal leads back to it."""
        return self._told(request, super().changeform_view, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The question; a refusal leads back to it."""
        return self._told(request, super().delete_view, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The list; its actions may be refused."""
        return self._told(request, super().changelist_view, *args, **kwargs)

    def _told(self, request: HttpRequest, view: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            response: HttpResponse = view(request, *args, **kwargs)
            return response
        except (ComputeError, IdentityError) as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
