"""The hub's https side: REST, sessions, roles, metrics, and its description of itself."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl

import aiohttp
import pytest
from house import eventually, house

import kvmstream
from kvmstream.errors import AuthenticationFailed

__all__ = ["house"]  # a fixture


@contextlib.asynccontextmanager
async def browser(it, role=""):
    """A client session; with a role, one that sends a token of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(it.folder / "certificate.pem")
    context.check_hostname = False
    headers = {"Authorization": f"Bearer {it.hub.store.new_token(role)}"} if role else {}
    async with aiohttp.ClientSession(
        f"https://127.0.0.1:{it.hub.web_port}",
        connector=aiohttp.TCPConnector(ssl=context),
        cookie_jar=aiohttp.CookieJar(unsafe=True),
        headers=headers,
    ) as session:
        yield session


async def ask(session, method, path, status=200, **options):
    async with session.request(method, path, **options) as response:
        text = await response.text()
        assert response.status == status, text
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        if response.content_type == "application/json":
            found = await response.json()
            assert status < 400 or list(found) == ["error"]
            return found
        return text


def test_sources_thumbnail_and_metrics(house, screen) -> None:
    async def main() -> None:
        async with house() as it:
            await it.agent(screen.display)
            async with browser(it) as nobody, browser(it, "view") as session, it.viewer() as hub:
                assert await ask(nobody, "GET", "/healthz") == {"status": "ok"}
                await ask(nobody, "GET", "/api/v1/sources", 401)
                await ask(nobody, "GET", "/metrics", 401)
                async with hub.sources["office-pc"].packets() as packets:
                    await anext(packets)
                    listed = await ask(session, "GET", "/api/v1/sources")
                    assert [(s["name"], s["online"], s["viewers"]) for s in listed] == [
                        ("office-pc", True, 1)
                    ]
                    await eventually(lambda: it.hub.held["office-pc"].thumbnail, 10, "a thumbnail")
                    async with session.get("/api/v1/sources/office-pc/thumbnail") as response:
                        assert response.content_type == "image/jpeg"
                        assert (await response.read())[:2] == b"\xff\xd8"
                    text = await ask(session, "GET", "/metrics")
                    assert 'kvmstream_source_online{source="office-pc"} 1' in text
                    assert re.search(
                        r'kvmstream_source_units_total\{source="office-pc",rendition="main"\} [1-9]',
                        text,
                    )
                    assert re.search(r"kvmstream_viewer_sent_total\{[^}]+\} [1-9]", text)
                    for line in text.splitlines():
                        assert re.fullmatch(
                            r'# (HELP|TYPE) .+|kvmstream_\w+(\{(\w+="[^"]*",?)+\})? [-+.\de]+', line
                        )
                missing = await ask(session, "GET", "/api/v1/sources/attic", 404)
                assert "no source 'attic'" in missing["error"]

    asyncio.run(main())


