"""The registry of models: a table, which all processes share already and which backups include.

A model is a manifest (what it is and how it was evaluated) and an artifact (its files, packed). The
artifact's sha256 is checked before anything else is done with the bytes.
At most one model is champion, the one that scores; a partial unique index ensures that.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.json import Jsonb

from fraudstream.errors import InputError, ModelAltered
from fraudstream.model import manifest as manifests
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import Connection, connected
from fraudstream.store.rows import columns

if TYPE_CHECKING:
    from fraudstream.model.artifact import Model


class Status(StrEnum):
    """A model's role."""

    CANDIDATE = "candidate"
    """Trained, never promoted."""
    CHAMPION = "champion"
    """The one that scores."""
    RETIRED = "retired"
    """A former champion, replaced by a promotion: rollback restores the latest of these."""
    ROLLED_BACK = "rolled_back"
    """A former champion, removed by a rollback: rollback skips it, promote can restore it."""

    @property
    def words(self) -> str:
        """For people: `rolled back`."""
        return self.value.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Registered:
    """A model in the registry, without its artifact."""

    version: str
    status: Status
    created_at: datetime
    promoted_at: datetime | None
    algorithm: str
    manifest: dict[str, Any]
    sha256: str
    """Checksum of the artifact."""
    trouble: str = ""
    """Why its manifest, then empty, cannot be read, in a sentence."""


RESTORE = "Train the model again, or restore shop.models from a backup."

_COLUMNS = columns(Registered)

_REGISTER = f"""
insert into shop.models (version, status, algorithm, manifest, artifact, sha256)
values (%s, 'candidate', %s, %s, %s, %s) returning {_COLUMNS}"""  # noqa: S608 - a constant of this module

_PROMOTE = f"""
with stepped_down as (
  update shop.models set status = 'retired' where status = 'champion' and version <> %(version)s returning 1
)
update shop.models set status = 'champion', promoted_at = clock_timestamp()
-- counting makes the statement retire the old champion first: the index never allows two
where version = %(version)s and (select count(*) from stepped_down) >= 0
returning {_COLUMNS}"""  # noqa: S608 - a constant of this module

_ROLLBACK = f"""
with previous as (
  select version from shop.models where status = 'retired' order by promoted_at desc limit 1
), stepped_down as (
  update shop.models set status = 'rolled_back'
  where status = 'champion' and exists (select from previous) returning 1
)
update shop.models set status = 'champion'
where version = (select version from previous) and (select count(*) from stepped_down) >= 0
returning {_COLUMNS}"""  # noqa: S608 - a constant of this module


def register(postgres: PostgresSettings, manifest: Mapping[str, Any], artifact: bytes) -> Registered:
    """Add a model as a candidate; creates the tables if there are none.

    `manifest` has at least `version` and `algorithm`, and is JSON. Raises InputError if it is not,
    if the version exists (nothing is overwritten), or if PostgreSQL cannot store the artifact.
    """
    # Spark's workers read models, too: SQLAlchemy, which only migrating needs, would take a sixth of their start.
    from fraudstream.store.migrate import migrate

    _check(manifest, artifact)
    migrate(postgres)
    with connected(postgres) as connection:
        try:
            found = connection.execute(
                _REGISTER.encode(),
                (
                    manifest["version"],
                    manifest["algorithm"],
                    Jsonb(dict(manifest)),
                    artifact,
                    hashlib.sha256(artifact).hexdigest(),
                ),
                binary=True,
            ).fetchone()
        except psycopg.errors.UniqueViolation:
            raise InputError(
                f"There is already a model {manifest['version']}; nothing was changed.",
                hint="Give the new one another version.",
            ) from None
    return _model(found)


MOST_BYTES = (1 << 30) - (1 << 20)
"""PostgreSQL's limit for a value is a gigabyte; a little is left for the protocol."""


def _check(manifest: Mapping[str, Any], artifact: bytes) -> None:
    for name in ("version", "algorithm"):
        if not isinstance(manifest.get(name), str) or not manifest[name]:
            raise InputError(f"The model's manifest has no {name}.", hint=manifests.AGAIN)
    if not _is_json(manifest):
        raise InputError(
            "The model's manifest is not JSON that PostgreSQL can store: it has a NaN, an infinity, a NUL or an object"
            " of Python.",
            hint="Leave that figure out of the manifest.",
        )
    if len(artifact) > MOST_BYTES:
        raise InputError(
            f"The model has {len(artifact):,} bytes; the registry's limit is {MOST_BYTES:,}.",
            hint="Train with fewer or smaller trees, or keep it as files: `fraudstream train --output DIR`.",
        )


