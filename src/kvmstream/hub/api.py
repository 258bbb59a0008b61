"""The hub's JSON API, version 1, its metrics and its description of itself (OpenAPI 3.1)."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import segno
from aiohttp import web

from kvmstream.wire.keys import KEYS
from kvmstream.wire.messages import SourceInfo

from .bodies import (
    AuditInfo,
    Error,
    Health,
    Login,
    Macro,
    PairingAnswer,
    Recorded,
    RecordingInfo,
    Session,
    SourceChange,
    TokenInfo,
    UserChange,
    UserInfo,
)
from .metrics import exposition
from .web import HUB, asking_user, json_response, read_json, server_of
from .websocket import serve_browser

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .core import Hub
    from .store import Role

__all__ = ["add_routes"]

_CONSOLE: Final = Path(__file__).with_name("console")


@dataclass(frozen=True)
class _Route:
    method: str
    path: str
    summary: str
    role: Role | None
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    answer: Any = None  # a type, or a media type
    body: Any = None


def _hub(request: web.Request) -> Hub:
    hub: Hub = request.app[HUB]
    return hub


def _name(request: web.Request) -> str:
    return request.match_info["name"]


def _source(request: web.Request) -> Any:
    source = _hub(request).held.get(_name(request))
    if source is None:
        raise web.HTTPNotFound(reason=f"there is no source {_name(request)!r}")
    return source


async def _health(request: web.Request) -> web.Response:
    _hub(request).store.changes()
    return json_response(Health("ok"))


async def _metrics(request: web.Request) -> web.Response:
    text = exposition(_hub(request))
    return web.Response(
        text=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    )


async def _log_in(request: web.Request) -> web.Response:
    server = server_of(request)
    user = server.user_of_token(request)
    if user is None:
        login: Login = await read_json(request, Login)
        user = await server.log_in(request, login.user, login.password)
    response = json_response(Session(user.name, user.role))
    server.open_session(response, user)
    return response


async def _log_out(request: web.Request) -> web.Response:
    response = web.Response(status=204)
    server_of(request).close_session(request, response)
    return response


async def _who(_request: web.Request) -> web.Response:
    user = asking_user()
    return json_response(Session(user.name, user.role))


async def _sources(request: web.Request) -> web.Response:
    return json_response([source.info() for _, source in sorted(_hub(request).held.items())])


async def _one_source(request: web.Request) -> web.Response:
    return json_response(_source(request).info())


async def _thumbnail(request: web.Request) -> web.Response:
    source = _source(request)
    if not source.thumbnail:
        raise web.HTTPNotFound(reason=f"{source.name} has sent no thumbnail yet")
    age = time.time() - source.thumbnail_at
    return web.Response(
        body=source.thumbnail, content_type="image/jpeg", headers={"Age": f"{max(0, age):.0f}"}
    )


async def _change_source(request: web.Request) -> web.Response:
    change: SourceChange = await read_json(request, SourceChange)
    name, store = _source(request).name, _hub(request).store
    if change.clipboard is not None:
        store.set_clipboard(name, change.clipboard)
    if change.name is not None:
        store.rename(name, change.name)
    return web.Response(status=204)


async def _forget(request: web.Request) -> web.Response:
    _hub(request).store.forget(_source(request).name)
    return web.Response(status=204)


async def _revoke(request: web.Request) -> web.Response:
    _hub(request).store.revoke(_source(request).name)
    return web.Response(status=204)


async def _pairing(request: web.Request) -> web.Response:
    # The name under which the asker reached this hub is one that others reach it by, too.
    host = request.url.host or ""
    line = str(_hub(request).pairing_line(host))
    return json_response(PairingAnswer(line, segno.make(line).svg_data_uri(scale=4)), 201)


async def _users(request: web.Request) -> web.Response:
    return json_response([UserInfo(user.name, user.role) for user in _hub(request).store.users()])


async def _set_user(request: web.Request) -> web.Response:
    import asyncio

    change: UserChange = await read_json(request, UserChange)
    await asyncio.to_thread(
        _hub(request).store.set_user, _name(request), change.role, change.password
    )
    return web.Response(status=204)


async def _remove_user(request: web.Request) -> web.Response:
    _hub(request).store.remove_user(_name(request))
    return web.Response(status=204)


async def _tokens(request: web.Request) -> web.Response:
    return json_response([TokenInfo(**asdict(token)) for token in _hub(request).store.tokens()])


async def _revoke_token(request: web.Request) -> web.Response:
    _hub(request).store.revoke_token(_name(request))
    return web.Response(status=204)


async def _audit(request: web.Request) -> web.Response:
    entries = _hub(request).store.audit(1000)
    return json_response([AuditInfo(**asdict(entry)) for entry in entries])


async def _macros(request: web.Request) -> web.Response:
    kept = _hub(request).store.macros(asking_user().name)
    return json_response(
        {name: msgspec.json.decode(steps, type=Macro) for name, steps in kept.items()}
    )


async def _set_macro(request: web.Request) -> web.Response:
    macro: Macro = await read_json(request, Macro)
    steps = msgspec.json.encode(macro).decode()
    _hub(request).store.set_macro(asking_user().name, _name(request), steps)
    return web.Response(status=204)


async def _remove_macro(request: web.Request) -> web.Response:
    _hub(request).store.remove_macro(asking_user().name, _name(request))
    return web.Response(status=204)


async def _record(request: web.Request) -> web.Response:
    _hub(request).recordings.start(_source(request).name, asking_user().name)
    return web.Response(status=204)


async def _end_recording(request: web.Request) -> web.Response:
    names = await _hub(request).recordings.stop(_source(request).name, asking_user().name)
    return json_response(Recorded(names))


async def _recordings(request: web.Request) -> web.Response:
    files = _hub(request).recordings.files()
    return json_response([RecordingInfo(**asdict(one)) for one in files])


async def _recording(request: web.Request) -> web.StreamResponse:
    path = _hub(request).recordings.path(_name(request))
    if path is None:
        raise web.HTTPNotFound(reason=f"there is no recording {_name(request)!r}")
    return web.FileResponse(path, headers={"Content-Type": "video/mp4"})


async def _remove_recording(request: web.Request) -> web.Response:
    if _hub(request).recordings.path(_name(request)) is None:
        raise web.HTTPNotFound(reason=f"there is no recording {_name(request)!r}")
    _hub(request).recordings.remove(_name(request), asking_user().name)
    return web.Response(status=204)


async def _console(_request: web.Request) -> web.StreamResponse:
    return web.FileResponse(_CONSOLE / "index.html")


async def _keys(_request: web.Request) -> web.Response:
    return json_response(KEYS)


async def _live(request: web.Request) -> web.StreamResponse:
    return await serve_browser(request, _hub(request), asking_user())


async def _openapi(_request: web.Request) -> web.Response:
    return json_response(describe())


_ROUTES = (
    _Route("GET", "/healthz", "Is the hub well?", None, _health, Health),
    _Route("GET", "/metrics", "Figures for Prometheus", "view", _metrics, "text/plain"),
    _Route("GET", "/api/v1/openapi.json", "This description", None, _openapi, "application/json"),
    _Route("POST", "/api/v1/session", "Log in by a token or this body; sets a cookie", None, _log_in, Session, Login),
    _Route("GET", "/api/v1/session", "Who is logged in", "view", _who, Session),
    _Route("DELETE", "/api/v1/session", "Log out", "view", _log_out),
    _Route("GET", "/api/v1/sources", "All sources", "view", _sources, list[SourceInfo]),
    _Route("GET", "/api/v1/sources/{name}", "One source", "view", _one_source, SourceInfo),
    _Route("GET", "/api/v1/sources/{name}/thumbnail", "Its last picture", "view", _thumbnail, "image/jpeg"),
    _Route("PATCH", "/api/v1/sources/{name}", "Rename it, set a policy", "admin", _change_source, body=SourceChange),
    _Route("DELETE", "/api/v1/sources/{name}", "Forget a source", "admin", _forget),
    _Route("POST", "/api/v1/sources/{name}/revoke", "End its credential", "admin", _revoke),
    _Route("GET", "/api/v1/live", "WebSocket: units, input, news", "view", _live, "application/json"),
    _Route("POST", "/api/v1/sources/{name}/recording", "Begin to record it", "control", _record),
    _Route("DELETE", "/api/v1/sources/{name}/recording", "End the recording", "control", _end_recording, Recorded),
    _Route("GET", "/api/v1/recordings", "All recordings", "control", _recordings, list[RecordingInfo]),
    _Route("GET", "/api/v1/recordings/{name}", "A recording", "control", _recording, "video/mp4"),
    _Route("DELETE", "/api/v1/recordings/{name}", "Remove a recording", "admin", _remove_recording),
    _Route("GET", "/api/v1/macros", "Your macros", "control", _macros, dict[str, Macro]),
    _Route("PUT", "/api/v1/macros/{name}", "Keep a macro of yours", "control", _set_macro, body=Macro),
    _Route("DELETE", "/api/v1/macros/{name}", "Remove a macro of yours", "control", _remove_macro),
    _Route("POST", "/api/v1/pairing", "A pairing line", "admin", _pairing, PairingAnswer),
    _Route("GET", "/api/v1/users", "All users", "admin", _users, list[UserInfo]),
    _Route("PUT", "/api/v1/users/{name}", "Add or change a user", "admin", _set_user, body=UserChange),
    _Route("DELETE", "/api/v1/users/{name}", "Remove a user", "admin", _remove_user),
    _Route("GET", "/api/v1/tokens", "All API tokens, without their secrets", "admin", _tokens, list[TokenInfo]),
    _Route("DELETE", "/api/v1/tokens/{name}", "Revoke the token of this id", "admin", _revoke_token),
    _Route("GET", "/api/v1/audit", "Who controlled what when", "admin", _audit, list[AuditInfo]),
)  # fmt: skip


def add_routes(app: web.Application) -> None:
    """All of them, and the console's files."""
    app.router.add_get("/", _console)
    app.router.add_get("/console/keys.json", _keys)
    app.router.add_static("/console/", _CONSOLE)
    for route in _ROUTES:
        # aiohttp's middleware sees the handler, and on it the role.
        setattr(route.handler, "role", route.role)  # noqa: B010 - functions have no such attribute to mypy
        app.router.add_route(route.method, route.path, route.handler)


