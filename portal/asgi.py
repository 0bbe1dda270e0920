"""The web process: HTTP by Django, websockets by channels."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

import django

django.setup(set_prefix=False)

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402  # models must be ready first
from channels.security.websocket import AllowedHostsOriginValidator, WebsocketDenier  # noqa: E402  # as above
from channels.sessions import SessionMiddlewareStack  # noqa: E402  # as above
from django.urls import path, re_path  # noqa: E402  # as above

from consoleproxy.routing import websocket_urlpatterns as consoles  # noqa: E402  # as above
from portal.bodylimit import BodyLimit  # noqa: E402  # as above
from portal.dashboard.live import LiveConsumer  # noqa: E402  # as above
from portal.handler import Handler  # noqa: E402  # as above

# Consoles are opened by tokens and check the origin themselves; live pages by the session's cookie.
pages = AllowedHostsOriginValidator(SessionMiddlewareStack(LiveConsumer.as_asgi()))
sockets = URLRouter([*consoles, path("ws/live", pages), re_path("", WebsocketDenier.as_asgi())])
application = ProtocolTypeRouter({"http": BodyLimit(Handler()), "websocket": sockets})
