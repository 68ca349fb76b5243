"""The system user that PostgreSQL runs as where fraudstream is run by root."""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import pytest

from fraudstream.errors import ServiceError
from fraudstream.local import users

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a system user")


@pytest.fixture
def name() -> Iterator[str]:
    """Of a user that nobody has yet."""
    name = f"fraudstream-{token_hex(4)}"
    yield name
    subprocess.run(["userdel", name], check=True, capture_output=True)


def test_commands_at_once_on_a_new_machine_agree_on_the_user(name: str) -> None:
    """Left alone, each `useradd` writes the entry anew with another number, and who was first loses its files."""
    program = "import sys; from pathlib import Path; from fraudstream.local import users\n"
    program += "users.SYSTEM_USER = sys.argv[1]; print('ready', flush=True); input()\n"
    program += "print(users.service_user(Path('/nonexistent')).pw_uid)"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    commands = [subprocess.Popen([sys.executable, "-c", program, name], **pipes) for _ in range(8)]  # type: ignore[call-overload]
    for command in commands:
        assert command.stdout.readline() == "ready\n"
    for command in commands:
        command.stdin.write("\n")
        command.stdin.flush()
    told = {int(command.communicate()[0]) for command in commands}
    assert told == {pwd.getpwnam(name).pw_uid}


def test_a_machine_that_takes_no_user_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only container, for example: the hint must not send people to another home."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(users, "OUTSIDE", tmp_path / "file" / "fraudstream")
    monkeypatch.setattr(users, "SYSTEM_USER", "fraudstream-nobody")
    with pytest.raises(
        ServiceError, match=r"fraudstream-nobody could not be created: .*Not a directory"
    ) as refused:
        users.service_user(Path("/nonexistent"))
    assert "adduser" in str(refused.value.hint)
