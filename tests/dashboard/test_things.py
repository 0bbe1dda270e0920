"""Images, flavors, key pairs, networks and API access."""

import shlex
import subprocess

import pytest
import yaml
from django.core.files.uploadedfile import SimpleUploadedFile

from compute.models import Flavor, Image, KeyPair, Network, SecurityGroup
from portal.identity.models import Project, User
from tests.conftest import Cloud, Persona
from tests.dashboard.conftest import FRAGMENT

pytestmark = pytest.mark.django_db

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2J9cXr9i7Qh9n0rZlMaWmI2GkXc4L1m0k5pJ8yqv1R alice@laptop"


def image_file(content: bytes = b"\0" * 4096) -> SimpleUploadedFile:
    return SimpleUploadedFile("disk.img", content)


def upload(client, **changed: object):
    given = {"name": "mine", "visibility": "private", "disk_format": "raw", "file": image_file(), **changed}
    return client.post("/images/upload", given)


# Images -------------------------------------------------------------------------------------------
def test_images_that_one_may_boot(alice: Persona, charlie: Persona, browse) -> None:
    Image.objects.create(name="mine", project=alice.project, visibility="private")
    Image.objects.create(name="theirs", project=charlie.project, visibility="private")
    page = browse(alice).get("/images/").content.decode()
    assert "tiny" in page
    assert "mine" in page
    assert "theirs" not in page


def test_lists_ask_a_fixed_number_of_queries(alice: Persona, browse, django_assert_num_queries) -> None:
    client = browse(alice)
    for number in range(3):
        Image.objects.create(name=f"image {number}", project=alice.project, visibility="private")
        KeyPair.objects.create(user=alice.user, name=f"key {number}", public_key="x", fingerprint="y")
        SecurityGroup.objects.create(name=f"group {number}", project=alice.project)
    for path, queries in (("/images/", 5), ("/flavors/", 5), ("/keypairs/", 5), ("/networks/", 8)):
        client.get(path)
        with django_assert_num_queries(queries):
            client.get(path)


def test_an_upload_becomes_an_image(alice: Persona, browse) -> None:
    answer = upload(browse(alice), min_disk_gb="2", protected="on")
    made = Image.objects.get(name="mine")
    assert answer["Location"] == f"/images/{made.pk}/"
    assert (made.status, made.size, made.project_id) == ("active", 4096, alice.project.id)
    assert (made.min_disk_gb, made.protected, made.visibility) == (2, True, "private")


def test_our_script_is_told_where_the_image_is(alice: Persona, browse) -> None:
    given = {"name": "mine", "visibility": "private", "disk_format": "raw", "file": image_file()}
    answer = browse(alice).post("/images/upload", given, headers=FRAGMENT)
    assert answer.json() == {"go": f"/images/{Image.objects.get(name='mine').pk}/"}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"name": ""}, "Give the image a name."),
        ({"file": ""}, "Choose the image&#x27;s file."),
        ({"disk_format": "qcow2"}, "does not match disk_format"),
        ({"disk_format": "floppy"}, "not one of the available choices"),
        ({"visibility": "public"}, "not one of the available choices"),
        ({"min_disk_gb": "-1"}, "greater than or equal to 0"),
    ],
)
def test_a_bad_upload_leaves_nothing(alice: Persona, browse, changed: dict[str, str], sentence: str) -> None:
    answer = upload(browse(alice), **changed)
    assert answer.status_code == 400
    assert sentence in answer.content.decode()
    assert list(Image.objects.values_list("name", flat=True)) == ["tiny"]


def test_an_image_changes_and_goes(alice: Persona, browse) -> None:
    client = browse(alice)
    upload(client)
    made = Image.objects.get(name="mine")
    assert client.get(f"/images/{made.pk}/").status_code == 200
    client.post(f"/images/{made.pk}/edit", {"name": "ours", "visibility": "shared", "protected": "on"})
    made.refresh_from_db()
    assert (made.name, made.visibility, made.protected) == ("ours", "shared", True)
    assert b"is protected" in client.post(f"/images/{made.pk}/delete", follow=True).content
    client.post(f"/images/{made.pk}/edit", {"name": "ours", "visibility": "shared"})
    assert client.post(f"/images/{made.pk}/delete", headers=FRAGMENT).json() == {"go": "/images/"}
    assert not Image.objects.filter(pk=made.pk).exists()


def test_images_of_others_are_theirs(alice: Persona, bob: Persona, charlie: Persona, cloud: Cloud, browse) -> None:
    upload(browse(alice))
    mine = Image.objects.get(name="mine")
    for client, private, public in ((browse(charlie), 404, 403), (browse(bob), 403, 403)):
        assert client.post(f"/images/{mine.pk}/delete").status_code == private
        assert client.get(f"/images/{mine.pk}/edit").status_code == private
        assert client.post(f"/images/{cloud.image.pk}/delete").status_code == public
    assert browse(charlie).get(f"/images/{mine.pk}/").status_code == 404
    assert browse(bob).get("/images/upload").status_code == 403
    assert Image.objects.count() == 2


# Flavors ------------------------------------------------------------------------------------------
def test_flavors_are_made_and_deleted_by_administrators(root: Persona, browse) -> None:
    client = browse(root)
    given = {"name": "big", "vcpus": "2", "memory_mb": "4096", "disk_gb": "0", "is_public": "on", "description": ""}
    answer = client.post("/flavors/create", given)
    made = Flavor.objects.get(name="big")
    assert answer["Location"] == f"/flavors/{made.pk}/"
    assert (made.vcpus, made.memory_mb, made.disk_gb, made.is_public, made.description) == (2, 4096, 0, True, None)
    assert b"already exists" in client.post("/flavors/create", given).content
    client.post(f"/flavors/{made.pk}/delete")
    assert not Flavor.objects.filter(name="big").exists()
    assert client.post(f"/flavors/{made.pk}/delete").status_code == 404


