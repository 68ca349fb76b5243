"""Who the embedded PostgreSQL's password, and its data, are given to."""

import json
from pathlib import Path

import pytest

from false_postgres import CLEARTEXT, WELCOME, FalsePostgres, false_postgres
from fraudstream.errors import DatabaseError
from fraudstream.local.home import Home
from fraudstream.local.postgres import EmbeddedPostgres
from fraudstream.local.services import Endpoints
from fraudstream.settings import load
from fraudstream.store.connection import connect

pytestmark = pytest.mark.usefixtures("empty_environment")
PASSWORD = "made-by-up"  # noqa: S105 - of no server


def _left_by_up(home: Home, false: FalsePostgres) -> None:
    """The files of a home whose services a crash of the machine ended; another program has PostgreSQL's port now."""
    home.root.mkdir()
    home.password.write_text(PASSWORD)
    left = Endpoints("127.0.0.1:9", "127.0.0.1", false.port, "fraudstream", "fraudstream", home.password)
    home.endpoints.write_text(json.dumps(left.document()))
    home.remember("postgres", port=false.port)


@pytest.mark.parametrize("answer", [CLEARTEXT, WELCOME], ids=["asks", "welcomes"])
def test_a_program_that_took_the_embedded_servers_port_gets_neither_password_nor_data(
    answer: bytes, tmp_path: Path
) -> None:
    """Whether it asks for the password in clear text or lets everybody in."""
    home = Home(tmp_path / "home")
    with false_postgres(answer) as false:
        _left_by_up(home, false)
        with pytest.raises(DatabaseError, match="did not prove that it knows the password") as caught:
            connect(load().postgres)
    assert type(caught.value) is DatabaseError  # at once, not after minutes of trying again
    assert "Another program" in caught.value.hint
    assert "fraudstream up" in caught.value.hint
    assert b"fraudstream" in false.heard
    assert PASSWORD.encode() not in false.heard


def test_up_and_status_take_no_such_program_for_the_embedded_server(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with false_postgres(CLEARTEXT) as false:
        _left_by_up(home, false)
        assert not EmbeddedPostgres(home).answers()
    assert b"fraudstream" in false.heard
    assert PASSWORD.encode() not in false.heard


def test_the_shells_variables_for_psql_do_not_keep_up_from_the_embedded_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The login was sent to the address of another server."""
    monkeypatch.setenv("PGTZ", "Mars/Olympus")
    monkeypatch.setenv("PGHOSTADDR", "127.0.0.2")
    home = Home(tmp_path / "home")
    with false_postgres(CLEARTEXT) as false:
        _left_by_up(home, false)
        assert not EmbeddedPostgres(home).answers()
    assert b"fraudstream" in false.heard
    assert b"Mars" not in false.heard
