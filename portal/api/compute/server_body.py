"""Request bodies of servers: what may be in them at each version, and what they mean."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.exceptions import ParseError, ValidationError

from compute.errors import Invalid
from compute.networks.plugging import NetworkRequest
from compute.operations.create import BootRequest
from portal.api.body import Body, StrictBooleanField, StrictCharField, StrictIntegerField, own
from portal.api.compute.base import as_uuid
from portal.api.compute.hints import KEYS, hints_of, place_of
from portal.api.versions import Version, between

USER_DATA_CAP = 65_535
TAGS_CAP = 50
TAG = re.compile(r"[^,/]{1,60}")
METADATA_KEY = re.compile(r"[a-zA-Z0-9\-_:. ]{1,255}")
DISK_CONFIG = serializers.ChoiceField(["AUTO", "MANUAL"], required=False)
HOST_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])?")


class NameField(StrictCharField):
    """A display name: 1 to 255 printable characters, no space at either end."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"min_length": 1, "max_length": 255, "trim_whitespace": False, **options})

    def to_internal_value(self, data: Any) -> str:
        """Refuse what is not printable, and space around it."""
        text = super().to_internal_value(data)
        if text != text.strip() or not text.isprintable():
            raise serializers.ValidationError(
                f"Value: {text[:60]!r}. It must be printable, and neither begin nor end with a space."
            )
        return text


class DescriptionField(StrictCharField):
    """Free text of up to 255 characters, or null."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **{"max_length": 255, "allow_blank": True, "allow_null": True, "trim_whitespace": False, **options}
        )


class MetadataField(serializers.Field[Any, Any, Any, Any]):
    """Keys and values of up to 255 characters each."""

    def to_internal_value(self, data: Any) -> dict[str, str]:
        """Refuse anything but an object of texts."""
        if not isinstance(data, dict):
            raise serializers.ValidationError("It must be an object.")
        for key, value in data.items():
            check_metadata_item(key, value)
        return data


def check_metadata_item(key: str, value: Any) -> None:
    """Raise ValidationError for a key or value that metadata cannot have."""
    if not METADATA_KEY.fullmatch(key):
        raise ValidationError(f"Invalid metadata key {key[:60]!r}: 1 to 255 letters, digits, spaces and -_:. only.")
    if not isinstance(value, str) or len(value) > 255 or "\x00" in value:
        raise ValidationError(f"Invalid metadata value for {key!r}: a text of at most 255 characters.")


class TagsField(serializers.Field[Any, Any, Any, Any]):
    """A list of at most 50 different tags."""

    def to_internal_value(self, data: Any) -> tuple[str, ...]:
        """Refuse anything else."""
        if not isinstance(data, list) or len(data) > TAGS_CAP:
            raise serializers.ValidationError(f"It must be a list of at most {TAGS_CAP} tags.")
        for tag in data:
            check_tag(tag)
        return tuple(dict.fromkeys(data))


def check_tag(tag: Any) -> None:
    """Raise ValidationError for what cannot be a tag."""
    if not isinstance(tag, str) or not TAG.fullmatch(tag) or "\x00" in tag:
        raise ValidationError(f"Invalid tag {str(tag)[:60]!r}: 1 to 60 characters, no comma and no slash.")


class AddressField(StrictCharField):
    """An IP address of one version, in its shortest form; empty for none."""

    def __init__(self, ip_version: int, **options: Any) -> None:
        self.ip_version = ip_version
        super().__init__(**{"allow_blank": True, "max_length": 64, **options})

    def to_internal_value(self, data: Any) -> str:
        """The canonical form (RFC 5952)."""
        text = super().to_internal_value(data)
        if not text:
            return ""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            address = None
        if address is None or address.version != self.ip_version or "%" in text:
            raise serializers.ValidationError(f"{text!r} is not an IPv{self.ip_version} address.")
        return str(address)


class UserDataField(StrictCharField):
    """Base64 of up to 65535 characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_length": USER_DATA_CAP, "allow_null": True, "allow_blank": True, **options})

    def to_internal_value(self, data: Any) -> str:
        """Refuse what cannot be decoded."""
        text = super().to_internal_value(data)
        try:
            base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise serializers.ValidationError("It must be encoded in base64.") from error
        return text