def describe() -> dict[str, Any]:
    """The OpenAPI 3.1 description of the routes above."""
    kinds = [
        kind
        for route in _ROUTES
        for kind in (route.answer, route.body)
        if kind is not None and not isinstance(kind, str)
    ]
    kinds.append(Error)
    schemas, components = msgspec.json.schema_components(
        kinds, ref_template="#/components/schemas/{name}"
    )
    by_kind = dict(zip(map(repr, kinds), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in _ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_kind)
    return {
        "openapi": "3.1.0",
        "info": {"title": "kvmstream hub", "version": "1", "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "kvmstream_session"},
            },
        },
    }  # fmt: skip


def _operation(route: _Route, by_kind: dict[str, Any]) -> dict[str, Any]:
    def content(kind: Any) -> dict[str, Any]:
        if isinstance(kind, str):
            return {kind: {}}
        return {"application/json": {"schema": by_kind[repr(kind)]}}

    good = "201" if route.answer is PairingAnswer else "200" if route.answer is not None else "204"
    responses: dict[str, Any] = {good: {"description": "done"}}
    if route.answer is not None:
        responses[good]["content"] = content(route.answer)
    statuses = []
    if route.role is not None:
        statuses += [("401", "not logged in"), ("403", "the role is not enough")]
    if route.method == "POST" and route.path.endswith("/session"):
        statuses.append(("401", "wrong name or password"))
    if "{name}" in route.path:
        statuses.append(("404", "there is none of that name"))
    if route.body is not None or route.method in ("DELETE", "PUT") or route.handler is _record:
        statuses.append(("400", "a value is not allowed"))
    elif route.handler is _live:
        statuses.append(("400", "not a WebSocket's handshake"))
    statuses.append(("503", "the hub's database cannot be used"))
    for status, description in statuses:
        responses[status] = {"description": description, "content": content(Error)}
    operation: dict[str, Any] = {"summary": route.summary, "responses": responses}
    if route.role is not None:
        operation["security"] = [{"token": []}, {"session": []}]
        operation["description"] = f"Needs role {route.role}."
    if "{name}" in route.path:
        name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
        operation["parameters"] = [name]
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": content(route.body)}
    return operation
