"""The hub's two TLS ports: who dials in is greeted, introduced, served, told why not, and closed whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import secrets
from typing import TYPE_CHECKING, Final

from kvmstream.errors import AuthenticationFailed, ConnectionLost, KvmStreamError, ProtocolError
from kvmstream.wire import messages as m
from kvmstream.wire.connection import Connection, accept_greeting
from kvmstream.wire.limits import HANDSHAKE_SECONDS

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterator

__all__ = ["Listener"]

_log = logging.getLogger("kvmstream.hub")

# Connections that have not said yet who they are; a room of hosts comes all at once.
_HANDSHAKES: Final = 256


class Listener:
    """The ports of one hub. `serve` gets each control connection with what it introduced itself as.

    A video connection shows the token that its control connection was given, and is handed to whoever asked for it by
    video_of(). Event loop's thread only.
    """

    def __init__(self, serve: Callable[[Connection, m.AnyMessage], Awaitable[None]]) -> None:
        self._serve = serve
        self._servers: list[asyncio.Server] = []
        self._video_port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._video_waiting: dict[str, asyncio.Future[Connection]] = {}
        # Connections that are not known yet, oldest first; with what one of them waits for beside its own bytes.
        self.strangers: dict[Connection, asyncio.Future[Connection] | None] = {}

    @property
    def connections(self) -> int:
        """How many are being served, strangers among them."""
        return len(self._tasks)

    async def open(
        self, host: str, control_port: int, video_port: int, context: ssl.SSLContext
    ) -> tuple[int, int]:
        """Listen; gives the two ports' numbers, which port 0 leaves open. Raises OSError when one is taken."""
        for port, serve in (
            (control_port, self._control_connection),
            (video_port, self._video_connection),
        ):
            server = await asyncio.start_server(
                self._guarded(serve),
                host or None,
                port,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=1.0,
            )
            self._servers.append(server)
        control, self._video_port = (server.sockets[0].getsockname()[1] for server in self._servers)
        return control, self._video_port

    async def close(self) -> None:
        """End every connection and close the ports; idempotent."""
        for server in self._servers:
            server.close()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    async def video_of(self, connection: Connection, welcome: m.Welcome) -> Connection:
        """Welcome a peer and wait for its video connection."""
        token = secrets.token_urlsafe(32)
        future: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._video_waiting[token] = future
        try:
            await connection.send(m.Welcome(welcome.name, token, welcome.role))
            with self._stranger(connection, future):
                async with asyncio.timeout(HANDSHAKE_SECONDS):
                    return await future
        except TimeoutError:
            raise ConnectionLost(
                f"{connection.peer} opened no video connection to port {self._video_port} within "
                f"{HANDSHAKE_SECONDS:g} s: is that port open too?"
            ) from None
        finally:
            del self._video_waiting[token]

    def _guarded(
        self, serve: Callable[[Connection], Awaitable[None]]
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            with contextlib.suppress(asyncio.CancelledError):  # the hub stops
                await self._serve_guarded(serve, Connection(reader, writer))

        return run

    async def _serve_guarded(
        self, serve: Callable[[Connection], Awaitable[None]], connection: Connection
    ) -> None:
        """Serve one connection, tell the peer what went wrong, and close it whatever happens."""
        try:
            await serve(connection)
        except AuthenticationFailed as error:
            _log.warning("%s: %s", connection.peer, error)
            await connection.refuse(str(error), authentication=True)
        except (ProtocolError, ConnectionLost) as error:
            # Cut for a reason of ours, its other connection may be the first to notice.
            reason = connection.closed_because or str(error)
            _log.info("%s: %s", connection.peer, reason)
            await connection.refuse(reason)
        except KvmStreamError as error:
            _log.error("%s: %s", connection.peer, error)
            await connection.refuse("the hub cannot serve anybody now: see its log")
        finally:
            await connection.close()

    async def _introduced(self, connection: Connection) -> m.AnyMessage:
        with self._stranger(connection):
            await accept_greeting(connection)
            return await connection.receive_greeted()

    @contextlib.contextmanager
    def _stranger(
        self, connection: Connection, waits_for: asyncio.Future[Connection] | None = None
    ) -> Iterator[None]:
        """Count a connection until it is known. Too many: the oldest goes; who means well is known in milliseconds."""
        if len(self.strangers) >= _HANDSHAKES:
            oldest, waited_for = next(iter(self.strangers.items()))
            del self.strangers[oldest]
            oldest.abort(f"more than {_HANDSHAKES} connections were being introduced")
            if waited_for is not None and not waited_for.done():
                waited_for.set_exception(ConnectionLost(oldest.closed_because))
        self.strangers[connection] = waits_for
        try:
            yield
        finally:
            self.strangers.pop(connection, None)

    async def _control_connection(self, connection: Connection) -> None:
        await self._serve(connection, await self._introduced(connection))

    async def _video_connection(self, connection: Connection) -> None:
        hello = await self._introduced(connection)
        if not isinstance(hello, m.VideoHello):
            raise ProtocolError(f"a video connection does not begin with {type(hello).__name__}")
        waiting = None
        shown = hello.token.encode()  # of a string compare_digest takes ASCII alone
        for token, future in self._video_waiting.items():
            if hmac.compare_digest(token.encode(), shown) and not future.done():
                waiting = future
        if waiting is None:
            raise AuthenticationFailed("this video connection belongs to no control connection")
        done = asyncio.get_running_loop().create_future()
        connection.on_end = lambda: None if done.done() else done.set_result(None)
        waiting.set_result(connection)
        await (
            done
        )  # the session reads and writes; this task keeps the connection until it has ended
