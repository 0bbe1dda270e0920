"""Settings. Whoever runs Nacelle changes them by environment variables, never by editing this file.

`docs/settings.md` lists the variables. State lives under ``NACELLE_DATA_DIR`` (default ``var/``).
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any

import dj_database_url
import django_stubs_ext

django_stubs_ext.monkeypatch()  # generic classes of Django (ModelAdmin[…]) may be subscripted when the program runs

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("NACELLE_DATA_DIR", BASE_DIR / "var")).resolve()
DATA_DIR.mkdir(mode=0o750, parents=True, exist_ok=True)


def _secret_key() -> str:
    """The signing key: from the environment, or made once and kept in the data folder (mode 0600)."""
    if key := os.environ.get("NACELLE_SECRET_KEY"):
        return key
    path = DATA_DIR / "secret.key"
    if not path.exists():
        key, temporary = secrets.token_urlsafe(50), path.with_suffix(f".{os.getpid()}")
        temporary.touch(mode=0o600)
        temporary.write_text(key)
        with contextlib.suppress(FileExistsError):  # the first of several processes wins
            os.link(temporary, path)
        temporary.unlink()
    return path.read_text().strip()


def _flag(name: str, default: bool = False) -> bool:
    return os.environ.get(name, str(default)).lower() in ("1", "true", "yes", "on")


SECRET_KEY = _secret_key()
DEBUG = _flag("NACELLE_DEBUG")

# Where it listens, and the address that it gives to others ------------------------------------------
BIND = os.environ.get("NACELLE_BIND", "127.0.0.1:8000")
CONSOLE_BIND = os.environ.get("NACELLE_CONSOLE_BIND", "127.0.0.1:6080")
PUBLIC_URL = os.environ.get("NACELLE_PUBLIC_URL", f"http://{BIND}").rstrip("/")
CONSOLE_PUBLIC_URL = os.environ.get("NACELLE_CONSOLE_PUBLIC_URL", f"ws://{CONSOLE_BIND}").rstrip("/")
ALLOWED_HOSTS = [host for host in os.environ.get("NACELLE_ALLOWED_HOSTS", "").split(",") if host] or [
    "localhost",
    "127.0.0.1",
    "[::1]",
    PUBLIC_URL.split("//", 1)[1].rsplit(":", 1)[0],
]
SECURE = PUBLIC_URL.startswith("https://")
REGION = os.environ.get("NACELLE_REGION", "RegionOne")

# The cloud ------------------------------------------------------------------------------------------
TOKEN_HOURS = float(os.environ.get("NACELLE_TOKEN_HOURS", "24"))
CONSOLE_TOKEN_SECONDS = int(os.environ.get("NACELLE_CONSOLE_TOKEN_SECONDS", "600"))
CONSOLE_SESSIONS_PER_USER = int(os.environ.get("NACELLE_CONSOLE_SESSIONS_PER_USER", "16"))
# The origins whose pages may open consoles: the portal's own, and those listed (https://portal.example, …).
CONSOLE_ORIGINS = (PUBLIC_URL, *filter(None, os.environ.get("NACELLE_CONSOLE_ORIGINS", "").split(",")))
HOST_DOWN_AFTER_SECONDS = int(os.environ.get("NACELLE_HOST_DOWN_AFTER", "60"))
# A host that is connected and has not answered for so long is silent: operations wait in their rows, no worker does.
HOST_SILENT_AFTER_SECONDS = float(os.environ.get("NACELLE_HOST_SILENT_AFTER", "6"))
# How hosts are switched off from afar (docs/evacuation.md). The programs in it run on this machine.
FENCE_METHODS = os.environ.get("NACELLE_FENCE_METHODS", str(DATA_DIR / "fence.json"))
# So many instances of a host that is off are started elsewhere at the same time.
EVACUATE_AT_ONCE = int(os.environ.get("NACELLE_EVACUATE_AT_ONCE", "4"))
# So many instances of a host that is taken out of service are moved off at the same time.
DRAIN_AT_ONCE = int(os.environ.get("NACELLE_DRAIN_AT_ONCE", "2"))
# Evening out is proposed when more than this share parts the fullest host from the emptiest, down to the other one.
# What it has moved is left where it is for so long.
REBALANCE_ABOVE = float(os.environ.get("NACELLE_REBALANCE_ABOVE", "0.2"))
REBALANCE_TO = float(os.environ.get("NACELLE_REBALANCE_TO", "0.1"))
REBALANCE_QUIET_SECONDS = int(os.environ.get("NACELLE_REBALANCE_QUIET", "3600"))
# Where an aggregate says so, a host that is down for so long is fenced and evacuated by itself; but not when more hosts
# than so many are down: then it may be this machine that is cut off.
AUTO_EVACUATE_AFTER_SECONDS = int(os.environ.get("NACELLE_AUTO_EVACUATE_AFTER", "120"))
AUTO_EVACUATE_MOST_HOSTS = int(os.environ.get("NACELLE_AUTO_EVACUATE_MOST_HOSTS", "2"))
HOST_SAMPLE_SECONDS = int(os.environ.get("NACELLE_HOST_SAMPLE_SECONDS", "10"))
# Who has it reads the figures of each host and instance at /metrics; without it there are counts alone.
METRICS_TOKEN = os.environ.get("NACELLE_METRICS_TOKEN", "")
STATISTICS_DAYS = int(os.environ.get("NACELLE_STATISTICS_DAYS", "30"))
STATE_SYNC_SECONDS = int(os.environ.get("NACELLE_STATE_SYNC_SECONDS", "60"))
# Guests that ran are started again when their host comes back without them (Nova's resume_guests_state_on_host_boot).
RESUME_GUESTS = _flag("NACELLE_RESUME_GUESTS")
# Deleted instances can be restored for so long (Nova's reclaim_instance_interval), 0: they are gone at once.
RECLAIM_SECONDS = int(os.environ.get("NACELLE_RECLAIM_SECONDS", "0"))
SHUTDOWN_GRACE_SECONDS = float(os.environ.get("NACELLE_SHUTDOWN_GRACE", "60"))
# A shelved instance leaves its host after so long; 0: at once, -1: never by itself.
SHELVED_OFFLOAD_SECONDS = int(os.environ.get("NACELLE_SHELVED_OFFLOAD_SECONDS", "0"))
# In-place snapshots grow inside the instance's disks; so many may be kept of one.
SNAPSHOTS_PER_INSTANCE = int(os.environ.get("NACELLE_SNAPSHOTS_PER_INSTANCE", "16"))
LEASE_SECONDS = float(os.environ.get("NACELLE_LEASE_SECONDS", "15"))
# How long a host may take for what takes no time, and an operation that says nothing else for all of it.
HOST_CALL_SECONDS = float(os.environ.get("NACELLE_HOST_CALL_SECONDS", "120"))
OPERATION_LIMIT_SECONDS = int(os.environ.get("NACELLE_OPERATION_LIMIT", "300"))
IMAGE_SIZE_CAP_BYTES = int(os.environ.get("NACELLE_IMAGE_SIZE_CAP", str(1 << 40)))
PRIVATE_NETWORK_CIDR = os.environ.get("NACELLE_PRIVATE_CIDR", "")
# Where the networks that users make may lie. Hosts route them, so public addresses would be drawn away from others.
TENANT_RANGES = os.environ.get("NACELLE_TENANT_RANGES", "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16").split(",")
# Where hosts may be reached without encryption or proof (qemu+tcp): addresses and networks. Loopback always is one.
TRUSTED_HOSTS = os.environ.get("NACELLE_TRUSTED_HOSTS", "").split(",")
# Live migration: seconds for each GiB that is to cross (0: no limit) and what happens then, "abort" or
# "force_complete"; how long a guest may stand still at the end; MiB a second (0: as fast as it goes).
LIVE_MIGRATION_COMPLETION_SECONDS = int(os.environ.get("NACELLE_LIVE_MIGRATION_COMPLETION_SECONDS", "800"))
LIVE_MIGRATION_TIMEOUT_ACTION = os.environ.get("NACELLE_LIVE_MIGRATION_TIMEOUT_ACTION", "abort")
LIVE_MIGRATION_DOWNTIME_MS = int(os.environ.get("NACELLE_LIVE_MIGRATION_DOWNTIME_MS", "500"))
LIVE_MIGRATION_BANDWIDTH_MB = int(os.environ.get("NACELLE_LIVE_MIGRATION_BANDWIDTH_MB", "0"))
LIVE_MIGRATION_AUTO_CONVERGE = _flag("NACELLE_LIVE_MIGRATION_AUTO_CONVERGE", True)
LIVE_MIGRATION_POST_COPY = _flag("NACELLE_LIVE_MIGRATION_POST_COPY", False)
STORAGE_POOL = os.environ.get("NACELLE_STORAGE_POOL", "nacelle")
STORAGE_POOL_PATH = os.environ.get("NACELLE_STORAGE_POOL_PATH", "/var/lib/libvirt/images/nacelle")
DEFAULT_AVAILABILITY_ZONE = os.environ.get("NACELLE_DEFAULT_AVAILABILITY_ZONE", "nova")
RAM_ALLOCATION_RATIO = float(os.environ.get("NACELLE_RAM_RATIO", "1.5"))
DISK_ALLOCATION_RATIO = float(os.environ.get("NACELLE_DISK_RATIO", "1.0"))
CPU_ALLOCATION_RATIO = float(os.environ.get("NACELLE_CPU_RATIO", "16.0"))
# A resize may stay on its host: a cloud of one machine has no other. It is confirmed after so long, 0: never by itself.
RESIZE_TO_SAME_HOST = _flag("NACELLE_RESIZE_TO_SAME_HOST", default=True)
RESIZE_CONFIRM_SECONDS = int(os.environ.get("NACELLE_RESIZE_CONFIRM_SECONDS", "0"))
# A password for a guest's administrator is made up and answered (Nova's enable_instance_password).
ENABLE_INSTANCE_PASSWORD = _flag("NACELLE_ENABLE_INSTANCE_PASSWORD", default=True)
SCHEDULER_MAX_ATTEMPTS = int(os.environ.get("NACELLE_SCHEDULER_MAX_ATTEMPTS", "3"))
# A site's own filters and weighers: dotted paths of classes, with commas in between.
SCHEDULER_FILTERS = tuple(filter(None, os.environ.get("NACELLE_SCHEDULER_FILTERS", "").split(",")))
SCHEDULER_WEIGHERS = tuple(filter(None, os.environ.get("NACELLE_SCHEDULER_WEIGHERS", "").split(",")))

# Django ---------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "portal.dashboard.admin_site.NacelleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "django_q",
    "portal.identity",
    "compute",
    "scheduler",
    "consoleproxy",
    "portal.api",
    "portal.setup",
    "portal.dashboard",
]
MIDDLEWARE = [
    "portal.requestid.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "portal.dashboard.middleware.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "portal.dashboard.middleware.ActorMiddleware",
]
ROOT_URLCONF = "portal.urls"
ASGI_APPLICATION = "portal.asgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.dashboard.context.shell",
            ],
        },
    },
]

_DATABASE_URL = os.environ.get("DATABASE_URL", f"sqlite:///{DATA_DIR / 'nacelle.sqlite3'}")
# A web request has a connection while its view runs, and then gives it back: they are short-lived, or pooled.
_database: dict[str, Any] = dict(dj_database_url.parse(_DATABASE_URL, conn_max_age=0))
if _database["ENGINE"] == "django.db.backends.sqlite3":
    # Writers queue instead of failing; readers never wait; a commit need not reach the platter twice.
    _database["OPTIONS"] = {
        "timeout": 30,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-8000;",
    }
else:
    # Statements that are always the same are prepared at the second time (portal/compiled.py).
    _database["OPTIONS"] = {"pool": {"min_size": 1, "max_size": 16}, "prepare_threshold": 1}
DATABASES = {"default": _database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = os.environ.get("REDIS_URL", "")
if REDIS_URL:
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}
else:
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

# The workers: a lane for short operations, a lane for long copies. The queue is only a doorbell, so a
# message lost or delivered twice does no harm (docs/architecture.md).
WORKERS_COMPUTE = int(os.environ.get("NACELLE_WORKERS_COMPUTE", "2"))
WORKERS_TRANSFER = int(os.environ.get("NACELLE_WORKERS_TRANSFER", "1"))
_lane: dict[str, Any] = {
    "max_attempts": 1,
    "save_limit": -1,
    "poll": 0.05,
    "queue_limit": 8,
    "catch_up": False,
    "recycle": 10_000,
    "guard_cycle": 1,
}
Q_CLUSTER: dict[str, Any] = {
    "name": "compute",
    "label": "Workers",
    "workers": WORKERS_COMPUTE,
    "timeout": 1800,
    "retry": 2000,
    **_lane,
    "ALT_CLUSTERS": {
        "transfer": {"workers": WORKERS_TRANSFER, "timeout": 24 * 3600, "retry": 25 * 3600, **_lane},
    },
}
if REDIS_URL:
    Q_CLUSTER["redis"] = REDIS_URL
else:
    Q_CLUSTER["orm"] = "default"
    if _database["ENGINE"] == "django.db.backends.sqlite3":
        Q_CLUSTER |= {"broker_class": "compute.operations.broker.SQLiteBroker", "poll": 0.01}

AUTH_USER_MODEL = "identity.User"
AUTHENTICATION_BACKENDS = ["portal.identity.backend.IdentityBackend"]
PASSWORD_HASHERS = ["portal.identity.hashers.LoginArgon2PasswordHasher"]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "overview"
LOGOUT_REDIRECT_URL = "login"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
SESSION_COOKIE_AGE = 12 * 3600
CSRF_FAILURE_VIEW = "portal.dashboard.views.errors.csrf_failure"
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 31_536_000 if SECURE else 0
X_FRAME_OPTIONS = "DENY"
# auth.W004: names are unique within a domain, and our own backend looks them up so.
# security.W005, W008, W021: subdomains, the redirect to https and the preload list are the business of whoever
# runs the TLS proxy in front. The others are set above when PUBLIC_URL is https; plain http is for loopback only.
_PROXYS_BUSINESS = ["security.W005", "security.W008", "security.W021"]
_ONLY_WITH_HTTPS = ["security.W004", "security.W012", "security.W016"]
SILENCED_SYSTEM_CHECKS = ["auth.W004", *_PROXYS_BUSINESS, *([] if SECURE else _ONLY_WITH_HTTPS)]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = DATA_DIR / "static"
WHITENOISE_USE_FINDERS = DEBUG
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
IMAGE_STORE = DATA_DIR / "images"
FILE_UPLOAD_TEMP_DIR = DATA_DIR / "uploads"
FILE_UPLOAD_TEMP_DIR.mkdir(mode=0o700, exist_ok=True)
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 << 20

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["portal.api.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["portal.api.authentication.HasToken"],
    "DEFAULT_PARSER_CLASSES": ["portal.api.codec.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["portal.api.codec.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "portal.api.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "portal.api.codec.OnlyJSON",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Nacelle",
    "DESCRIPTION": "Nacelle's own additions to the OpenStack APIs.",
    "VERSION": "1",
    "SERVERS": [{"url": "/nacelle/v1"}],
    "SERVE_PERMISSIONS": ["portal.api.authentication.HasToken"],
    "SERVE_INCLUDE_SCHEMA": False,
    "ENABLE_DJANGO_DEPLOY_CHECK": False,  # it would ask OpenStack's APIs for schemas, too
}

LOGGING_CONFIG = "portal.logs.configure"

LOG_LEVEL = os.environ.get("NACELLE_LOG_LEVEL", "INFO")
LOGGING = {"level": LOG_LEVEL}  # what portal.logs makes a configuration of