class HostnameField(StrictCharField):
    """A host name (2.90), or a fully qualified one (2.94)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"min_length": 2, "max_length": 255, **options})

    def to_internal_value(self, data: Any) -> str:
        """Refuse what a guest could not be called."""
        text = super().to_internal_value(data)
        version: Version | None = self.context.get("version")
        qualified = version is not None and version >= Version.parse("2.94")
        labels = text.split(".") if qualified else [text]
        if not all(HOST_NAME.fullmatch(label) for label in labels):
            raise serializers.ValidationError(f"{text[:60]!r} is not a host name.")
        return text


class ServerFields(Body):
    """What both create and update take."""

    name = NameField()
    accessIPv4 = AddressField(4, required=False)
    accessIPv6 = AddressField(6, required=False)
    description = DescriptionField(required=False)
    hostname = HostnameField(required=False)
    since: ClassVar[dict[str, str]] = {"description": "2.19", "hostname": "2.90"}

    def get_fields(self) -> dict[str, Any]:
        """The wire's names with a colon in them cannot be attributes."""
        fields = super().get_fields()
        fields["OS-DCF:diskConfig"] = own(DISK_CONFIG)
        return fields


class UpdateBody(ServerFields):
    """PUT /servers/{id}."""

    name = NameField(required=False)


class CreateBody(ServerFields):
    """POST /servers."""

    imageRef = StrictCharField(required=False, allow_blank=True)
    flavorRef = serializers.JSONField()
    adminPass = StrictCharField(required=False, max_length=255, trim_whitespace=False)
    metadata = MetadataField(required=False)
    networks = serializers.JSONField(required=False)
    personality = serializers.JSONField(required=False)
    availability_zone = NameField(required=False, allow_null=True)
    block_device_mapping = serializers.JSONField(required=False)
    block_device_mapping_v2 = serializers.JSONField(required=False)
    config_drive = StrictBooleanField(required=False, allow_null=True)
    key_name = StrictCharField(required=False, allow_null=True, max_length=255, trim_whitespace=False)
    min_count = StrictIntegerField(required=False, min_value=1, max_value=1000)
    max_count = StrictIntegerField(required=False, min_value=1, max_value=1000)
    return_reservation_id = StrictBooleanField(required=False)
    security_groups = serializers.JSONField(required=False)
    user_data = UserDataField(required=False)
    tags = TagsField(required=False)
    trusted_image_certificates = serializers.JSONField(required=False)
    host = NameField(required=False)
    hypervisor_hostname = NameField(required=False)
    since: ClassVar[dict[str, str]] = {
        **ServerFields.since,
        "tags": "2.52",
        "trusted_image_certificates": "2.63",
        "host": "2.74",
        "hypervisor_hostname": "2.74",
    }
    until: ClassVar[dict[str, str]] = {"personality": "2.56"}


def boot_request(body: dict[str, Any], version: Version) -> tuple[BootRequest, dict[str, Any]]:
    """What a POST /servers asks for, and the validated fields. Raises ValidationError, ParseError and Invalid."""
    unknown = set(body) - {"server", *KEYS}
    if unknown or "server" not in body:
        raise ParseError(
            f"Additional properties are not allowed ({', '.join(sorted(unknown)) or 'server is missing'})."
        )
    data = CreateBody.read(body["server"], version)
    _refuse_unserved(data)
    zone, host, forced = place_of(data)
    minimum = data.get("min_count", 1)
    wanted = BootRequest(
        name=data["name"],
        flavor_id=_flavor(data["flavorRef"]),
        image_id=_image(data),
        networks=_networks(data.get("networks"), version),
        key_name=data.get("key_name"),
        user_data="".join((data.get("user_data") or "").split()) or None,
        metadata=data.get("metadata", {}),
        tags=data.get("tags", ()),
        description=_description(data, version),
        hostname=data.get("hostname"),
        zone=zone,
        min_count=minimum,
        max_count=data.get("max_count", minimum),
        config_drive=bool(data.get("config_drive")),
        security_groups=_groups(data.get("security_groups")),
        access_ipv4=data.get("accessIPv4", ""),
        access_ipv6=data.get("accessIPv6", ""),
        host=host,
        forced=forced,
        disk_config=data.get("OS-DCF:diskConfig", "MANUAL"),
        scheduler_hints=hints_of(body),
    )
    return wanted, data


