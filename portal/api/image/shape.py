"""An image as Glance writes it."""

from __future__ import annotations

from typing import Any

from compute.models import Image
from portal.api.wire import seconds


def image_on_wire(image: Image) -> dict[str, Any]:
    """All attributes, the user's own properties beside Glance's; these win where names clash."""
    path = f"/v2/images/{image.id}"
    return {
        **image.properties,
        "id": str(image.id),
        "name": image.name,
        "status": image.status,
        "visibility": image.visibility,
        "protected": image.protected,
        "os_hidden": image.hidden,
        "checksum": image.checksum,
        "os_hash_algo": image.hash_algorithm,
        "os_hash_value": image.hash_value,
        "owner": image.project_id,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "container_format": image.container_format,
        "disk_format": image.disk_format,
        "min_ram": image.min_memory_mb,
        "min_disk": image.min_disk_gb,
        "tags": image.tags,
        "created_at": seconds(image.created_at),
        "updated_at": seconds(image.updated_at),
        "self": path,
        "file": f"{path}/file",
        "schema": "/v2/schemas/image",
    }
