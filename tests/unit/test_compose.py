"""compose.yaml and the Dockerfile against the program and the images that they name, without an engine.

Whether the containers run is another matter: tests/containers/run.sh starts them.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pyspark
import pytest
import typer
import yaml

from fraudstream import __version__
from fraudstream.cli.main import app
from fraudstream.local import binaries, jars
from fraudstream.settings import Settings, described
from fraudstream.store.roles import ROLES

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("fraudstream:")}
ENDING = {"setup", "train"}
"""Services that do one thing and end."""


def environment(name: str) -> dict[str, Any]:
    return dict(SERVICES[name].get("environment", {}))


def test_every_setting_in_the_files_is_one_of_the_program() -> None:
    """A misspelt one would stop the container with a sentence; this says it sooner."""
    named = {name for service in SERVICES for name in environment(service)}
    named |= set(re.findall(r"\b(FRAUDSTREAM_[A-Z_]+)=", DOCKERFILE))
    ours = {name for name in named if name.startswith("FRAUDSTREAM_")}
    assert len(ours) > 8
    assert ours <= described().keys()


def test_the_example_of_an_override_gives_the_rules_to_whoever_reads_them() -> None:
    """`score` flags by them, and `consume` works out the reasons: without the file an alert names no rule's reason."""
    page = (ROOT / "docs/containers.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    services = yaml.safe_load(example)["services"]
    assert services.keys() <= SERVICES.keys()
    for name in ("score", "consume"):
        settings = services[name]["environment"]
        assert settings.keys() <= described().keys()
        (mounted,) = services[name]["volumes"]
        assert mounted == f"./rules.yaml:{settings['FRAUDSTREAM_SCORE__RULES']}:ro"


def health_commands() -> dict[str, list[str]]:
    """What asks over HTTP whether a service is well: by the name of the service, and of the image itself."""
    found = {name: service.get("healthcheck", {}).get("test", []) for name, service in SERVICES.items()}
    (of_image,) = re.findall(r"^HEALTHCHECK .*?CMD (\[.*?\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    found["Dockerfile"] = ["CMD", *yaml.safe_load(of_image)]
    return {name: test[1:] for name, test in found.items() if "http://" in str(test)}


@pytest.mark.parametrize("name", health_commands())
@pytest.mark.parametrize("status", [200, 503])
def test_a_look_whether_a_service_is_well_goes_past_a_proxy(name: str, status: int) -> None:
    """A company's machines have `http_proxy` set, in containers, too: no service became healthy behind one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = rf"\g<1>127.0.0.1:{server.server_port}/"
        command = [re.sub(r"(http://)[\w-]+:\d+/", here, part) for part in health_commands()[name]]
        if command[0] == "python":
            command[0] = sys.executable
        elif shutil.which("wget") is None:
            pytest.skip("no wget here")
        proxies = dict.fromkeys(("http_proxy", "all_proxy"), "http://127.0.0.1:9")
        done = subprocess.run(command, env=os.environ | proxies, check=False, timeout=60)
        server.shutdown()
    assert (done.returncode == 0) is (status == 200)


def test_what_services_leave_behind_has_an_end() -> None:
    """Docker keeps every line, a tmpfs takes half of the memory, and a Spark worker a week of what applications left."""
    for name, service in SERVICES.items():
        assert {"max-size", "max-file"} <= service["logging"]["options"].keys(), name
    for name, service in OURS.items():
        assert all("size=" in place for place in service["tmpfs"]), name
    told = environment("spark-worker")["SPARK_WORKER_OPTS"].split()
    assert "-Dspark.worker.cleanup.appDataTtl=3600" in told
    assert "-Dspark.executor.logs.rolling.maxRetainedFiles=2" in told


def test_what_sparks_master_knows_survives_its_container() -> None:
    told = environment("spark-master")["SPARK_MASTER_OPTS"].split()
    (place,) = (one.partition("recoveryDirectory=")[2] for one in told if "recoveryDirectory" in one)
    directory, _, version = place.rpartition("/")
    assert version == pyspark.__version__, "another Spark may not be able to read it"
    assert f"spark-recovery:{directory}" in SERVICES["spark-master"]["volumes"]
    assert "spark-recovery" in COMPOSE["volumes"]
    assert f"install -d -o fraudstream -m 0700 {directory}" in DOCKERFILE, "a volume takes the owner it finds"


def test_nobody_ends_a_stream_from_the_web_page_of_sparks_master() -> None:
    """It asks for no password, and a form on any web page that is open in a browser of this machine could do it."""
    assert "-Dspark.ui.killEnabled=false" in environment("spark-master")["SPARK_MASTER_OPTS"].split()


def test_every_service_of_ours_runs_a_command_that_the_program_takes() -> None:
    """Name, options and arguments are parsed by the program itself."""
    for name, service in OURS.items():
        if "entrypoint" in service:
            continue
        words = [word.replace("${PRODUCE_RATE:-100}", "100") for word in service["command"]]
        command, info = typer.main.get_command(app), words[0]
        while hasattr(command, "commands"):
            info, *words = words
            assert info in command.commands, f"{name} runs {info}"
            command = command.commands[info]
        command.make_context(info, words)


def test_spark_master_and_workers_are_started_by_what_the_package_of_spark_holds() -> None:
    scripts = Path(pyspark.__file__).with_name("bin")
    (core,) = Path(pyspark.__file__).with_name("jars").glob("spark-core_*.jar")
    with zipfile.ZipFile(core) as archive:
        classes = set(archive.namelist())
        for name in ("spark-master", "spark-worker"):
            *_, script, main = SERVICES[name]["entrypoint"]
            assert (scripts / script).exists()
            assert f"{main.replace('.', '/')}.class" in classes
        known = b"".join(
            archive.read(name)
            for name in classes
            if re.search(r"deploy/(worker|master)/\w+Arguments\.class$", name)
        )
    options = {word for name in ("spark-master", "spark-worker") for word in SERVICES[name]["command"]}
    for word in {option for option in options if option.startswith("--")} | {
        "SPARK_WORKER_CORES",
        "SPARK_WORKER_MEMORY",
    }:
        assert word.encode() in known, word


def test_the_cluster_has_cores_for_every_stream_at_once() -> None:
    """Else the last one to start waits for ever; and real-time mode holds one for each partition."""
    wanted = {name: environment(name).get("FRAUDSTREAM_SPARK__CORES_MAX", 0) for name in OURS}
    per_worker = int(re.findall(r":-(\d+)\}", environment("spark-worker")["SPARK_WORKER_CORES"])[0])
    assert sum(wanted.values()) <= SERVICES["spark-worker"]["scale"] * per_worker
    settings = Settings.model_fields
    assert settings["score"].default.overlap
    assert wanted["score"] >= 2 * settings["kafka"].default.partitions
    assert {name for name, cores in wanted.items() if cores} == {"consume", "score"}


def test_one_service_builds_the_image_and_nobody_fetches_it() -> None:
    """Built by each of eight, under one name, a first `up` failed with newer versions of Compose."""
    assert [name for name, service in SERVICES.items() if "build" in service] == ["setup"]
    assert {name for name, service in OURS.items() if service.get("pull_policy") != "never"} == {"setup"}


def test_images_are_pinned_to_the_versions_that_the_tests_run() -> None:
    """The embedded services are the same releases; our image has the version of the package."""
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{jars.KAFKA_VERSION}"
    version = binaries.version().removeprefix("PostgreSQL ")
    assert SERVICES["postgres"]["image"] == f"postgres:{version}-bookworm"
    assert {service["image"] for service in OURS.values()} == {f"fraudstream:{__version__}"}
    assert re.fullmatch(r"grafana/grafana:\d+\.\d+\.\d+", SERVICES["grafana"]["image"])
    (base,) = re.findall(r"^ARG BASE=python:(3\.\d+)\.\d+-slim-bookworm$", DOCKERFILE, re.MULTILINE)
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert f">={base}" == needed
    assert "latest" not in (ROOT / "compose.yaml").read_text() + DOCKERFILE


def test_the_variables_of_kafka_are_properties_of_the_pinned_broker(filled_cache: Path) -> None:
    """KAFKA_A_B is a.b in that image; the names are looked up in the broker's own classes."""
    found = jars.kafka_jars(Settings(_env_file=None, jars=filled_cache))
    wanted = {
        name.removeprefix("KAFKA_").lower().replace("_", ".")
        for name in environment("kafka")
        if name.startswith("KAFKA_") and name != "KAFKA_HEAP_OPTS"
    }
    assert len(wanted) > 10
    for jar in found:
        if "kafka" in jar.name and wanted:
            with zipfile.ZipFile(jar) as archive:
                for name in archive.namelist():
                    if name.endswith("Config.class") or "/server/config/" in name:
                        text = archive.read(name)
                        wanted = {prop for prop in wanted if prop.encode() not in text}
    assert not wanted


def test_postgres_keeps_its_data_where_its_image_puts_them_since_version_18() -> None:
    """Below /var/lib/postgresql/18: a volume at the older place would stay empty, and the data go with the container."""
    assert "postgres:/var/lib/postgresql" in SERVICES["postgres"]["volumes"]
    assert not any("/var/lib/postgresql/data" in volume for volume in SERVICES["postgres"]["volumes"])


def test_nothing_listens_beyond_this_machine() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == 5
    for port in published:
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z]+_PORT:-\d+\}:\d+", port), port


