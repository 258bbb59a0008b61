"""The hub's database: nothing is lost, nothing is begun anew, every failure says what to do."""

from __future__ import annotations

import sqlite3
import stat
import threading
from contextlib import closing, contextmanager

import pytest

from kvmstream.errors import ConfigError, StoreError
from kvmstream.hub import Store
from kvmstream.hub.certificate import ensure_certificate


@pytest.fixture
def path(tmp_path):
    return tmp_path / "hub" / "hub.sqlite"


def test_everything_is_there_after_a_restart(path) -> None:
    store = Store(path)
    store.set_user("anna", "admin", "correct horse")
    token = store.new_token("anna")
    identity, secret = store.pair(store.new_code(), "office-pc")
    store.note("anna", "took control", "office-pc")
    store.close()
    store = Store(path)
    assert [(u.name, u.role) for u in store.users()] == [("anna", "admin")]
    assert store.user_of_token(token).name == "anna"
    assert store.user_of_password("anna", "correct horse").role == "admin"
    assert store.user_of_password("anna", "wrong horse") is None
    assert store.user_of_password("bert", "correct horse") is None
    assert store.source_of(identity, secret) == "office-pc"
    assert store.source_of(identity, "guess") is None
    assert [e.what for e in store.audit()] == [
        "took control",
        "paired",
        "token for anna made",
        "user anna changed",
    ]
    store.close()


def test_no_secret_is_in_the_file(path) -> None:
    store = Store(path)
    store.set_user("anna", "admin", "correct horse")
    token = store.new_token("anna")
    code = store.new_code()
    _, secret = store.pair(code, "office-pc")
    other = store.new_code()
    store.close()
    everything = b"".join(file.read_bytes() for file in path.parent.iterdir())
    for word in ("correct horse", token, secret, code, other):
        assert word.encode() not in everything
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_codes_are_good_once_and_not_for_ever(path, monkeypatch) -> None:
    store = Store(path)
    code = store.new_code()
    assert store.pair("AAAA-AAAA-AAAA", "x") is None
    assert store.pair(code, "x") is not None
    assert store.pair(code, "x") is None
    late = store.new_code()
    import time

    now = time.time()
    monkeypatch.setattr("kvmstream.hub.store.time.time", lambda: now + 601)
    assert store.pair(late, "y") is None
    store.close()


def test_names_never_take_anothers_place(path) -> None:
    store = Store(path)
    store.pair(store.new_code(), "pc")
    store.pair(store.new_code(), "pc")
    assert [s.name for s in store.sources()] == ["pc", "pc-2"]
    store.revoke("pc")
    store.pair(store.new_code(), "pc")
    assert [(s.name, bool(s.revoked)) for s in store.sources()] == [("pc", False), ("pc-2", False)]
    store.rename("pc-2", "kitchen")
    with pytest.raises(ConfigError, match="taken"):
        store.rename("pc", "kitchen")
    with pytest.raises(ConfigError, match="no source 'attic'"):
        store.revoke("attic")
    with pytest.raises(ConfigError, match="printable"):
        store.rename("pc", "a\nb")
    store.close()


def test_bad_users_are_refused(path) -> None:
    store = Store(path)
    with pytest.raises(ConfigError, match="8 to 1024"):
        store.set_user("anna", "admin", "short")
    with pytest.raises(ConfigError, match="admin, control or view"):
        store.set_user("anna", "king")
    with pytest.raises(ConfigError, match="no user 'anna'"):
        store.new_token("anna")
    assert store.users() == []
    store.set_user("anna", "view", "long enough")
    token = store.new_token("anna")
    store.set_user("anna", "control")  # the password stays
    assert store.user_of_password("anna", "long enough").role == "control"
    store.remove_user("anna")
    assert store.user_of_token(token) is None
    store.close()


