"""Settings of the test suite: the real ones, with state in a folder of its own."""

import os
from pathlib import Path

from tests.leftovers import folder_of_this_process

if "NACELLE_DATA_DIR" not in os.environ:
    os.environ["NACELLE_DATA_DIR"] = folder_of_this_process("nacelle-test-")
os.environ.setdefault("NACELLE_SECRET_KEY", "only-for-tests-" + "x" * 40)
# Below the machine's own networks and a running Nacelle's.
os.environ.setdefault("NACELLE_PRIVATE_CIDR", "10.78.0.0/20")
os.environ.setdefault("NACELLE_STORAGE_POOL", "nacelle-test")
os.environ.setdefault("NACELLE_STORAGE_POOL_PATH", "/var/lib/libvirt/images/nacelle-test")

from portal.settings import *  # noqa: F403  (all of them, but for what follows)
from portal.settings import DATA_DIR, DATABASES, STATIC_ROOT, STORAGES

STATIC_ROOT.mkdir(exist_ok=True)  # else WhiteNoise warns in every test

# A database in a file, so that workers, the watcher and the browser's server see the same rows.
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["TEST"] = {"NAME": str(Path(DATA_DIR) / "test.sqlite3")}
STORAGES = {**STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}

# The same algorithm at the least cost: every test makes people with passwords.
PASSWORD_HASHERS = ["tests.hashers.QuickArgon2"]
