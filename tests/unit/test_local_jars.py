"""The jar cache, without fetching: what is complete, what is spoilt, and what Ivy is asked for."""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from psutil import Process

from another_user import closed, without_rights
from fraudstream.errors import JarsMissing, ServiceError
from fraudstream.local import jars, proxy
from fraudstream.local.jars import JarSet
from fraudstream.settings import Settings


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> JarSet:
    """A set of two small files."""
    sums = {f"{name}.jar": hashlib.sha256(name.encode()).hexdigest() for name in ("a", "b")}
    monkeypatch.setattr(jars, "_pins", lambda: {"small-1": sums})
    return JarSet("small-1", "two small files", ())


def fill(directory: Path) -> Path:
    directory.mkdir()
    for name in ("a", "b"):
        (directory / f"{name}.jar").write_text(name)
    return directory


def test_a_complete_cache_is_taken(tmp_path: Path, wanted: JarSet) -> None:
    assert jars.complaint(wanted, fill(tmp_path / "jars")) is None


def test_a_cache_that_does_not_exist_is_said(tmp_path: Path, wanted: JarSet) -> None:
    assert "does not exist" in (jars.complaint(wanted, tmp_path / "jars") or "")


def test_a_cache_that_may_not_be_entered_is_a_sentence_with_the_next_step(
    tmp_path: Path, wanted: JarSet
) -> None:
    """It was called a bug in fraudstream."""
    place = tmp_path / "closed"
    with closed(place):
        assert "cannot be read: Permission denied" in (jars.complaint(wanted, place / wanted.name) or "")
        with pytest.raises(ServiceError, match=f"{place} cannot be used: Permission denied") as caught:
            jars.ensure(wanted, Settings(jars=place))
    assert "FRAUDSTREAM_JARS" in caught.value.hint


def test_a_cache_that_may_not_be_written_is_a_sentence_with_the_next_step(wanted: JarSet) -> None:
    """Its lock is there already, from when it could be written."""
    with tempfile.TemporaryDirectory() as place:
        lock = Path(place) / f".{wanted.name}.lock"
        lock.touch()
        lock.chmod(0o666)
        Path(place).chmod(0o555)
        with (
            without_rights(),
            pytest.raises(ServiceError, match=f"{place} cannot be used: Permission denied") as caught,
        ):
            jars.ensure(wanted, Settings(jars=Path(place)))
    assert "FRAUDSTREAM_JARS" in caught.value.hint


@pytest.mark.parametrize("sign", ":,#?*[]{}")
def test_a_cache_whose_path_java_or_spark_would_read_as_something_else_is_refused(
    sign: str, tmp_path: Path, wanted: JarSet
) -> None:
    """A colon separates the parts of a class path: Kafka ended while starting, and the advice was to delete all data."""
    place = tmp_path / f"ours{sign}theirs"
    place.mkdir()
    fill(place / wanted.name)
    with pytest.raises(ServiceError, match=re.escape(f"contains {sign!r}")) as caught:
        jars.ensure(wanted, Settings(jars=place))
    assert "FRAUDSTREAM_JARS" in caught.value.hint


def test_a_missing_jar_is_noticed(tmp_path: Path, wanted: JarSet) -> None:
    directory = fill(tmp_path / "jars")
    (directory / "a.jar").unlink()
    assert "exactly the jars" in (jars.complaint(wanted, directory) or "")


def test_a_jar_too_many_is_noticed(tmp_path: Path, wanted: JarSet) -> None:
    """Whatever lies there lands on the class path of the broker."""
    directory = fill(tmp_path / "jars")
    (directory / "c.jar").write_text("c")
    assert "exactly the jars" in (jars.complaint(wanted, directory) or "")


def test_a_changed_byte_is_noticed(tmp_path: Path, wanted: JarSet) -> None:
    directory = fill(tmp_path / "jars")
    (directory / "a.jar").write_text("A")
    assert "sha256 differs" in (jars.complaint(wanted, directory) or "")


def test_damage_to_a_version_without_pins_is_noticed_by_the_sums_taken_at_its_fetch(tmp_path: Path) -> None:
    unknown = JarSet("unknown-9", "a version of tomorrow", ())
    directory = fill(tmp_path / "jars")
    assert jars.complaint(unknown, directory) is not None, "no sums at all are no proof"
    sums = {name: hashlib.sha256(name[0].encode()).hexdigest() for name in ("a.jar", "b.jar")}
    (directory / "sha256.json").write_text(str(sums).replace("'", '"'))
    assert jars.complaint(unknown, directory) is None
    (directory / "b.jar").write_text("B")
    assert jars.complaint(unknown, directory) is not None


