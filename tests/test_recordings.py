"""Recordings that the hub makes: started and ended from a page, whole files, and errors that say why."""

from __future__ import annotations

import asyncio
import json
import subprocess

import pytest
from browser import CHROMIUM, console, opened
from house import eventually, house

from kvmstream.errors import ConfigError
from kvmstream.hub import recordings

__all__ = ["house"]  # a fixture


def probe(path) -> dict:
    """Frames, size and seconds of a file, all of it decoded."""
    command = ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v", "-of", "json"]
    command += ["-show_entries", "stream=nb_read_frames,width,height:format=duration", str(path)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    (stream,) = found["streams"]
    return {
        "frames": int(stream["nb_read_frames"]), "size": (stream["width"], stream["height"]),
        "seconds": float(found["format"]["duration"]),
    }  # fmt: skip


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_from_the_page(house, tmp_path) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(source="pattern", width=640, height=360, fps=30)
            async with console(it, "admin") as page:
                await opened(page)
                await page.get_by_role("button", name="Record").click()
                stop = page.get_by_role("button", name="Stop recording")
                await stop.wait_for()
                await asyncio.sleep(3)
                async with page.expect_download() as download:
                    await stop.click()
                file = await download.value
                assert file.suggested_filename.startswith("office-pc 2")
                await file.save_as(tmp_path / "out.mp4")
                await page.get_by_role("button", name="Record", exact=True).wait_for()
                await page.get_by_role("button", name="All sources").click()
                await page.get_by_role("button", name="Manage").click()
                row = (
                    page.get_by_role("region", name="Recordings")
                    .get_by_role("row")
                    .filter(has_text="office-pc")
                )
                await row.get_by_role("button", name="Remove").click()
                await page.locator("dialog").get_by_role("button", name="Remove").click()
                await row.wait_for(state="detached")
            assert it.hub.recordings.files() == []
            assert {"began to record", "ended the recording"} <= {
                e.what for e in it.hub.store.audit()
            }
        found = probe(tmp_path / "out.mp4")
        assert found["size"] == (640, 360)
        assert 2.0 < found["seconds"] < 4.5
        assert found["frames"] > 2 * 25

    asyncio.run(main())


def test_what_goes_wrong_is_said_and_nothing_is_lost(house, monkeypatch) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(source="pattern", width=320, height=180, fps=30)
            made = it.hub.recordings
            with pytest.raises(ConfigError, match="not being recorded"):
                await made.stop("office-pc", "admin")
            assert made.path("../hub.sqlite") is None
            made.start("office-pc", "admin")
            with pytest.raises(ConfigError, match="already"):
                made.start("office-pc", "admin")
            await eventually(
                lambda: made.files() and made.files()[0].bytes > 0, what="the first bytes"
            )
            (one,) = made.files()
            assert one.running
            with pytest.raises(ConfigError, match="end the recording first"):
                made.remove(one.name, "admin")
            monkeypatch.setattr(recordings, "_AT_ONCE", 1)
            with pytest.raises(ConfigError, match="at most 1"):
                made.start("another", "admin")
            # A disk that fills up ends it, with what there is so far.
            monkeypatch.setattr(recordings, "_FREE_BYTES", 1 << 60)
            await eventually(lambda: not made.files()[0].running, what="the end")
            await eventually(lambda: not it.hub.held["office-pc"].recording)
            assert probe(made.path(one.name))["frames"] > 0
            # Whatever runs when the hub stops is a whole file.
            monkeypatch.undo()
            made.start("office-pc", "admin")
            await asyncio.sleep(1.5)
            assert await made.stop("office-pc", "admin")
            made.start("office-pc", "admin")
            await asyncio.sleep(1.5)
        files = list((it.folder / "recordings").iterdir())
        assert len(files) == 3
        for file in files:
            assert probe(file)["frames"] > 0

    asyncio.run(main())