def test_what_is_asked_inside_a_container_is_where_its_program_listens() -> None:
    assert ":8501/" in str(SERVICES["dashboard"]["healthcheck"])
    assert SERVICES["dashboard"]["ports"][0].endswith(f":{Settings.model_fields['dashboard'].default.port}")
    for service, port in (("spark-master", 8080), ("spark-worker", 8081)):
        command = SERVICES[service]["command"]
        assert command[command.index("--webui-port") + 1] == str(port)
        assert f":{port}/json/" in str(SERVICES[service]["healthcheck"])
    (metrics,) = re.findall(r"FRAUDSTREAM_METRICS__PORT=(\d+)", DOCKERFILE)
    assert f"http://localhost:{metrics}/healthz" in DOCKERFILE


def test_every_service_is_asked_whether_it_is_well_unless_it_ends() -> None:
    """Long commands of ours by the image's own check."""
    assert "HEALTHCHECK" in DOCKERFILE
    for name, service in SERVICES.items():
        check = service.get("healthcheck", {})
        assert check.get("disable", False) == (name in ENDING), name
        if name not in OURS:
            assert check["test"][0] == "CMD", name


def test_whoever_needs_a_service_waits_until_it_is_well() -> None:
    """For health where there is a health check, for a good end where the service ends."""
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            ends = needed in ENDING
            expected = "service_completed_successfully" if ends else "service_healthy"
            assert how["condition"] == expected, f"{name} needs {needed}"
            assert ends or "test" in SERVICES[needed]["healthcheck"], f"{needed} never says that it is well"