def test_a_cache_is_whole_only_with_both_sets(
    tmp_path: Path, wanted: JarSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo then says first that it fetches."""
    settings = Settings(jars=tmp_path)
    monkeypatch.setattr(jars, "kafka_set", lambda: wanted)
    assert not jars.are_cached(settings), "nothing is there"
    fill(tmp_path / wanted.name)
    assert not jars.are_cached(settings), "what connects Spark is not"
    monkeypatch.setattr(jars, "spark_set", lambda: wanted)
    assert jars.are_cached(settings)


def test_the_pins_are_those_of_the_versions_in_use() -> None:
    """A new PySpark or Kafka must come with new pins."""
    kafka, spark = jars.kafka_set(), jars.spark_set()
    assert f"kafka_{jars.SCALA}-{jars.KAFKA_VERSION}.jar" in kafka.pins
    assert f"log4j-slf4j-impl-{jars._LOG4J_VERSION}.jar" in kafka.pins
    assert f"log4j-core-{jars._LOG4J_VERSION}.jar" in kafka.pins, "binding and core are of one version"
    version = metadata.version("pyspark")
    assert f"spark-sql-kafka-0-10_{jars.SCALA}-{version}.jar" in spark.pins
    names = {re.sub(r"(_2\.13)?-[\d.]+\.jar$", "", name) for name in spark.pins}
    assert names == {
        "spark-sql-kafka-0-10",
        "spark-token-provider-kafka-0-10",
        "kafka-clients",
        "commons-pool2",
    }
    assert all(re.fullmatch("[0-9a-f]{64}", pin) for found in (kafka, spark) for pin in found.pins.values())


def test_ivy_is_asked_for_the_installed_spark_and_not_for_what_pyspark_has() -> None:
    document = ET.fromstring(jars._ivy_file(jars.spark_set()))  # noqa: S314 - our own text
    (asked,) = document.iter("dependency")
    assert asked.attrib["rev"] == metadata.version("pyspark")
    left_out = {element.attrib.get("org") for element in document.iter("exclude")}
    assert {"org.apache.hadoop", "org.scala-lang", "org.slf4j"} <= left_out


def test_ivy_is_inside_the_installed_pyspark() -> None:
    assert jars._ivy_jar().exists()


def test_ivy_is_found_in_a_pyspark_that_an_old_pip_installed(tmp_path: Path) -> None:
    """Without `wheel`, pip 23.0 of Debian 12 leaves no list of the files; and finding it imports no PySpark."""
    package = tmp_path / "pyspark"
    (package / "jars").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError")
    (package / "jars" / "ivy-2.5.3.jar").touch()
    (tmp_path / "pyspark-4.2.0.egg-info").mkdir()
    (tmp_path / "pyspark-4.2.0.egg-info" / "PKG-INFO").write_text("Name: pyspark\nVersion: 4.2.0\n")
    program = "from fraudstream.local import jars; print(jars._ivy_jar())"
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == str(package / "jars" / "ivy-2.5.3.jar")


PROXY = ["-Dhttps.proxyHost=proxy.example", "-Dhttps.proxyPort=3128"]


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any proxy, to set one in."""
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("environ", "options"),
    [
        ({}, []),
        (
            {"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": "localhost,.example.org"},
            [*PROXY, "-Dhttp.nonProxyHosts=localhost|*.localhost|*.example.org"],
        ),
        (
            {"HTTPS_PROXY": "proxy.example:3128", "NO_PROXY": "example.com"},
            [*PROXY, "-Dhttp.nonProxyHosts=example.com|*.example.com"],
        ),
        (
            {"HTTPS_PROXY": "http://ann:p%40ss@proxy.example:3128"},
            [
                *PROXY,
                "-Dhttp.proxyUser=ann",
                "-Dhttp.proxyPassword=p@ss",
                "-Djdk.http.auth.tunneling.disabledSchemes=",
            ],
        ),
    ],
)
def test_the_proxy_of_the_environment_is_told_to_java(
    proxies: pytest.MonkeyPatch, environ: dict[str, str], options: list[str]
) -> None:
    """With a scheme, without one, and with a login; who is exempt is so with all below his name, as for other programs."""
    for name, value in environ.items():
        proxies.setenv(name, value)
    assert proxy.java_options() == options


@pytest.mark.parametrize("password", ["pa/ss", "p[ss", "pa?ss", "pa#ss"])
def test_a_password_that_is_not_encoded_is_refused_and_not_shown(
    password: str, proxies: pytest.MonkeyPatch
) -> None:
    proxies.setenv("HTTPS_PROXY", f"http://ann:{password}@proxy.example:3128")
    with pytest.raises(JarsMissing, match="HTTPS_PROXY is not a URL") as caught:
        proxy.java_options()
    assert "percent-encoded" in caught.value.hint
    assert "pa" not in caught.value.message


def test_a_proxy_that_asks_for_a_login_gets_it_and_nobody_else_does(
    proxies: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A real Ivy behind a proxy that lets nobody in without; every user of a machine may read its command lines."""
    logins: list[str | None] = []
    told: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            logins.append(self.headers["Proxy-Authorization"])
            told.extend(word for child in Process().children() for word in child.cmdline())
            self.send_response(503 if logins[-1] else 407)
            self.send_header("Proxy-Authenticate", 'Basic realm="company"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        proxies.setenv("HTTPS_PROXY", f"http://ann:p%22%5C%20ss@127.0.0.1:{server.server_port}")
        wanted = JarSet("small-1", "one small file", (("org.example", "small", "1"),))
        with pytest.raises(JarsMissing):
            jars._ivy(wanted, tmp_path, tmp_path / "jars", None)
        server.shutdown()
    login = b64encode(b'ann:p"\\ ss').decode()
    assert logins[:2] == [None, f"Basic {login}"]
    assert "-jar" in told
    assert not any("Password" in word for word in told)


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        ("a\n\tHost mirror.example not found. url=x\nb", "Host mirror.example not found. url=x"),
        (":: a#b;1: not found\n", "a#b;1: not found, or its repository does not answer"),
        ("\n", "Ivy said nothing"),
        ("something new\n", "something new"),
    ],
)
def test_the_line_of_ivys_report_that_says_why_is_found(report: str, reason: str) -> None:
    assert jars._reason(report) == reason
