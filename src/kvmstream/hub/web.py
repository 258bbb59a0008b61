"""The hub's https side: who asks, what they may, and the answers' form. api.py has the requests themselves."""

from __future__ import annotations

import hashlib
import logging
import secrets
import ssl
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from kvmstream.errors import AuthenticationFailed, ConfigError, KvmStreamError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from .core import Hub
    from .store import Role, User

__all__ = ["HUB", "WebServer", "asking_user", "json_response", "read_json"]

_log = logging.getLogger("kvmstream.hub")

HUB: Final[web.AppKey[Any]] = web.AppKey("hub", object)
_SERVER: Final[web.AppKey[Any]] = web.AppKey("server", object)

_COOKIE: Final = "kvmstream_session"
_SESSION_SECONDS: Final = 12 * 3600.0
_SESSIONS: Final = 1000  # at a time; the oldest ends
_BODY_BYTES: Final = 64 << 10
_RANK: Final = {"view": 0, "control": 1, "admin": 2}
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; media-src blob:; object-src 'none'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_asking: ContextVar[User] = ContextVar("asking")  # of each request's task


class WebServer:
    """Listens for https; plain http is not spoken, not even on loopback. Belongs to the hub's event loop."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        # hash of the cookie → the user's name, how it was proven, its end
        self._sessions: dict[bytes, tuple[str, str, float]] = {}
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int, certificate: Path, key: Path) -> None:
        """Listen. Raises OSError when the port is taken."""
        from . import api

        app = web.Application(middlewares=[self._guard], client_max_size=_BODY_BYTES)
        app[HUB], app[_SERVER] = self._hub, self
        api.add_routes(app)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(certificate, key)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host or None, port, ssl_context=context)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Idempotent."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # ---- sessions of browsers

    async def log_in(self, request: web.Request, name: str, password: str) -> User:
        """Raises AuthenticationFailed."""
        user = await self._hub.user_of_password(request.remote or "", name, password)
        if user is None:
            raise AuthenticationFailed("wrong user name or password")
        return user

    def open_session(self, response: web.Response, user: User) -> None:
        """Give a cookie that stands for this user."""
        now = time.monotonic()
        for old in [key for key, (*_, end) in self._sessions.items() if end < now]:
            del self._sessions[old]
        if len(self._sessions) >= _SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        cookie = secrets.token_urlsafe(32)
        self._sessions[_hash(cookie)] = (user.name, user.grant, now + _SESSION_SECONDS)
        response.set_cookie(
            _COOKIE, cookie, max_age=int(_SESSION_SECONDS), httponly=True, secure=True, samesite="Strict", path="/"
        )  # fmt: skip

    def close_session(self, request: web.Request, response: web.Response) -> None:
        """The cookie stands for nobody any more."""
        self._sessions.pop(_hash(request.cookies.get(_COOKIE, "")), None)
        response.del_cookie(_COOKIE, path="/")

    # ---- who asks

    def identify(self, request: web.Request) -> User | None:
        """By API token, or by cookie. Raises AuthenticationFailed for a bad token, and for another site's page."""
        bearer = self.user_of_token(request)
        if bearer is not None:
            return bearer
        cookie = _hash(request.cookies.get(_COOKIE, ""))
        name, grant, end = self._sessions.get(cookie, ("", "", 0.0))
        if not name or end < time.monotonic():
            return None
        if request.method not in ("GET", "HEAD") or "Upgrade" in request.headers:
            # A browser sends the cookie along whoever made the request; the page's origin says who.
            origin = urlsplit(request.headers.get("Origin", ""))
            if origin.netloc != request.host:
                raise AuthenticationFailed(
                    f"requests from pages of {origin.netloc or 'elsewhere'} are refused"
                )
        granted = self._hub.store.granted()
        return next((user for user in granted if (user.name, user.grant) == (name, grant)), None)

    def user_of_token(self, request: web.Request) -> User | None:
        """None when the request has no token. Raises AuthenticationFailed for a bad one."""
        authorization = request.headers.get("Authorization", "")
        if not authorization:
            return None
        kind, _, token = authorization.partition(" ")
        user = self._hub.store.user_of_token(token.strip()) if kind.lower() == "bearer" else None
        if user is None:
            raise AuthenticationFailed(
                "this token is none of this hub's: kvmstream users token NAME makes one"
            )
        return user

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        needed: Role | None = getattr(handler, "role", None)
        response: web.StreamResponse
        try:
            if needed is not None:
                user = self.identify(request)
                if user is None:
                    raise AuthenticationFailed("log in first, or send an API token")
                if _RANK[user.role] < _RANK[needed]:
                    response = _error(
                        403, f"user {user.name!r} has role {user.role}, this needs {needed}"
                    )
                    response.headers.update(_HEADERS)
                    return response
                _asking.set(user)
            response = await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            response = _error(error.status, error.reason)
        except AuthenticationFailed as error:
            _log.warning("%s: %s", request.remote, error)
            response = _error(401, str(error))
        except (ConfigError, msgspec.DecodeError) as error:
            response = _error(400, str(error))
        except KvmStreamError as error:
            _log.error("%s", error)
            response = _error(503, "the hub cannot serve this now: see its log")
        response.headers.update(_HEADERS)
        return response


def asking_user() -> User:
    """Who asks; only in requests that need a role."""
    return _asking.get()


def server_of(request: web.Request) -> WebServer:
    """The server itself."""
    server: WebServer = request.app[_SERVER]
    return server


def json_response(value: object, status: int = 200) -> web.Response:
    """`value` as JSON."""
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json"
    )


async def read_json(request: web.Request, kind: Any) -> Any:
    """The body as a `kind`. Raises msgspec.DecodeError that says what is wrong with it."""
    return msgspec.json.decode(await request.read(), type=kind)


def _error(status: int, text: str) -> web.Response:
    return json_response({"error": text}, status)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
