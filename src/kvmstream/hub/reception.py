"""Who dials the hub's two TCP ports: machines to pair, agents and viewers. Belongs to the hub's event loop."""

from __future__ import annotations

import contextlib
import hmac
import logging
import time
from typing import TYPE_CHECKING, Final

from kvmstream.errors import AuthenticationFailed, KvmStreamError, ProtocolError
from kvmstream.wire import messages as m
from kvmstream.wire.connection import Connection, until_one_ends
from kvmstream.wire.limits import CONTROL_BYTES
from kvmstream.wire.video import THUMBNAIL, UNIT

from .listener import Listener
from .store import User

if TYPE_CHECKING:
    from .core import Hub

__all__ = ["OWN_USER", "Reception"]

_log = logging.getLogger("kvmstream.hub")

# Whoever runs the hub as a library; no user's name has brackets.
OWN_USER: Final = User("(hub)", "admin")


class Reception:
    """Serves each connection from its first message to its end; `own_token` is that of the hub's own viewer."""

    def __init__(self, hub: Hub, own_token: str) -> None:
        self._hub = hub
        self._own_token = own_token
        self.listener = Listener(self._serve)

    async def _serve(self, connection: Connection, hello: m.AnyMessage) -> None:
        if isinstance(hello, m.Pair):
            await self._pair(connection, hello)
        elif isinstance(hello, m.AgentHello):
            await self._serve_agent(connection, hello)
        elif isinstance(hello, m.ViewerHello):
            await self._serve_viewer(connection, hello)
        else:
            raise ProtocolError(f"a control connection does not begin with {type(hello).__name__}")

    async def _pair(self, connection: Connection, hello: m.Pair) -> None:
        self._hub.attempts.check(connection.host)
        found = self._hub.store.pair(hello.code.strip().upper(), hello.name)
        if found is None:
            self._hub.attempts.failed(connection.host)
            raise AuthenticationFailed(
                "this pairing code is wrong, used up or older than ten minutes: print a new line with "
                "`kvmstream hub --pair` on the hub"
            )
        identity, secret = found
        await connection.send(m.Paired(identity, secret))
        self._hub.read_sources()

    async def _serve_agent(self, connection: Connection, hello: m.AgentHello) -> None:
        name = self._hub.store.source_of(hello.identity, hello.secret)
        if name is None:
            raise AuthenticationFailed(
                "this hub does not know the agent's credential, or it was revoked: pair again with a new line from "
                "`kvmstream hub --pair`"
            )
        self._hub.read_sources()
        source = self._hub.held[name]
        if source.control is not None:  # the machine slept, or its old connection hangs
            source.control.abort("the same agent has connected anew")
            source.detach(source.control)
        connection.identity = hello.identity
        connection.limit = CONTROL_BYTES
        video = await self.listener.video_of(connection, m.Welcome(name))
        source.attach(connection, video, view_only=hello.view_only)
        _log.info("source %s is online from %s", name, connection.peer)

        async def control() -> None:
            while True:
                message = await connection.receive()
                if not connection.answered(message) and not source.on_message(message):
                    raise ProtocolError(f"an agent does not send {type(message).__name__}")

        async def units() -> None:
            while True:
                header, payload = await video.receive_frame()
                if header.kind == UNIT:
                    source.on_unit(header, payload, connection)
                elif header.kind == THUMBNAIL:
                    source.thumbnail, source.thumbnail_at = payload, time.time()
                    for viewer in self._hub.viewers:
                        viewer.post_thumbnail(source)
                else:
                    raise ProtocolError(f"an agent sends no video frame of kind {header.kind}")

        try:
            await until_one_ends(control(), units(), connection.beat())
        finally:
            video.end()
            source.detach(connection)
            _log.info("source %s is offline", name)
            with contextlib.suppress(KvmStreamError):
                self._hub.store.seen(name)

    async def _serve_viewer(self, connection: Connection, hello: m.ViewerHello) -> None:
        if hmac.compare_digest(hello.token.encode(), self._own_token.encode()):
            user: User | None = OWN_USER
        elif hello.token:
            user = self._hub.store.user_of_token(hello.token)
        else:
            user = await self._hub.user_of_password(connection.host, hello.user, hello.password)
        if user is None:
            raise AuthenticationFailed(
                "wrong token, or wrong user name or password: make a token with `kvmstream users token NAME` on the hub"
            )
        connection.limit = CONTROL_BYTES
        video = await self.listener.video_of(connection, m.Welcome(user.name, role=user.role))
        with self._hub.watching(user, connection, video) as viewer:

            async def control() -> None:
                while True:
                    message = await connection.receive()
                    if not connection.answered(message):
                        viewer.on_message(message)

            try:
                await until_one_ends(
                    control(),
                    viewer.link.receive_forever(video),
                    viewer.link.send_forever(),
                    connection.beat(),
                )
            finally:
                video.end()
