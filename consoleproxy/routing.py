"""The websockets of this app, for portal/asgi.py."""

from __future__ import annotations

from django.urls import path

from consoleproxy.serial import SerialConsole

websocket_urlpatterns = [path("ws/serial", SerialConsole.as_asgi())]