def test_roles_decide(house) -> None:
    async def main() -> None:
        async with (
            house() as it,
            browser(it, "view") as view,
            browser(it, "control") as control,
            browser(it, "admin") as admin,
        ):
            for session in (view, control):
                refused = await ask(session, "POST", "/api/v1/pairing", 403)
                assert "needs admin" in refused["error"]
                await ask(session, "GET", "/api/v1/users", 403)
                await ask(session, "GET", "/api/v1/audit", 403)
            line = (await ask(admin, "POST", "/api/v1/pairing", 201))["line"]
            assert it.hub.fingerprint in line
            from kvmstream.agent import pair

            await asyncio.to_thread(pair, line, "cellar")
            await ask(admin, "PATCH", "/api/v1/sources/cellar", 204, json={"name": "attic"})
            await eventually(lambda: "attic" in it.hub.held, 5, "the new name")
            change = {"clipboard": "none"}
            await ask(admin, "PATCH", "/api/v1/sources/attic", 204, json=change)
            await eventually(lambda: it.hub.held["attic"].clipboard == "none", 5, "the policy")
            assert (await ask(view, "GET", "/api/v1/sources/attic"))["clipboard"] == "none"
            change = {"clipboard": "sideways"}
            await ask(admin, "PATCH", "/api/v1/sources/attic", 400, json=change)
            steps = [
                {"code": "KeyA", "down": True, "after_ms": 0},
                {"code": "KeyA", "down": False, "after_ms": 40},
            ]
            await ask(control, "PUT", "/api/v1/macros/one", 204, json={"steps": steps})
            assert await ask(control, "GET", "/api/v1/macros") == {"one": {"steps": steps}}
            assert await ask(admin, "GET", "/api/v1/macros") == {}
            await ask(view, "GET", "/api/v1/macros", 403)
            for wrong in (
                [],
                [{"code": "NoKey", "down": True}],
                [{"code": "KeyA", "down": True, "after_ms": 10_001}],
                steps * 501,
            ):
                await ask(control, "PUT", "/api/v1/macros/two", 400, json={"steps": wrong})
            await ask(admin, "DELETE", "/api/v1/macros/one", 400)
            await ask(control, "DELETE", "/api/v1/macros/one", 204)
            bad = await ask(admin, "PATCH", "/api/v1/sources/attic", 400, json={"name": ""})
            assert "length" in bad["error"]
            await ask(admin, "PATCH", "/api/v1/sources/attic", 400, data=b"{")
            await ask(admin, "POST", "/api/v1/sources/attic/revoke", 204)
            await ask(
                admin,
                "PUT",
                "/api/v1/users/dora",
                204,
                json={"role": "view", "password": "long enough"},
            )
            await ask(admin, "PUT", "/api/v1/users/dora", 400, json={"password": "short"})
            assert {"name": "dora", "role": "view"} in await ask(admin, "GET", "/api/v1/users")
            await ask(admin, "DELETE", "/api/v1/users/dora", 204)
            await ask(admin, "DELETE", "/api/v1/users/dora", 400)
            what = [entry["what"] for entry in await ask(admin, "GET", "/api/v1/audit")]
            assert {"paired", "renamed to attic", "revoked", "user dora removed"} <= set(what)

    asyncio.run(main())


def test_a_browsers_session(house) -> None:
    async def main() -> None:
        async with house() as it, browser(it) as session:
            origin = {"Origin": f"https://127.0.0.1:{it.hub.web_port}"}
            await ask(
                session, "POST", "/api/v1/session", 401, json={"user": "admin", "password": "guess"}
            )
            async with session.post(
                "/api/v1/session", json={"user": "admin", "password": "password of admin"}
            ) as response:
                assert response.status == 200
                cookie = response.headers["Set-Cookie"]
                assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=Strict"))
            assert await ask(session, "GET", "/api/v1/session") == {
                "user": "admin",
                "role": "admin",
            }
            # Another site's page makes the browser send the cookie, but not its own origin.
            await ask(session, "POST", "/api/v1/pairing", 401)
            await ask(
                session, "POST", "/api/v1/pairing", 401, headers={"Origin": "https://evil.example"}
            )
            await ask(session, "POST", "/api/v1/pairing", 201, headers=origin)
            # Another role counts at once, and a user who is gone is nobody.
            it.hub.store.set_user("admin", "view")
            await ask(session, "POST", "/api/v1/pairing", 403, headers=origin)
            it.hub.store.remove_user("admin")
            await ask(session, "GET", "/api/v1/session", 401)

    asyncio.run(main())


