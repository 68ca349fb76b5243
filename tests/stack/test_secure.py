"""A broker that wants a login over TLS, a PostgreSQL that speaks nothing else: in, out, and no secret along the way."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from confluent_kafka import Producer
from pydantic import SecretStr
from pyspark.errors import StreamingQueryException

import secure_services
from certificates import Authority
from environment import without_settings
from fraudstream.errors import BrokerRefused, BrokerUnreachable
from fraudstream.kafka import admin, client_config, ensure_topic, find_topic
from fraudstream.settings import KafkaSettings, PostgresSettings, Settings
from fraudstream.spark.answers import Answers
from fraudstream.spark.consumer import Consumer
from fraudstream.spark.failures import failure_of
from fraudstream.spark.source import read_messages
from fraudstream.store.connection import connect
from fraudstream.store.migrate import migrate
from live_scorer import Topics, promote, scorer
from samples import decision, message
from secure_services import Locked
from waiting import wait_until

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.skipif(
    secure_services.tls_binaries() is None, reason="no PostgreSQL with TLS for this platform"
)


def variables(locked: Locked, **changes: object) -> dict[str, str]:
    """The environment of the user who gets in, with some settings changed."""
    return (
        without_settings()
        | locked.environment
        | {f"FRAUDSTREAM_{name}": str(value) for name, value in changes.items()}
    )


def begin(
    locked: Locked, directory: Path, *arguments: str, without: str = "", **changes: object
) -> "subprocess.Popen[str]":
    """The real program as the user who gets in, with some settings changed or left out."""
    environment = variables(locked, **changes)
    environment.pop(f"FRAUDSTREAM_{without}", None)
    return subprocess.Popen(
        [sys.executable, "-m", "fraudstream", *arguments],
        env=environment, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def end(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Its exit code and what it said."""
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


def test_each_refusal_is_one_sentence_that_names_the_setting(locked: Locked, tmp_path: Path) -> None:
    """Wrong password, authority, name, protocol and certificate: exit code 1 and what to change, of Kafka and of PostgreSQL."""
    stranger = Authority(tmp_path, "stranger").certificate
    kafka = ("produce", "--count", "1", "--json")
    postgres = ("models", "list", "--json")
    quick = {"KAFKA__TIMEOUT_SECONDS": 2}
    by_address = locked.login.replace("localhost", "127.0.0.1")
    cases: list[tuple[tuple[str, ...], dict[str, Any], str, str, str]] = [
        (kafka, {"KAFKA__SASL_PASSWORD": "wrong"}, "KAFKA__SASL_PASSWORD_FILE", "rejected the login of stream", "SASL_PASSWORD"),
        (kafka, {"KAFKA__SASL_MECHANISM": "PLAIN"}, "", "mechanisms: SCRAM-SHA", "SASL_MECHANISM"),
        (kafka, {"KAFKA__SSL_CA_FILE": stranger}, "", "unable to get local issuer certificate", "KAFKA__SSL_CA_FILE"),
        (kafka, {"KAFKA__BOOTSTRAP_SERVERS": by_address}, "", "not valid for '127.0.0.1'", "KAFKA__BOOTSTRAP_SERVERS"),
        (kafka, {"KAFKA__SECURITY_PROTOCOL": "PLAINTEXT"}, "", "speaks TLS", "KAFKA__SECURITY_PROTOCOL"),
        (
            kafka, {"KAFKA__BOOTSTRAP_SERVERS": locked.mutual, "KAFKA__SECURITY_PROTOCOL": "SSL"}, "",
            "did not accept our certificate", "SSL_CERTIFICATE_FILE",
        ),
        (postgres, {"POSTGRES__PASSWORD": "wrong"}, "POSTGRES__PASSWORD_FILE", "password authentication failed", "POSTGRES__USER"),
        (postgres, {"POSTGRES__SSLROOTCERT": stranger}, "", "certificate verify failed", "SSLROOTCERT"),
        (postgres, {"POSTGRES__HOST": "127.0.0.1"}, "", 'does not match host name "127.0.0.1"', "POSTGRES__HOST"),
        (postgres, {"POSTGRES__SSLMODE": "disable"}, "", "no encryption", "POSTGRES__SSLMODE"),
    ]  # fmt: skip
    begun = [begin(locked, tmp_path, *case[0], without=case[2], **quick, **case[1]) for case in cases]
    for (_, changes, _, sentence, setting), process in zip(cases, begun, strict=True):
        code, out, err = end(process)
        assert (code, err) == (1, ""), f"{changes}: {out}{err}"
        error = json.loads(out)["error"]
        assert sentence in error["message"], changes
        assert setting in error["hint"], changes
        assert "wrong" not in error["message"]


