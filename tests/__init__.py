"""Nacelle's tests. Those that run side by side (pytest -n) share nothing but the machine."""

import os
from urllib.parse import urlsplit

from tests.leftovers import folder_of_this_process

QUEUES = 15  # the last of Redis' databases; a Nacelle of the tests takes the first

# Each process has its folder and its queue; its database is named after it by pytest-django.
if worker := os.environ.get("PYTEST_XDIST_WORKER", ""):
    os.environ["NACELLE_DATA_DIR"] = folder_of_this_process(f"nacelle-test-{worker}-")
    if queue := os.environ.get("REDIS_URL", ""):
        os.environ["REDIS_URL"] = urlsplit(queue)._replace(path=f"/{QUEUES - int(worker[2:])}").geturl()