def _is_json(value: object) -> bool:
    """Whether jsonb can store it."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        return False
    return b"\\u0000" not in text


def models(postgres: PostgresSettings) -> list[Registered]:
    """Every model, the newest first."""
    with connected(postgres) as connection:
        found = connection.execute(
            f"select {_COLUMNS} from shop.models order by created_at desc, version desc"  # noqa: S608
        ).fetchall()
    return [_model(row) for row in found]


def get(postgres: PostgresSettings, version: str | None = None) -> Registered:
    """A model; without a version, the champion. Raises InputError if there is none."""
    with connected(postgres) as connection:
        found = _one(connection, _COLUMNS, version)
    return _model(found)


def find(postgres: PostgresSettings, version: str | None = None) -> Registered | None:
    """Like `get`, but None if there is none."""
    with connected(postgres) as connection:
        found = _row(connection, _COLUMNS, version)
    return None if found is None else _model(found)


def champion(postgres: PostgresSettings) -> tuple[str, str] | None:
    """The champion's version, and a mark that changes whenever its row is written; None if none was promoted yet.

    For frequent polling.
    """
    query = "select version, xmin::text from shop.models where status = 'champion'"
    with connected(postgres, brief=True) as connection:
        return connection.execute(query).fetchone()


def load(postgres: PostgresSettings, version: str | None = None) -> tuple[Registered, bytes]:
    """A model with its artifact, whose sha256 was checked; without a version, the champion.

    Raises InputError if there is none, DatabaseError if the bytes are not those that were registered.
    """
    with connected(postgres) as connection:
        return load_on(connection, version)


def load_on(connection: Connection, version: str | None = None) -> tuple[Registered, bytes]:
    """The same on the caller's connection."""
    *fields, artifact = _one(connection, f"{_COLUMNS}, artifact", version)
    model, packed = _model(tuple(fields)), bytes(artifact)
    if hashlib.sha256(packed).hexdigest() != model.sha256:
        raise ModelAltered(
            f"The artifact of model {model.version} was altered: its sha256 is not the one recorded. It was not opened.",
            hint=RESTORE,
        )
    return model, packed


def opened(postgres: PostgresSettings, version: str | None = None) -> "Model":
    """A model of the registry, ready to use; without a version, the champion. Nothing is unpickled.

    Raises like `load`, and InputError if this version cannot use it.
    """
    with connected(postgres) as connection:
        return opened_on(connection, version)


def opened_on(connection: Connection, version: str | None = None) -> "Model":
    """The same on the caller's connection."""
    from fraudstream.model import packing

    registered, packed = load_on(connection, version)
    return packing.unpack(packed, f"model {registered.version} in the registry")


def promote(postgres: PostgresSettings, version: str) -> Registered:
    """Make this model the champion and retire the previous one. Raises InputError for an unknown version."""
    with connected(postgres) as connection:
        found = _changed(connection, _PROMOTE, {"version": version})
        if found is None:
            raise _unknown(connection, version)
    return _model(found)


def rollback(postgres: PostgresSettings) -> Registered:
    """Restore the previous champion; calling it again goes back one further.

    Nothing is changed if that one cannot be opened: a rollback must not make things worse. Raises InputError if there
    was none before, and like `opened` and `Model.scorer`.
    """
    with connected(postgres) as connection:
        found = _changed(connection, _ROLLBACK, {})
        if found is not None:
            opened_on(connection, _model(found).version).scorer()
    if found is None:
        raise InputError(
            "There is no previous champion to restore.",
            hint="`fraudstream models list` shows what can be promoted.",
        )
    return _model(found)


def _changed(connection: Connection, statement: str, parameters: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Run the statement, one process at a time: two at once would each replace the same champion."""
    connection.execute("lock table shop.models in share row exclusive mode")
    return connection.execute(statement.encode(), parameters).fetchone()


def _row(connection: Connection, wanted: str, version: str | None) -> tuple[Any, ...] | None:
    where, parameters = ("status = 'champion'", ()) if version is None else ("version = %s", (version,))
    query = f"select {wanted} from shop.models where {where}"  # noqa: S608 - constants of this module
    return connection.execute(query.encode(), parameters, binary=True).fetchone()


def _one(connection: Connection, wanted: str, version: str | None) -> tuple[Any, ...]:
    found = _row(connection, wanted, version)
    if found is not None:
        return found
    if version is None:
        raise InputError(
            "No model is champion yet.",
            hint="Train one with `fraudstream train`, whose first model becomes champion, or `fraudstream models promote VERSION`.",
        )
    raise _unknown(connection, version)


def _unknown(connection: Connection, version: str) -> InputError:
    found = connection.execute("select version from shop.models order by created_at desc limit 5").fetchall()
    known = ", ".join(name for (name,) in found)
    return InputError(
        f"There is no model {version!r}.",
        hint=f"The newest are {known}."
        if known
        else "There are none yet: train one with `fraudstream train`.",
    )


def _model(row: tuple[Any, ...] | None) -> Registered:
    assert row is not None, "a statement that returns its row"  # noqa: S101 - narrows the type
    version, status, created_at, promoted_at, algorithm, found, sha256 = row
    known, trouble = {}, ""
    try:
        known = manifests.checked(found, f"model {version} in the registry")
    except InputError as error:
        trouble = error.message
    return Registered(version, Status(status), created_at, promoted_at, algorithm, known, sha256, trouble)