def test_services_come_back_and_those_that_end_do_not() -> None:
    for name, service in SERVICES.items():
        assert service["restart"] == ("no" if name in ENDING else "unless-stopped"), name


def test_our_containers_can_write_nowhere_but_in_memory_and_have_no_rights() -> None:
    """But for Spark's master, which keeps what it knows."""
    for name, service in OURS.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert name == "spark-master" or "volumes" not in service, name
    assert all("no-new-privileges:true" in service["security_opt"] for service in SERVICES.values())
    assert "USER fraudstream" in DOCKERFILE


def _secrets() -> Iterator[tuple[str, str]]:
    for name in SERVICES:
        for value in environment(name).values():
            if str(value).startswith("/run/secrets/"):
                yield name, str(value).removeprefix("/run/secrets/")


def test_passwords_come_from_files_and_each_service_sees_only_its_own() -> None:
    used = set(_secrets())
    for name, service in SERVICES.items():
        given = set(service.get("secrets", ()))
        if name not in {"postgres", "spark-worker"}:  # who makes the logins, and whose tasks log in
            assert given == {secret for service, secret in used if service == name}, name
        for variable, value in environment(name).items():
            if re.search("PASSWORD|SECRET|TOKEN", variable):
                assert variable.endswith("_FILE"), f"{name} has {variable} in its environment"
                assert str(value).startswith("/run/secrets/")
    assert "secrets" not in SERVICES["produce"]


