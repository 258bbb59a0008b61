"""The fallback's packet queues, and the waker of its threads."""

from __future__ import annotations

import threading
import time

import pytest

from kvmstream import errors
from kvmstream._fallback.packets import Packet, PacketHub
from kvmstream._fallback.waker import FOREVER, Waker


def _packet(*, keyframe=False):
    packet = Packet(b"x")
    packet.keyframe = keyframe
    packet.encoded_ns = time.perf_counter_ns()
    return packet


def test_hub_rules():
    hub = PacketHub(threading.RLock(), lambda: None)
    with hub._lock:  # as the encode thread does
        _check_hub_rules(hub)


def _check_hub_rules(hub):
    assert not hub.has_room()
    fast, slow = hub.subscribe(4), hub.subscribe(2)
    assert hub.has_room()
    assert hub.wants_keyframe()
    hub.publish(_packet())
    assert (fast.queued, slow.queued) == (0, 0), "nothing before the first keyframe"
    hub.publish(_packet(keyframe=True))
    hub.publish(_packet())
    assert (fast.queued, slow.queued) == (2, 2)
    assert not hub.wants_keyframe()
    hub.publish(_packet())
    assert (fast.queued, slow.queued, slow.dropped) == (3, 0, 3)
    assert not hub.wants_keyframe(), "the wiped one has not come back yet"
    hub.publish(_packet(keyframe=True))
    assert slow.queued == 0
    assert not hub.has_room()
    assert slow.next(0) is None
    assert hub.wants_keyframe()
    assert hub.has_room()
    hub.publish(_packet(keyframe=True))
    assert slow.queued == 1
    slow.close()
    hub.end(None)
    fast.close()
    with pytest.raises(errors.StreamClosed):
        fast.next(0)


def test_each_caller_gets_an_error_of_its_own():
    hub = PacketHub(threading.RLock(), lambda: None)
    first, second = hub.subscribe(1), hub.subscribe(1)
    with hub._lock:
        hub.end(errors.CaptureError("gone"))
    caught = []
    for consumer in (first, second):
        with pytest.raises(errors.CaptureError, match="gone") as info:
            consumer.next(0)
        caught.append(info.value)
    assert caught[0] is not caught[1]


def test_waker():
    waker = Waker()
    waker.wake()
    waker.wake()
    assert waker.wait(FOREVER)
    started = time.perf_counter_ns()
    assert not waker.wait(started + 50_000_000)
    assert time.perf_counter_ns() - started >= 45_000_000
    threading.Timer(0.1, waker.wake).start()
    assert waker.wait(FOREVER)
    waker.close()
    waker.close()
    waker.wake()
