"""Version and limits of the protocol: everything that comes off a socket is held against one of these first."""

from __future__ import annotations

# Grows when peers of the old version could no longer understand; a hub refuses other versions with a reason.
VERSION = 1

CONTROL_PORT = 8080
VIDEO_PORT = 8081
WEB_PORT = 8443

GREETING_BYTES = 8 << 10  # a control frame before the peer has proved who it is
CONTROL_BYTES = 1 << 20  # a control frame afterwards
# Control bytes that a peer may leave untaken before it is cut off: two of the largest messages.
BACKLOG_BYTES = 2 << 20
INPUT_BACKLOG_BYTES = (
    1 << 20
)  # beyond this an agent gets no more input and texts, and whoever sent them hears so
VIDEO_BYTES = 16 << 20  # one access unit: an intra picture of 4K at the finest quantiser fits
THUMBNAIL_BYTES = 256 << 10
CLIPBOARD_BYTES = 256 << 10  # UTF-8
TEXT_CHARACTERS = 10_000  # one request to type
INPUT_EVENTS = 256  # of one message
WHEEL_UNITS = 12_000  # one turn; a notch is 120
RELATIVE_PIXELS = 32_767  # one motion
NAME_CHARACTERS = 64

HANDSHAKE_SECONDS = 10.0  # from accept() to a known peer; a slow-loris is cut off then
HEARTBEAT_SECONDS = 1.0
SILENCE_SECONDS = 5.0  # a peer that has sent nothing for so long is gone

LEASE_SECONDS = 3.0  # keys held down are released when their holder has not renewed for so long
