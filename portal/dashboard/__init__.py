"""The HTML pages, and the websocket that keeps them live."""
