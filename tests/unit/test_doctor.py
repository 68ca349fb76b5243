"""What `doctor` says of servers that are not at hand."""

import pytest

from fraudstream.local import doctor


@pytest.mark.parametrize(
    ("version", "ok"), [(90_624, False), (130_021, False), (140_000, True), (180_004, True)]
)
def test_a_server_that_is_too_old_for_the_tables_is_told_before_they_are_made(version: int, ok: bool) -> None:
    """The fourth migration would fail for an operator class that PostgreSQL 13 does not have."""
    check = doctor._server("version x at db:5432", version, "UTF8")
    assert check.ok is ok
    if not ok:
        assert "14 or newer" in check.detail
        assert "Upgrade the server" in check.hint
