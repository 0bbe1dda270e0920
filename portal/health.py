"""``/healthz`` and ``/metrics``: what a load balancer and Prometheus ask."""

from __future__ import annotations

from django.db import connection
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, JsonResponse

from compute.models import OPEN_STATES, Action, Host, Instance


def healthz(request: HttpRequest) -> HttpResponse:
    """200 when the database answers, 503 when not."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Exception:
        return JsonResponse({"status": "the database does not answer"}, status=503)
    return JsonResponse({"status": "ok"})


def metrics(request: HttpRequest) -> HttpResponse:
    """Figures in Prometheus' text form: counts alone, no name of a project or an instance."""
    lines = ["# TYPE nacelle_instances gauge"]
    for row in Instance.objects.alive().values("vm_state").annotate(count=Count("id")).order_by("vm_state"):
        lines.append(f'nacelle_instances{{vm_state="{row["vm_state"]}"}} {row["count"]}')
    lines.append("# TYPE nacelle_hosts gauge")
    for by_state in Host.objects.values("state").annotate(count=Count("id")).order_by("state"):
        lines.append(f'nacelle_hosts{{state="{by_state["state"]}"}} {by_state["count"]}')
    lines.append("# TYPE nacelle_open_operations gauge")
    lines.append(f"nacelle_open_operations {Action.objects.filter(state__in=OPEN_STATES).count()}")
    return HttpResponse("\n".join(lines) + "\n", content_type="text/plain; version=0.0.4")
