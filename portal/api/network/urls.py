"""Paths of the Network API."""

from django.urls import path

from portal.api.network import discovery, views

urlpatterns = [
    path("", discovery.Versions.as_view()),
    path("/", discovery.Versions.as_view()),
    path("/v2.0", discovery.VersionDetails.as_view()),
    path("/v2.0/", discovery.VersionDetails.as_view()),
    path("/v2.0/extensions", discovery.Extensions.as_view()),
    path("/v2.0/extensions/<str:alias>", discovery.OneExtension.as_view()),
    path("/v2.0/availability_zones", discovery.AvailabilityZones.as_view()),
    path("/v2.0/agents", discovery.Agents.as_view()),
    path("/v2.0/quotas", discovery.Quotas.as_view()),
    path("/v2.0/quotas/<str:project_id>", discovery.ProjectQuota.as_view()),
    path("/v2.0/quotas/<str:project_id>/default", discovery.ProjectQuota.as_view()),
    path("/v2.0/quotas/<str:project_id>/details", discovery.QuotaDetails.as_view()),
    # The name that openstacksdk asks for.
    path("/v2.0/quotas/<str:project_id>/details.json", discovery.QuotaDetails.as_view()),
    path("/v2.0/networks", views.Networks.as_view()),
    path("/v2.0/networks/<str:pk>", views.OneNetwork.as_view()),
    path("/v2.0/subnets", views.Subnets.as_view()),
    path("/v2.0/subnets/<str:pk>", views.OneSubnet.as_view()),
    path("/v2.0/ports", views.Ports.as_view()),
    path("/v2.0/ports/<str:pk>", views.OnePort.as_view()),
    path("/v2.0/security-groups", views.SecurityGroups.as_view()),
    path("/v2.0/security-groups/<str:pk>", views.OneSecurityGroup.as_view()),
    path("/v2.0/security-group-rules", views.SecurityGroupRules.as_view()),
    path("/v2.0/security-group-rules/<str:pk>", views.OneSecurityGroupRule.as_view()),
]