def test_an_unreadable_certificate_is_one_sentence(locked: Locked, tmp_path: Path) -> None:
    """A missing file, one that is no PEM, and a key whose password is another: the settings are wrong, exit code 2."""
    own = {"KAFKA__SSL_CERTIFICATE_FILE": locked.client.certificate, "KAFKA__SSL_KEY_FILE": locked.client.key}
    (tmp_path / "text.pem").write_text("no certificate")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"KAFKA__SSL_CA_FILE": tmp_path / "none.pem"}, "none.pem cannot be read as PEM: No such file"),
        (
            {"KAFKA__SSL_CA_FILE": tmp_path / "text.pem"},
            "text.pem cannot be read as PEM: it has no PEM block",
        ),
        ({**own, "KAFKA__SSL_KEY_PASSWORD": "wrong"}, "Kafka's client rejects these settings"),
    ]
    begun = [begin(locked, tmp_path, "produce", "--count", "1", "--json", **changes) for changes, _ in cases]
    again: dict[str, Any] = {**own, "KAFKA__SSL_KEY_PASSWORD": "wrong"}
    cases.append((again, "Kafka's client rejects these settings"))
    begun.append(begin(locked, tmp_path, "rejected", "replay", "--json", **again))
    for (changes, sentence), process in zip(cases, begun, strict=True):
        code, out, _err = end(process)
        assert code == 2, f"{changes}: {out}"
        assert sentence in json.loads(out)["error"]["message"]


def stored(locked: Locked) -> int:
    """Rows in shop.transactions and shop.fraud_transactions, read over TLS."""
    with connect(reach(locked)) as connection:
        row = connection.execute(
            "select (select count(*) from shop.transactions) + (select count(*) from shop.fraud_transactions)"
        ).fetchone()
    assert row is not None
    return int(row[0])


def reach(locked: Locked) -> PostgresSettings:
    """The locked PostgreSQL, for this process."""
    return PostgresSettings(**locked.section("POSTGRES"))


def settings_of(kafka: KafkaSettings, locked: Locked) -> Settings:
    """This broker and the locked PostgreSQL."""
    return Settings(_env_file=None, kafka=kafka, postgres=reach(locked))


def test_client_certificates_let_both_kafka_clients_in(
    locked: Locked, tmp_path: Path, spark: "SparkSession"
) -> None:
    """`produce` by librdkafka and the stream by Java, with the same PEM files and a key that has a password."""
    kafka = locked.by_certificate.model_copy(update={"transactions_topic": "mutual"})
    flags = {
        f"KAFKA__{name.upper()}": value for name, value in kafka.model_dump(exclude_defaults=True).items()
    }
    flags["KAFKA__SSL_KEY_PASSWORD"] = locked.key_password
    code, out, err = end(begin(locked, tmp_path, "produce", "--count", "50", "--rate", "max", **flags))
    assert code == 0, out + err
    consumer = Consumer(spark, settings_of(kafka, locked))
    summary = consumer.run(("fraud", "transactions"), once=True, stop=threading.Event())
    assert summary.rows == 50


def test_the_stream_is_refused_with_the_same_sentences(
    locked: Locked, tmp_path: Path, spark: "SparkSession"
) -> None:
    """`consume` by librdkafka before it starts, and by Java where a password was changed since."""
    good = KafkaSettings(**locked.section("KAFKA"), transactions_topic="refused")
    # A refusal is looked for when the time is up.
    quick = good.model_copy(update={"timeout_seconds": 2})
    stranger = Authority(tmp_path, "stranger").certificate
    wrong = quick.model_copy(update={"sasl_password": SecretStr("wrong"), "sasl_password_file": None})
    for kafka, sentence in (
        (wrong, "rejected the login of stream"),
        (quick.model_copy(update={"ssl_ca_file": stranger}), "unable to get local issuer certificate"),
        (
            quick.model_copy(update={"bootstrap_servers": locked.login.replace("localhost", "127.0.0.1")}),
            "not valid for '127.0.0.1'",
        ),
    ):
        with pytest.raises(BrokerRefused, match=sentence):
            Consumer(spark, settings_of(kafka, locked)).run(
                ("transactions",), once=True, stop=threading.Event()
            )
    messages = read_messages(spark, wrong, ensure_topic(good, "refused", 1), {0: 0}, 10)
    query = messages.writeStream.format("noop").option("checkpointLocation", str(tmp_path / "c")).start()
    with pytest.raises(StreamingQueryException):
        query.awaitTermination(120)
    failure = failure_of(query)
    assert failure is not None
    assert "rejected Spark's client: Authentication failed" in failure.message
    assert "SASL" in failure.hint