def _refuse_unserved(data: dict[str, Any]) -> None:
    if data.get("personality"):
        raise Invalid("Injecting files (personality) is not served; hand them over in user_data.")
    if data.get("trusted_image_certificates"):
        raise Invalid("Validating images by certificates (trusted_image_certificates) is not served.")
    if data.get("block_device_mapping"):
        raise Invalid("This cloud has no volumes; leave out block_device_mapping and boot from an image.")


def _flavor(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ValidationError("Invalid input for field/attribute flavorRef. It must be the id of a flavor.")
    return str(value)


def _image(data: dict[str, Any]) -> str:
    image = data.get("imageRef", "")
    disks = data.get("block_device_mapping_v2")
    if disks:
        image = _image_of_disks(disks, image)
    if not image:
        raise Invalid("Booting without an image is not served: this cloud has no volumes. Name one in imageRef.")
    if as_uuid(image) is None:
        raise ValidationError(f"Invalid input for field/attribute imageRef. Value: {image[:60]}. It must be a UUID.")
    return str(image)


def _image_of_disks(disks: Any, image: str) -> str:
    """The image of the one disk that may be asked for: local, made of an image. That is what clients send."""
    if not isinstance(disks, list) or not all(isinstance(disk, dict) for disk in disks):
        raise ValidationError(
            "Invalid input for field/attribute block_device_mapping_v2. It must be a list of objects."
        )
    if any("volume" in (disk.get("source_type"), disk.get("destination_type")) for disk in disks):
        raise Invalid("This cloud has no volumes; block_device_mapping_v2 may name one local disk made of an image.")
    local = [
        disk
        for disk in disks
        if disk.get("source_type") == "image" and disk.get("destination_type", "local") == "local"
    ]
    if len(disks) != 1 or not local:
        raise Invalid("Block Device Mapping is Invalid: one local disk made of an image is served, and no other.")
    if image and str(local[0].get("uuid")) != image:
        raise Invalid("Block Device Mapping is Invalid: its image is not the one of imageRef.")
    return str(local[0].get("uuid", ""))


def _networks(value: Any, version: Version) -> tuple[NetworkRequest, ...] | None:
    required = version >= Version.parse("2.37")
    if value is None:
        if required:
            raise ValidationError("Invalid input for field/attribute server. 'networks' is a required property")
        return None
    if required and value in ("auto", "none"):
        return None if value == "auto" else ()
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValidationError("Invalid input for field/attribute networks. It must be a list of objects.")
    if not value:
        return None if not required else ()
    return tuple(_network(one, version) for one in value)


def _network(one: dict[str, Any], version: Version) -> NetworkRequest:
    tagged = between(version, "2.32", "2.36") or between(version, "2.42")
    if unknown := sorted(set(one) - {"uuid", "port", "fixed_ip", *(["tag"] if tagged else [])}):
        raise ValidationError(f"Invalid input for field/attribute networks. Unknown: {', '.join(unknown)}.")
    if "tag" in one:
        check_tag(one["tag"])
    if one.get("port"):
        port = as_uuid(one["port"])
        if port is None:
            raise ValidationError(f"Invalid input for field/attribute port. Value: {str(one['port'])[:60]}.")
        return NetworkRequest(port_id=port, tag=one.get("tag", ""))
    network = as_uuid(one.get("uuid"))
    if network is None:
        raise ValidationError(
            f"Bad networks format: network uuid is not in proper format ({str(one.get('uuid'))[:60]})"
        )
    return NetworkRequest(network_id=network, address=_fixed_ip(one.get("fixed_ip")), tag=one.get("tag", ""))


def _fixed_ip(text: Any) -> str | None:
    if text in (None, ""):
        return None
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise ValidationError(f"Invalid fixed IP address ({str(text)[:60]})") from error


def _groups(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    good = isinstance(value, list) and all(
        isinstance(one, dict) and set(one) == {"name"} and isinstance(one["name"], str) for one in value
    )
    if not good:
        raise ValidationError(
            "Invalid input for field/attribute security_groups. It must be a list of objects with a name."
        )
    return tuple(one["name"] for one in value)


def _description(data: dict[str, Any], version: Version) -> str | None:
    """Up to 2.18 a server's description is its name."""
    return data.get("description") if version >= Version.parse("2.19") else data["name"]