def test_what_a_password_or_token_has_opened_ends_with_it(house) -> None:
    """Sessions of browsers and open viewers, and after a password reset the user's tokens, too."""

    async def main() -> None:
        async with house() as it, browser(it, "admin") as admin, browser(it) as session:

            async def opened_by(**how) -> kvmstream.RemoteHub:
                hub = kvmstream.connect(it.url, **how)
                await hub.__aenter__()
                return hub

            async def cut_off(hub) -> None:
                await eventually(lambda: hub._lost is not None, 5, "its end")
                await hub.close()

            token = it.hub.store.new_token("control", "a script")
            listed = await ask(admin, "GET", "/api/v1/tokens")
            (mine,) = [one for one in listed if one["label"] == "a script"]
            assert mine["user"] == "control"
            assert token not in str(listed)
            async with session.post(
                "/api/v1/session", headers={"Authorization": f"Bearer {token}"}
            ) as response:
                assert response.status == 200
            by_token = await opened_by(token=token)
            by_password = await opened_by(user="control", password="password of control")
            await ask(admin, "DELETE", "/api/v1/tokens/000000000000", 400)
            await ask(admin, "DELETE", f"/api/v1/tokens/{mine['id']}", 204)
            await ask(session, "GET", "/api/v1/session", 401)
            await cut_off(by_token)
            assert by_password._lost is None
            with pytest.raises(AuthenticationFailed, match="wrong token"):
                await opened_by(token=token)

            login = {"user": "control", "password": "password of control"}
            await ask(session, "POST", "/api/v1/session", json=login)
            live = await session.ws_connect(
                "/api/v1/live", origin=f"https://127.0.0.1:{it.hub.web_port}"
            )
            by_token = await opened_by(token=it.hub.store.new_token("control"))
            bystander = await opened_by(token=it.hub.store.new_token("view"))
            change = {"role": "control"}
            await ask(admin, "PUT", "/api/v1/users/control", 204, json=change)
            await asyncio.sleep(1.5)
            await ask(session, "GET", "/api/v1/session")
            assert by_password._lost is None
            change = {"password": "password of somebody else"}
            await ask(admin, "PUT", "/api/v1/users/control", 204, json=change)
            await ask(session, "GET", "/api/v1/session", 401)
            await cut_off(by_password)
            await cut_off(by_token)
            while not live.closed:
                await asyncio.wait_for(live.receive(), 5)
            assert [t.user for t in it.hub.store.tokens()].count("control") == 0
            assert bystander._lost is None
            await bystander.close()

    asyncio.run(main())


def test_logging_out_ends_it(house) -> None:
    async def main() -> None:
        async with house() as it, browser(it) as session:
            origin = {"Origin": f"https://127.0.0.1:{it.hub.web_port}"}
            login = {"user": "view", "password": "password of view"}
            await ask(session, "POST", "/api/v1/session", json=login)
            kept = {cookie.key: cookie.value for cookie in session.cookie_jar}
            await ask(session, "DELETE", "/api/v1/session", 204, headers=origin)
            await ask(session, "GET", "/api/v1/session", 401)
            await ask(session, "GET", "/api/v1/session", 401, cookies=kept)

    asyncio.run(main())


def test_guesses_close_the_door(house) -> None:
    async def main() -> None:
        async with house() as it, browser(it) as session, browser(it, "view") as other:
            guess = {"user": "view", "password": "guess"}
            for _ in range(5):
                await ask(session, "POST", "/api/v1/session", 401, json=guess)
            right = {"user": "view", "password": "password of view"}
            refused = await ask(session, "POST", "/api/v1/session", 401, json=right)
            assert "too many wrong attempts" in refused["error"]
            await ask(other, "GET", "/api/v1/sources")

    asyncio.run(main())


def test_it_describes_itself_truly(house) -> None:
    async def main() -> None:
        async with house() as it, browser(it, "admin") as admin, browser(it) as nobody:
            described = await ask(nobody, "GET", "/api/v1/openapi.json")
            assert described["openapi"].startswith("3.1")
            for path, operations in described["paths"].items():
                for method, operation in operations.items():
                    if method != "get":
                        continue
                    known = {int(status) for status in operation["responses"]}
                    for session in (admin, nobody):
                        async with session.get(path.replace("{name}", "attic")) as response:
                            assert response.status in known, path
            text = str(described)
            for reference in re.findall(r"#/components/schemas/(\w+)", text):
                assert reference in described["components"]["schemas"]

    asyncio.run(main())


def test_nothing_answers_without_tls(house) -> None:
    async def main() -> None:
        async with house() as it, aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"http://127.0.0.1:{it.hub.web_port}/healthz")

    asyncio.run(main())