def test_a_password_that_was_changed_in_its_file_lets_a_stream_begin_again(
    locked: Locked, tmp_path: Path, spark: "SparkSession"
) -> None:
    """Without a new start of the command, whose first client keeps the password that it was made with."""
    file = tmp_path / "password"
    file.write_text("before")
    kafka = KafkaSettings(
        **locked.section("KAFKA") | {"sasl_password_file": str(file)},
        transactions_topic="rotated",
        timeout_seconds=5,
    )
    consumer = Consumer(spark, settings_of(kafka, locked))
    file.write_text(locked.password)
    ensure_topic(kafka, "rotated", 1)
    producer = Producer(client_config(kafka) | {"log_level": "0"})
    producer.produce("rotated", message(transaction_id="t"))
    assert producer.flush(30) == 0
    summary = consumer.run(("transactions",), once=True, stop=threading.Event())
    assert (summary.rows, summary.restarts) == (1, 1)


def cut(port: int) -> None:
    """Break every connection of this process with this port of the machine."""
    for found in psutil.Process().net_connections("tcp"):
        if found.raddr and found.raddr.port == port:
            with suppress(OSError), socket.socket(fileno=os.dup(found.fd)) as line:
                line.shutdown(socket.SHUT_RDWR)


def test_answers_are_counted_on_after_a_password_was_changed_in_its_file(
    locked: Locked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures and metrics of a scorer stood still from the next broken connection on, though it decided."""
    monkeypatch.setattr("fraudstream.spark.answers.LOOK_SECONDS", 0.5)
    ours, file = KafkaSettings(**locked.section("KAFKA")), tmp_path / "password"
    tally = ours.model_copy(update={"sasl_username": "tally", "sasl_password_file": file})
    topic, administrator = ensure_topic(ours, "tallied", 2), admin(ours)
    producer = Producer(client_config(ours) | {"log_level": "0"})

    def let_in() -> bool:
        with suppress(BrokerUnreachable):
            return find_topic(tally, topic.name) == topic
        return False

    def change(password: str) -> None:
        secure_services.set_password(administrator, "tally", password)
        file.write_text(password)
        wait_until(let_in, "broker that knows the password")

    change("before")
    answers = Answers(tally, topic)
    try:
        for count, password in enumerate(("before", "after", "at last"), start=1):
            change(password)
            cut(int(locked.login.rpartition(":")[2]))
            producer.produce(topic.name, decision(transaction_id=password), partition=0)
            assert producer.flush(30) == 0
            wait_until(lambda c=count: answers.whole().decisions == c, "answer that is counted")  # type: ignore[misc]
    finally:
        answers.close()
    assert answers.whole().repeated == 0


PAGES = ("/api/v1/applications/{}/environment", "/api/v1/applications/{}/sql?details=true", "/environment/", "/SQL/", "/StreamingQuery/", "/jobs/", "/executors/threadDump/?executorId=driver")  # fmt: skip
"""Of Spark's web page: where settings, plans and options are shown."""


def web_page(process: psutil.Process) -> str:
    """Everything that Spark's web page of this process shows."""
    for child in process.children(recursive=True):
        for port in {c.laddr.port for c in child.net_connections("tcp") if c.status == psutil.CONN_LISTEN}:
            try:
                application = json.loads(get(port, "/api/v1/applications"))[0]["id"]
            except (OSError, ValueError, AssertionError, http.client.HTTPException):
                continue  # one of Spark's other ports
            return "\n".join(get(port, page.format(application)) for page in PAGES)
    raise AssertionError("Spark shows no web page")


def get(port: int, path: str) -> str:
    """A page of this machine."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200, f"{path}: {answer.status}"
        return answer.read().decode()


def processes(process: psutil.Process) -> tuple[list[str], list[str]]:
    """The command lines of a process and its children, and what their environments hold."""
    commands: list[str] = []
    values: list[str] = []
    for member in (process, *process.children(recursive=True)):
        try:
            commands.append(" ".join(member.cmdline()))
            values += member.environ().values()
        except psutil.NoSuchProcess:
            continue  # Spark's Python workers come and go
    return commands, values


def files_below(*directories: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file and what is in it."""
    for directory in directories:
        for path in directory.rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield path, path.read_bytes()


def test_the_road_runs_over_tls_and_leaves_no_secret_anywhere(locked: Locked, tmp_path: Path) -> None:
    """Neither in what it says, with --debug, nor in its files, its command lines, or Spark's settings, plans and web page."""
    scratch, home = tmp_path / "tmp", tmp_path / "home"
    scratch.mkdir()
    options: dict[str, Any] = {
        "HOME": home,
        "KAFKA__SSL_CERTIFICATE_FILE": locked.client.certificate,
        "KAFKA__SSL_KEY_FILE": locked.client.key,
        "KAFKA__SSL_KEY_PASSWORD": locked.key_password,
        "SPARK__UI": "true",
    }
    secrets = [locked.password, locked.key_password, locked.client.key.read_text().splitlines()[1]]
    said = []
    elsewhere: dict[str, Any] = {
        "POSTGRES__HOST": "127.0.0.1",
        "KAFKA__SSL_CA_FILE": Authority(tmp_path, "stranger").certificate,
        "KAFKA__TIMEOUT_SECONDS": 2,
    }
    commands: list[tuple[tuple[str, ...], int, dict[str, Any]]] = [
        (("produce", "--count", "200", "--rate", "max"), 0, {}),
        (("config", "show"), 0, {}),
        (("config", "show", "--json"), 0, {}),
        (("models", "list"), 1, elsewhere),  # with --debug, a traceback
        (("produce", "--count", "1"), 1, elsewhere),
    ]
    begun = [begin(locked, tmp_path, "--debug", *command, **options, **more) for command, _, more in commands]
    for (_, expected, _), process in zip(commands, begun, strict=True):
        code, out, err = end(process)
        assert code == expected, out + err
        said += [out, err]
    migrate(reach(locked))
    before = stored(locked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(scratch))
        consumer = begin(locked, tmp_path, "--debug", "consume", **options)
    try:
        deadline = time.monotonic() + 300
        while stored(locked) < before + 200:
            assert consumer.poll() is None, consumer.communicate()
            assert time.monotonic() < deadline, "the rows did not arrive"
            time.sleep(0.2)
        running = psutil.Process(consumer.pid)
        page = web_page(running)
        commands_seen, inherited = processes(running)
        left = list(files_below(scratch, home))
    finally:
        consumer.send_signal(signal.SIGTERM)
        code, out, err = end(consumer)
    assert code == 130, err
    said += [page, out, err, *commands_seen]
    left += files_below(tmp_path)
    assert any(path.name.startswith("spark-consume") for path, _ in left), "the log was looked at"
    assert "spark.redaction.regex" in page
    assert "MicroBatchScan" in page, "the page of the running query was looked at"
    with connect(reach(locked)) as connection:
        # Without what other tests sent, who give some of their payments no name.
        people = connection.execute(
            "select full_name, email from shop.transactions where full_name is not null and email is not null"
        ).fetchall()
    assert people
    # `produce` draws its customers' names in another process; nothing but the tables ever shows one.
    secrets += [text for person in people for text in person]
    for secret in secrets:
        assert not [text for text in said if secret in text]
        assert not [path for path, content in left if secret.encode() in content]
    assert locked.password not in inherited, "what came from a file stays out of every environment"


def test_the_live_scorer_answers_over_tls(locked: Locked, tmp_path: Path) -> None:
    """Both of Spark's Kafka clients, the driver's own and PostgreSQL: each with a login and a verified certificate."""
    names = {"transactions_topic": "secure-live", "scored_topic": "secure-live-scored", "partitions": 2}
    kafka = KafkaSettings(**locked.section("KAFKA"), **names)
    settings = Settings(_env_file=None, home=tmp_path, kafka=kafka, postgres=reach(locked))
    migrate(settings.postgres)
    promote(settings.postgres, "secure")
    environment = variables(locked, **{f"KAFKA__{name.upper()}": value for name, value in names.items()})
    live, log = Topics(settings), tmp_path / "log"
    live.send(200)
    with scorer(environment, log, "--from-beginning") as process:
        live.await_answers(live.sent, log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 130, log.read_text()
    live.close()
    assert json.loads(log.with_suffix(".json").read_text())["partitions"] == 2
    assert locked.password not in log.read_text()
