"""The web application that `server` serves: Streamlit's pages, which no page elsewhere may frame."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import streamlit as st
from starlette.middleware import Middleware

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

UNFRAMED: Final = (
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),  # browsers before 2017
)
"""Otherwise a page that a reviewer visits could lay ours, invisibly, under what it asks them to click, and label alerts."""


class Unframed:
    """Adds UNFRAMED to every response."""

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""

        async def answer(message: "Message") -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *UNFRAMED]
            await send(message)

        await self._app(scope, receive, answer)


app = st.App(Path(__file__).with_name("app.py"), middleware=[Middleware(Unframed)])