def test_a_damaged_database_is_an_error_and_stays_as_it_was(path) -> None:
    store = Store(path)
    for i in range(200):
        store.set_user(f"user {i}", "view")
    store.close()
    data = bytearray(path.read_bytes())
    data[4096 : len(data) - 4096] = b"\xa5" * (len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        Store(path)
    assert path.read_bytes() == data
    path.write_bytes(b"not a database, but a letter to grandmother" * 100)
    with pytest.raises(StoreError, match="restore a copy"):
        Store(path)


@contextmanager
def database(path, **options):
    """Past the store; committed and closed."""
    with closing(sqlite3.connect(path, **options)) as db, db:
        yield db


def test_newer_and_foreign_databases_are_refused(path) -> None:
    Store(path).close()
    with database(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="version 99"):
        Store(path)
    path.unlink()
    with database(path) as db:
        db.execute("CREATE TABLE bookmarks (url)")
    with pytest.raises(StoreError, match="another program"):
        Store(path)


def test_a_database_of_the_first_version_is_brought_on(path, monkeypatch) -> None:
    from kvmstream.hub import database as module

    newest = module._MIGRATIONS
    monkeypatch.setattr(module, "_MIGRATIONS", newest[:1])
    Store(path).close()
    with database(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        db.execute(
            "INSERT INTO sources (name, identity, secret, created) VALUES ('pc', 'i', ?, 1)",
            (b"s",),
        )
        db.execute("INSERT INTO users VALUES ('anna', NULL, 'admin', 1)")
    monkeypatch.setattr(module, "_MIGRATIONS", newest)
    store = Store(path)
    assert [(s.name, s.identity, s.clipboard) for s in store.sources()] == [("pc", "i", "both")]
    store.set_macro("anna", "log in", "[]")
    assert store.macros("anna") == {"log in": "[]"}
    store.close()


def test_a_policy_outlives_a_new_name_and_a_new_credential(path) -> None:
    store = Store(path)
    store.pair(store.new_code(), "pc")
    with pytest.raises(ConfigError, match="must be one of both, to_source"):
        store.set_clipboard("pc", "sideways")
    with pytest.raises(ConfigError, match="no source 'attic'"):
        store.set_clipboard("attic", "none")
    store.set_clipboard("pc", "none")
    store.rename("pc", "kiosk")
    store.revoke("kiosk")
    store.pair(store.new_code(), "kiosk")
    assert [(s.name, s.clipboard, s.revoked) for s in store.sources()] == [("kiosk", "none", 0.0)]
    store.close()


def test_macros_belong_to_their_user(path) -> None:
    store = Store(path)
    store.set_user("anna", "control")
    store.set_user("bert", "control")
    store.set_macro("anna", "log in", "[1]")
    store.set_macro("anna", "log in", "[2]")
    assert store.macros("anna") == {"log in": "[2]"}
    assert store.macros("bert") == {}
    with pytest.raises(ConfigError, match="no macro 'log in'"):
        store.remove_macro("bert", "log in")
    with pytest.raises(ConfigError, match="no user 'dora'"):
        store.set_macro("dora", "x", "[]")
    for number in range(99):
        store.set_macro("anna", f"macro {number}", "[]")
    with pytest.raises(ConfigError, match="100 macros"):
        store.set_macro("anna", "one more", "[]")
    store.set_macro("anna", "log in", "[3]")
    store.remove_macro("anna", "macro 7")
    store.set_macro("anna", "one more", "[]")
    store.remove_user("anna")
    store.set_user("anna", "control")
    assert store.macros("anna") == {}
    store.close()


def test_a_locked_database_says_so(path, monkeypatch) -> None:
    monkeypatch.setattr("kvmstream.hub.database._BUSY_SECONDS", 0.2)
    store = Store(path)
    with database(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another program has locked it"):
            store.set_user("anna", "view")
        other.execute("ROLLBACK")
    store.set_user("anna", "view")
    store.close()


def test_threads_share_it(path) -> None:
    store = Store(path)
    errors = []

    def work(number: int) -> None:
        try:
            for i in range(30):
                store.note(f"{number}", f"{i}", "")
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(store.audit(1000)) == 120
    store.close()


def test_changes_of_others_are_noticed(path) -> None:
    store, other = Store(path), Store(path)
    before = store.changes()
    assert store.changes() == before
    other.set_user("anna", "view")
    after = store.changes()
    assert after != before
    store.set_user("bert", "view")
    assert store.changes() != after
    store.close()
    other.close()


def test_certificate_is_made_once_and_never_replaced(tmp_path) -> None:
    certificate, key, fingerprint = ensure_certificate(tmp_path)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert ensure_certificate(tmp_path)[2] == fingerprint
    kept = key.read_bytes()
    key.unlink()
    with pytest.raises(StoreError, match=r"key\.pem is missing"):
        ensure_certificate(tmp_path)
    key.write_bytes(kept)
    certificate.write_text("rubbish")
    with pytest.raises(StoreError, match=r"certificate\.pem"):
        ensure_certificate(tmp_path)