@pytest.mark.parametrize("changed", [{"vcpus": "0"}, {"memory_mb": "x"}, {"disk_gb": "-1"}, {"name": ""}])
def test_a_bad_flavor_is_refused(root: Persona, browse, changed: dict[str, str]) -> None:
    given = {"name": "big", "vcpus": "2", "memory_mb": "4096", "disk_gb": "1", **changed}
    assert browse(root).post("/flavors/create", given).status_code == 400
    assert not Flavor.objects.filter(vcpus=2, memory_mb=4096, disk_gb=1).exists()


def test_private_flavors_of_others_are_not_shown(alice: Persona, root: Persona, browse) -> None:
    Flavor.objects.create(name="secret size", vcpus=1, memory_mb=1, is_public=False)
    assert b"secret size" not in browse(alice).get("/flavors/").content
    assert b"secret size" in browse(root).get("/flavors/").content


# Key pairs ----------------------------------------------------------------------------------------
def test_a_public_key_is_imported(alice: Persona, browse) -> None:
    answer = browse(alice).post("/keypairs/add", {"name": "laptop", "public_key": PUBLIC_KEY})
    assert answer["Location"] == "/keypairs/"
    assert KeyPair.objects.get(user=alice.user).public_key == PUBLIC_KEY


def test_a_made_key_is_shown_once(alice: Persona, browse) -> None:
    client = browse(alice)
    answer = client.post("/keypairs/add", {"name": "made", "public_key": ""})
    private = answer.context["private"]
    assert private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert "no-store" in answer["Cache-Control"]
    assert 'download="made.pem"' in answer.content.decode()
    assert private.splitlines()[1] not in client.get("/keypairs/").content.decode()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": "", "public_key": ""}, "name"),
        ({"name": "a/b", "public_key": PUBLIC_KEY}, "name"),
        ({"name": "ok\n", "public_key": "nonsense"}, "public_key"),
        ({"name": "taken", "public_key": PUBLIC_KEY}, "name"),
        ({"name": "taken", "public_key": ""}, "name"),
    ],
)
def test_a_bad_key_is_refused_beside_its_field(alice: Persona, browse, given: dict[str, str], field: str) -> None:
    KeyPair.objects.create(user=alice.user, name="taken", public_key="x", fingerprint="y")
    answer = browse(alice).post("/keypairs/add", given)
    assert answer.status_code == 400
    assert answer.context["form"].errors[field]
    assert KeyPair.objects.count() == 1


def test_key_pairs_of_others_stay(alice: Persona, bob: Persona, browse) -> None:
    pair = KeyPair.objects.create(user=alice.user, name="mine", public_key="x", fingerprint="y")
    assert browse(bob).post(f"/keypairs/{pair.pk}/delete").status_code == 404
    assert b"mine" not in browse(bob).get("/keypairs/").content
    assert browse(alice).post(f"/keypairs/{pair.pk}/delete")["Location"] == "/keypairs/"
    assert not KeyPair.objects.exists()


# Networks -----------------------------------------------------------------------------------------
def test_networks_show_what_is_in_use(
    alice: Persona, charlie: Persona, root: Persona, cloud: Cloud, browse, launch, drain
) -> None:
    launch(alice, "alices")
    launch(charlie, "charlies")
    drain()
    client = browse(alice)
    (_, (subnet,)), *_ = client.get("/networks/").context["networks"]
    assert (subnet["used"], subnet["total"]) == (2, 4093)
    path = f"/networks/{cloud.network.pk}/"
    assert b"charlies" not in client.get(path).content
    assert b"alices" in client.get(path).content
    assert b"charlies" in browse(root).get(path).content


def test_networks_of_others_are_not_found(alice: Persona, charlie: Persona, browse) -> None:
    foreign = Network.objects.create(name="foreign", project=charlie.project)
    assert browse(alice).get(f"/networks/{foreign.pk}/").status_code == 404
    assert b"foreign" not in browse(alice).get("/networks/").content


# API access ---------------------------------------------------------------------------------------
NASTY = "$(touch /tmp/pwned)`id`'\"; #\n: {x}"


def test_downloads_stay_inert(alice: Persona, browse) -> None:
    User.objects.filter(pk=alice.user.pk).update(name=NASTY)
    Project.objects.filter(pk=alice.project.pk).update(name="$(reboot)")
    client = browse(alice)
    answer = client.get("/access/openrc")
    assert answer["Content-Disposition"] == 'attachment; filename="nacelle-openrc.sh"'
    assert "OS_PASSWORD=" not in answer.content.decode()
    script = answer.content.decode().split("printf")[0] + 'printf %s "$OS_USERNAME"'
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout == NASTY
    auth = yaml.safe_load(client.get("/access/clouds.yaml").content)["clouds"]["nacelle"]["auth"]
    assert (auth["username"], auth["project_name"]) == (NASTY, "$(reboot)")
    assert "password" not in auth


def test_the_openrc_file_asks_for_the_password(alice: Persona, browse) -> None:
    script = browse(alice).get("/access/openrc").content.decode()
    shown = subprocess.run(
        ["sh", "-c", f'stty() {{ :; }}; eval {shlex.quote(script)}; printf %s "$OS_PASSWORD"'],
        input="typed word\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "typed word"
    assert shown.stderr.startswith("Password of alice: ")


def test_endpoints_are_named(alice: Persona, browse, settings) -> None:
    page = browse(alice).get("/access/").content.decode()
    for path in ("/identity/v3", "/compute/v2.1", "/image", "/network", "/nacelle/v1"):
        assert settings.PUBLIC_URL + path in page
