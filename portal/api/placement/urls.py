"""Every path of the placement API."""

from __future__ import annotations

from django.urls import path

from portal.api.placement import candidates, consumers, discovery, names, providers

_ONE = "/resource_providers/<provider_id>"

urlpatterns = [
    path("", discovery.Versions.as_view()),
    path("/", discovery.Versions.as_view()),
    path("/resource_providers", providers.ResourceProviders.as_view()),
    path(_ONE, providers.ResourceProvider.as_view()),
    path(f"{_ONE}/inventories", providers.Inventories.as_view()),
    path(f"{_ONE}/inventories/<name>", providers.Inventory.as_view()),
    path(f"{_ONE}/usages", providers.Usages.as_view()),
    path(f"{_ONE}/aggregates", providers.Aggregates.as_view()),
    path(f"{_ONE}/traits", providers.Traits.as_view()),
    path(f"{_ONE}/allocations", providers.Allocations.as_view()),
    path("/allocations", consumers.NotServed.as_view()),
    path("/allocations/<consumer_id>", consumers.ConsumerAllocations.as_view()),
    path("/reshaper", consumers.Reshaper.as_view()),
    path("/usages", consumers.ProjectUsages.as_view()),
    path("/resource_classes", names.ResourceClasses.as_view()),
    path("/resource_classes/<name>", names.ResourceClass.as_view()),
    path("/traits", names.AllTraits.as_view()),
    path("/traits/<name>", names.Trait.as_view()),
    path("/allocation_candidates", candidates.AllocationCandidates.as_view()),
]
