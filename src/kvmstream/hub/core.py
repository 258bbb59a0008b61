"""Hub: where sources and viewers meet. One event loop's thread owns all of it; the listeners are adapters."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets as stdlib_secrets
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kvmstream._paths import user_folder
from kvmstream.errors import KvmStreamError
from kvmstream.remote import RemoteHub
from kvmstream.wire import messages as m
from kvmstream.wire import tls
from kvmstream.wire.address import HubAddress, PairingLine
from kvmstream.wire.limits import CONTROL_PORT, VIDEO_PORT, WEB_PORT

from .attempts import Attempts
from .certificate import ensure_certificate
from .reception import OWN_USER, Reception
from .recordings import Recordings
from .source import HubSource
from .store import Store, User
from .viewer import ViewerSession

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from types import TracebackType
    from typing import Self

    from kvmstream.remote import RemoteSource

    from .relay import VideoLine
    from .viewer import ControlLine
    from .web import WebServer

__all__ = ["Hub", "state_dir"]

_log = logging.getLogger("kvmstream.hub")

_WATCH_STORE_SECONDS: Final = 1.0
_WATCH_LINES_SECONDS: Final = 0.25
_SEEN_SECONDS: Final = 60.0
_PORTS: Final = ("control_port", "video_port", "web_port")
_ANY_HOST: Final = ("", "0.0.0.0", "::")


def state_dir() -> Path:
    """Where a hub keeps its database and certificate unless told otherwise."""
    return user_folder("state", "kvmstream-hub")


class Hub:
    """A KVM switch as a library: agents dial in, viewers watch and drive.

        async with kvmstream.Hub() as hub:
            print(hub.pairing_line())
            source = hub.sources["office-pc"]
            await source.wait_online()
            async for frame in source.frames():
                ...

    `folder` keeps the database and the certificate; both are made at the first start. Raises StoreError when what is
    there cannot be used, and OSError when a port is taken. Port 0 is any free one; `web_port` None is no https at all.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        host: str = "",
        control_port: int = CONTROL_PORT,
        video_port: int = VIDEO_PORT,
        web_port: int | None = WEB_PORT,
    ) -> None:
        self.folder = Path(folder) if folder is not None else state_dir()
        self._host = host
        self.control_port = control_port
        self.video_port = video_port
        self.web_port = web_port
        self._web: WebServer | None = None
        self._own_token = stdlib_secrets.token_urlsafe(32)
        self._local: RemoteHub | None = None
        self.held: dict[str, HubSource] = {}
        self.viewers: set[ViewerSession] = set()
        self.fingerprint = ""
        self._store: Store | None = None
        self.reception = Reception(self, self._own_token)
        self._tasks: set[asyncio.Task[None]] = set()
        self.attempts = Attempts()
        self.recordings = Recordings(self)
        self._changed: set[str] = set()
        self._change_timer: asyncio.Handle | None = None

    # ---- lifecycle

    async def start(self) -> None:
        """Open the database and the ports."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        certificate, key, self.fingerprint = await asyncio.to_thread(
            ensure_certificate, self.folder
        )
        self._store = await asyncio.to_thread(Store, self.folder / "hub.sqlite")
        try:
            for record in self._store.sources():
                if not record.revoked:
                    source = HubSource(record.name, self.changed)
                    source.last_seen, source.clipboard = record.seen, record.clipboard
                    self.held[record.name] = source
            self.control_port, self.video_port = await self.reception.listener.open(
                self._host,
                self.control_port,
                self.video_port,
                tls.server_context(certificate, key),
            )
            if self.web_port is not None:
                await self._start_web(certificate, key)
            for setting in _PORTS:
                self._store.set_setting(setting, str(getattr(self, setting) or 0))
            host = self._host if self._host not in _ANY_HOST else "127.0.0.1"
            self._local = RemoteHub(self.address(host), m.ViewerHello(self._own_token))
            await self._local.__aenter__()
            self._spawn(self._watch_store())
            self._spawn(self._watch_lines())
        except BaseException:
            await self.stop()
            raise

    async def _start_web(self, certificate: Path, key: Path) -> None:
        try:
            from .web import WebServer
        except ImportError as error:
            _log.warning("no https: %s; pip install 'kvmstream[hub]'", error)
            self.web_port = None
            return
        self._web = WebServer(self)
        await self._web.start(self._host, self.web_port or 0, certificate, key)
        self.web_port = self._web.port

    async def stop(self) -> None:
        """Close everything; idempotent."""
        await self.recordings.close()
        if self._local is not None:
            await self._local.close()
            self._local = None
        if self._web is not None:
            await self._web.stop()
        await self.reception.listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._change_timer is not None:
            self._change_timer.cancel()
        if self._store is not None:
            self._store.close()
            self._store = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Open the database and the certificate alone, without the ports: for managing, also beside a running hub."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _, _, self.fingerprint = ensure_certificate(self.folder)
        self._store = Store(self.folder / "hub.sqlite")
        try:
            for setting in _PORTS:  # where the hub was last seen
                kept = self._store.setting(setting)
                if kept:
                    setattr(self, setting, int(kept))
            yield
        finally:
            self._store.close()
            self._store = None

    @property
    def store(self) -> Store:
        """The database of a running hub."""
        if self._store is None:
            raise KvmStreamError("the hub is not running: call start()")
        return self._store

    def address(self, host: str = "") -> HubAddress:
        """Where others find this hub."""
        return HubAddress(
            host or _own_address(), self.control_port, self.video_port, self.fingerprint
        )

    def console_url(self, token: str, host: str = "") -> str:
        """What to open in a browser to be logged in; "" when this hub has no https. The token never reaches a log."""
        host = host or _own_address()
        name = f"[{host}]" if ":" in host else host
        return f"https://{name}:{self.web_port}/#/token/{token}" if self.web_port else ""

    def pairing_line(self, host: str = "") -> PairingLine:
        """A line that introduces one machine to this hub, good once and for ten minutes."""
        return PairingLine(self.address(host), self.store.new_code())

    @property
    def sources(self) -> dict[str, RemoteSource]:
        """Every source, online or not, by name: what connect() gives, in the hub's own event loop."""
        if self._local is None:
            raise KvmStreamError("the hub is not running: call start()")
        return self._local.sources

    async def user_of_password(self, address: str, name: str, password: str) -> User | None:
        """The user with this password. Raises AuthenticationFailed while `address` has to wait for its wrong ones."""
        async with self.attempts.turn(address):
            user = await asyncio.to_thread(self.store.user_of_password, name, password)
            if user is None:
                self.attempts.failed(address)
            return user

    def note(self, who: str, what: str, source: str) -> None:
        """Write into the audit; a database that fails then is no reason to stop the stream."""
        try:
            self.store.note(who, what, source)
        except KvmStreamError as error:
            _log.error("%s", error)

    def changed(self, source: HubSource) -> None:
        """Tell the viewers about a source, soon and once for many changes."""
        self._changed.add(source.name)
        if self._change_timer is None:
            self._change_timer = asyncio.get_running_loop().call_later(0.02, self._tell_changes)

    def _tell_changes(self) -> None:
        self._change_timer = None
        names, self._changed = self._changed, set()
        infos = [self.held[name].info() for name in names if name in self.held]
        message = m.Sources(infos, [name for name in names if name not in self.held])
        for viewer in list(self.viewers):
            viewer.post(message)

    # ---- viewers

    @contextlib.contextmanager
    def watching(
        self, user: User, control: ControlLine, video: VideoLine
    ) -> Iterator[ViewerSession]:
        """A viewer's session, by whichever way it came."""
        viewer = ViewerSession(self, user, control, video)
        self.viewers.add(viewer)
        viewer.post(m.Sources([source.info() for source in self.held.values()]))
        try:
            yield viewer
        finally:
            self.viewers.discard(viewer)
            viewer.end()

    def thumbnails_wanted(self) -> None:
        """Some viewer has begun or ended to look at all sources at once."""
        watched = any(viewer.thumbnails for viewer in self.viewers)
        for source in self.held.values():
            source.watch_thumbnails(watched)

    # ---- the store changes under us: the command line revokes, renames and adds

    def read_sources(self) -> None:
        """Take over what others wrote into the database."""
        known = {record.name: record for record in self.store.sources() if not record.revoked}
        for name in known.keys() - self.held.keys():
            self.held[name] = HubSource(name, self.changed)
            self.changed(self.held[name])
            self.thumbnails_wanted()
        for name in self.held.keys() - known.keys():
            source = self.held.pop(name)
            if source.control is not None:
                source.control.abort("its credential was revoked, or it was renamed")
            self.changed(source)
        for name, source in self.held.items():
            # Revoked and paired anew under the same name: the old credential's connection goes.
            if source.control is not None and source.control.identity != known[name].identity:
                source.control.abort("its credential was revoked")
            source.set_clipboard(known[name].clipboard)
        granted = self.store.granted() | {OWN_USER}
        for viewer in list(self.viewers):
            if viewer.user not in granted:
                viewer.control.abort(
                    "its token or password counts no more, or it has another role now"
                )

    async def _watch_store(self) -> None:
        seen = self.store.changes()
        next_note = time.monotonic() + _SEEN_SECONDS
        while True:
            await asyncio.sleep(_WATCH_STORE_SECONDS)
            try:
                now = self.store.changes()
                if now != seen:
                    self.read_sources()
                    seen = now
                if time.monotonic() >= next_note:
                    next_note += _SEEN_SECONDS
                    for name, source in self.held.items():
                        if source.online:
                            self.store.seen(name)
            except KvmStreamError as error:
                _log.error("%s", error)

    async def _watch_lines(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_LINES_SECONDS)
            for source in self.held.values():
                source.release_idle()
                if source.online:
                    source.look_at_lines()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _own_address() -> str:
    """The address that this machine has towards the default route; no packet is sent."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return socket.gethostname()