def test_without_its_settings_nothing_starts_and_the_reason_says_what_to_run() -> None:
    text = (ROOT / "compose.yaml").read_text()
    required = set(re.findall(r"\$\{([A-Z_]+):\?Run docker/make-env first\}", text))
    assert required == {"SECRETS_DIR", "KAFKA_CLUSTER_ID"}
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"${{SECRETS_DIR:?Run docker/make-env first}}/{name}"}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A place with the script that makes settings."""
    (tmp_path / "docker").mkdir()
    script = tmp_path / "docker" / "make-env"
    script.write_text((ROOT / "docker" / "make-env").read_text())
    script.chmod(0o755)
    return tmp_path


def made(clone: Path) -> dict[str, str]:
    subprocess.run([str(clone / "docker" / "make-env")], check=True, capture_output=True)
    return {path.name: path.read_text() for path in (clone / "docker" / "secrets").iterdir()}


def test_every_password_is_made_once_at_random_and_kept(clone: Path) -> None:
    secrets = made(clone)
    assert secrets.keys() == COMPOSE["secrets"].keys()
    assert len(set(secrets.values())) == len(secrets)
    assert all(re.fullmatch("[0-9a-f]{48}", secret) for secret in secrets.values())
    env = (clone / ".env").read_text()
    assert made(clone) == secrets
    assert (clone / ".env").read_text() == env


@pytest.mark.parametrize("end", ["\n", ""])
def test_settings_are_added_to_those_that_were_there(clone: Path, end: str) -> None:
    """Also where an editor left the last line without its end: it may be a password."""
    (clone / ".env").write_text(f"FRAUDSTREAM_KAFKA__PARTITIONS=8{end}")
    made(clone)
    lines = dict(line.split("=", 1) for line in (clone / ".env").read_text().splitlines())
    assert lines["FRAUDSTREAM_KAFKA__PARTITIONS"] == "8"
    assert {"SECRETS_DIR", "KAFKA_CLUSTER_ID", "COMPOSE_PROJECT_NAME"} < lines.keys()
    assert re.fullmatch("[0-9a-f]{22}", lines["KAFKA_CLUSTER_ID"])


def test_passwords_are_kept_from_other_users_from_git_and_from_images(clone: Path) -> None:
    """Containers read the files under numbers of their own; others on the machine do not pass the directory."""
    made(clone)
    assert stat.S_IMODE((clone / "docker" / "secrets").stat().st_mode) == 0o700
    assert {".env", "docker/secrets/"} <= set((ROOT / ".gitignore").read_text().split())
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert "*" in ignored
    assert {line for line in ignored if line.startswith("!")} == {
        "!pyproject.toml",
        "!README.md",
        "!LICENSE",
        "!src",
    }


def test_every_login_of_the_streams_is_made_with_the_role_of_its_work() -> None:
    script = (ROOT / "docker" / "postgres" / "logins.sh").read_text()
    (works,) = re.findall(r"for work in (.*);", script)
    assert {f"fraudstream_{work}" for work in works.split()} == {role.name for role in ROLES}
    for name in SERVICES:
        user = environment(name).get("FRAUDSTREAM_POSTGRES__USER")
        if user is not None:
            assert user in works.split(), name
            assert environment(name)["FRAUDSTREAM_POSTGRES__PASSWORD_FILE"] == f"/run/secrets/postgres_{user}"


def test_grafana_is_told_all_that_its_data_source_asks_for() -> None:
    source = (ROOT / "grafana/provisioning/datasources/postgres.yaml").read_text()
    asked = set(re.findall(r"\$\{(GF_FRAUDSTREAM_[A-Z]+)\}", source))
    told = {
        name.removesuffix("__FILE") for name in environment("grafana") if name.startswith("GF_FRAUDSTREAM_")
    }
    assert told == asked
    assert environment("grafana")["GF_FRAUDSTREAM_USER"] == "reader"
    provider = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/fraudstream.yaml").read_text())
    (path,) = [entry["options"]["path"] for entry in provider["providers"]]
    assert f"./grafana/dashboards:{path}:ro" in SERVICES["grafana"]["volumes"]
    home = environment("grafana")["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / "grafana" / "dashboards" / Path(home).name).exists()


def test_the_page_about_containers_names_what_is_there() -> None:
    """Services, images, settings and ports."""
    page = (ROOT / "docs" / "containers.md").read_text()
    table = page.split("## What runs")[1].split("\n\n")[1]
    named = {name for row in table.splitlines() for name in re.findall(r"`([a-z-]+)`", row.split("|")[1])}
    assert named == SERVICES.keys()
    for name in ("kafka", "postgres", "grafana"):
        assert SERVICES[name]["image"] in page
    assert set(re.findall(r"FRAUDSTREAM_[A-Z]+__[A-Z_]+", page)) <= described().keys()
    ports = set(re.findall(r"\$\{([A-Z]+_PORT):-", (ROOT / "compose.yaml").read_text()))
    assert ports == set(re.findall(r"`([A-Z]+_PORT)`", page))
