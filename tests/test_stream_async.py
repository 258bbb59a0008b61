"""Stream on each backend in an event loop."""

from __future__ import annotations

import asyncio

import pytest
from streaming import backend_name, nothing_stays, pattern

from kvmstream import (
    Decoder,
    Stream,
)

__all__ = ["backend_name", "nothing_stays"]  # fixtures

pytestmark = pytest.mark.usefixtures("backend_name", "nothing_stays")


def test_async_iteration_and_update() -> None:
    async def main() -> tuple[int, int]:
        count = ticks = 0
        done = asyncio.Event()

        async def tick() -> None:
            nonlocal ticks
            while not done.is_set():
                ticks += 1
                await asyncio.sleep(0.005)

        async with Stream(pattern()) as stream, asyncio.TaskGroup() as group:
            group.create_task(tick())
            async for packet in stream:
                assert packet.keyframe == (count == 0)
                count += 1
                if count == 40:
                    break
            done.set()
        return count, ticks

    count, ticks = asyncio.run(main())
    assert count == 40
    assert ticks > 20, "the event loop stood still"


def test_async_does_not_starve_the_loop_when_packets_never_run_out() -> None:
    async def main() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        async with Stream(pattern(display="fast", region=(0, 0, 32, 32))) as stream:
            ticker = asyncio.create_task(tick())
            count = 0
            async for _ in stream:
                count += 1
                if count == 300:
                    break
            ticker.cancel()
        return ticks

    assert asyncio.run(main()) >= 300 // 8


def test_async_order_is_kept_and_cancelling_loses_nothing() -> None:
    async def main() -> list[int]:
        seen = []
        async with Stream(pattern(fps=200)) as stream:
            subscription = stream.subscribe(64)
            while len(seen) < 150:
                try:
                    packet = await asyncio.wait_for(subscription.next_async(), 0.003)
                except TimeoutError:
                    continue
                seen.append(packet)
            assert subscription.dropped == 0
            subscription.close()
        # Only an unbroken chain shows the pattern's frames one after the other.
        decoder = Decoder()
        assert all(decoder.decode(packet) is not None for packet in seen)
        return [packet.pts for packet in seen]

    pts = asyncio.run(main())
    assert pts == sorted(set(pts))


def test_async_iteration_ends_with_the_stream() -> None:
    async def main() -> int:
        count = 0
        async with Stream(pattern()) as stream:
            asyncio.get_running_loop().call_later(0.4, stream.close)
            async for _ in stream:
                count += 1
            async for _ in stream:
                raise AssertionError("a stopped stream has no packets")
        return count

    assert asyncio.run(asyncio.wait_for(main(), 10)) > 3


def test_async_frames() -> None:
    async def main() -> list[tuple[int, ...]]:
        shapes: list[tuple[int, ...]] = []
        async with Stream(pattern()) as stream:
            async for frame in stream.frames():
                shapes.append(frame.shape)
                if len(shapes) == 5:
                    return shapes
        return shapes

    assert asyncio.run(main()) == [(48, 64, 3)] * 5


def test_one_stream_in_two_event_loops_one_after_the_other() -> None:
    with Stream(pattern()) as stream:
        subscription = stream.subscribe()
        for _ in range(2):
            assert asyncio.run(subscription.next_async()) is not None
        subscription.close()


def test_unconsumed_packets_stay_in_the_bounded_queue() -> None:
    """An event loop that does not ask takes nothing: the capacity is the credit."""

    async def main() -> None:
        async with Stream(pattern(fps=300)) as stream:
            subscription = stream.subscribe(3)
            await subscription.next_async()
            await asyncio.sleep(0.5)
            (queue,) = stream.stats().queue
            assert queue.capacity == 3
            assert queue.size <= 3
            sent = stream.stats().frames
            await asyncio.sleep(0.3)
            assert stream.stats().frames == sent, "the encoder waits for its only consumer"
            subscription.close()

    asyncio.run(main())
