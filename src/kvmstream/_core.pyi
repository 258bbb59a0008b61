"""
The native core of kvmstream. Private: use the names of the kvmstream package.
"""



BACKEND: str = 'native'

class Packet:
    """
    One H.264 access unit (Annex B); memoryview(packet) reads it without a copy.
    """

    @property
    def keyframe(self) -> bool:
        """An IDR: decoding can begin here."""

    @property
    def refinement(self) -> bool:
        """The same content again, at better quality."""

    @property
    def pts(self) -> int:
        """Microseconds since the stream's start, rising."""

    @property
    def generation(self) -> int:
        """Grows with every new size, source or encoder."""

    @property
    def width(self) -> int:
        """True width in pixels; the coded one is even."""

    @property
    def height(self) -> int:
        """True height in pixels; the coded one is even."""

    @property
    def damaged_ns(self) -> int:
        """When the change was seen, as time.perf_counter_ns()."""

    @property
    def captured_ns(self) -> int:
        """When its pixels were in memory."""

    @property
    def converted_ns(self) -> int:
        """When they were in the encoder's format."""

    @property
    def encoded_ns(self) -> int:
        """When the access unit was complete."""

    def __len__(self) -> int: ...

    def __bytes__(self) -> bytes: ...

    def __repr__(self) -> str: ...

def waiting_calls() -> int:
    """
    Calls of next() and next_cursor() that have not returned to Python yet.
    """

class Subscription:
    """One consumer's bounded queue of packets."""

    def next(self, timeout: float | None = None) -> Packet | None:
        """The next packet; None after `timeout` seconds (None = no limit)."""

    def close(self) -> None:
        """Idempotent; ends a blocked next()."""

    @property
    def dropped(self) -> int: ...

    @property
    def queued(self) -> int: ...

class Pipeline:
    """Capture, convert, encode: two threads that never take the GIL."""

    def __init__(self, *, display: str = '', region: tuple[int, int, int, int] | None = None, width: int = 0, height: int = 0, fps: float = 60.0, bitrate: int = 6000000, crf: float = 23.0, preset: str = 'ultrafast', tune: str = 'zerolatency', use_hardware_encoder: bool = True, encoder: str = 'auto', chroma: str = '420', cursor: str = 'embedded', keyframe_interval: float = 0.0, source: str = 'screen', probe_path: str = '', cache_dir: str = '') -> None: ...

    def start(self) -> None:
        """
        Opens capture and encoder and starts the threads. Raises CaptureError, ConfigError or EncoderUnavailable.
        """

    def stop(self) -> None:
        """Asks the threads to end; idempotent."""

    def join(self) -> None:
        """Waits for the threads; idempotent."""

    def subscribe(self, capacity: int = 8) -> Subscription:
        """A queue of at most `capacity` packets, the first of them a keyframe."""

    def update(self, *, bitrate: int | None = None, fps: float | None = None, crf: float | None = None, display: str | None = None, region: tuple[int, int, int, int] | None = None) -> None:
        """
        Live changes; None leaves as is, region (0, 0, 0, 0) is the whole display.
        """

    def request_keyframe(self) -> None:
        """At most one keyframe per 0.5 s comes of it."""

    def stats(self) -> dict[str, object]: ...

    def cursor(self) -> tuple[int, int, int, bool, int, int, int, int, int, bytes] | None: ...

    def next_cursor(self, after: int, timeout: float | None = None) -> tuple[int, int, int, bool, int, int, int, int, int, bytes] | None: ...

    def thumbnail(self, max_width: int = 320) -> bytes:
        """JPEG of the newest picture; b'' before the first."""

    def drain_logs(self) -> list[tuple[int, str, str]]: ...

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    @property
    def generation(self) -> int: ...

def displays(x_display: str = '') -> list[tuple[str, str, int, int, int, int, float, float, bool]]:
    """
    Monitors: (id, name, x, y, width, height, scale, refresh_hz, primary). Raises CaptureError.
    """

def encoders(probe_path: str = '', cache_dir: str = '') -> list[tuple[str, bool, bool, str]]:
    """Encoders in order of preference: (name, hardware, available, reason)."""

def captures(x_display: str = '') -> list[tuple[str, bool, str]]:
    """Captures, best first: (name, available, reason)."""

def build_info() -> dict[str, str]:
    """Facts for doctor."""

def screenshot(*, display: str = '', region: tuple[int, int, int, int] | None = None, width: int = 0, height: int = 0, cursor: str = 'embedded', source: str = 'screen') -> tuple[int, int, bytes]:
    """
    One picture now: (width, height, BGRA bytes). Raises CaptureError or ConfigError.
    """
