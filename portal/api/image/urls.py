"""Paths of the Image API."""

from django.urls import path

from portal.api.image import data, discovery, views

_IMAGE = "/v2/images/<str:image_id>"

urlpatterns = [
    path("", discovery.Versions.as_view()),
    path("/", discovery.Versions.as_view()),
    path("/versions", discovery.ExplicitVersions.as_view()),
    path("/v2/schemas/<str:name>", discovery.Schema.as_view()),
    path("/v2/info/import", discovery.ImportInfo.as_view()),
    path("/v2/info/stores", discovery.StoresInfo.as_view()),
    path("/v2/images", views.Images.as_view()),
    path(_IMAGE, views.OneImage.as_view()),
    path(f"{_IMAGE}/file", data.ImageData.as_view()),
    path(f"{_IMAGE}/tags/<str:tag>", views.Tag.as_view()),
    path(f"{_IMAGE}/members", views.Members.as_view()),
    path(f"{_IMAGE}/tasks", views.Tasks.as_view()),
    path(f"{_IMAGE}/actions/deactivate", views.Deactivate.as_view()),
    path(f"{_IMAGE}/actions/reactivate", views.Reactivate.as_view()),
]
