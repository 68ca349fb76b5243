#!/usr/bin/env bash
# Builds our image and runs compose.yaml for real, on a machine that reaches Debian's packages but no image registry.
#
#   sudo tests/containers/run.sh          everything, then stops and forgets the containers; a second run reuses the image's layers
#   sudo tests/containers/run.sh clean    also deletes the engine's data and the base image
#
# Needs root, docker.io, docker-compose and debootstrap from Debian, and 8 GB of memory. The engine listens on a socket
# of its own and keeps its data apart: an engine that runs here already does not notice. What cannot be pulled has
# stand-ins: the base image is made by debootstrap and takes the name that the Dockerfile asks for, and Kafka and
# PostgreSQL are the ones of this package behind the interface of their images (compose.proof.yaml). Grafana is left out.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
home=${FRAUDSTREAM_CONTAINERS:-/var/lib/fraudstream-containers}
export DOCKER_HOST=unix:///run/fraudstream-containers.sock COMPOSE_PROJECT_NAME=fraudstream-proof DOCKER_BUILDKIT=1
base=$(sed -n 's/^ARG BASE=//p' "$root/Dockerfile")
docker=/usr/bin/docker # Debian's: another client on the PATH may want a plugin to build
passed=0

say() { printf '\n== %s\n' "$*"; }
compose() { docker-compose --file compose.yaml --file tests/containers/compose.proof.yaml "$@"; }
psql_as() { # psql_as LOGIN SQL: one value, over TCP and with the password, as any client
  compose exec -T -e PGPASSWORD="$(cat "docker/secrets/postgres_${1/fraudstream/owner}")" postgres \
    psql -h 127.0.0.1 -U "$1" -d fraudstream -Atqc "$2"
}
check() { # check WHAT COMMAND…
  if "${@:2}" > /tmp/fraudstream-check 2>&1; then
    passed=$((passed + 1)) && echo "ok: $1"
  else
    echo "FAILED: $1" && cat /tmp/fraudstream-check && compose ps && exit 1
  fi
}
until_true() { # until_true COMMAND…: asks every three seconds for at most ten minutes
  local tries=200
  until "$@"; do
    ((tries--)) || return 1
    sleep 3
  done
}
refused() { ! "$@"; }

engine_up() {
  for program in dockerd docker-compose debootstrap; do
    command -v "$program" > /dev/null || { echo "Install docker.io, docker-compose and debootstrap first." >&2; exit 2; }
  done
  "$docker" info > /dev/null 2>&1 && return
  mkdir -p "$home"
  # No firewall rules of its own, which a container that we may be in could not set; the network works without.
  dockerd --iptables=false --ip6tables=false --storage-driver overlay2 --exec-opt native.cgroupdriver=cgroupfs \
    --data-root "$home/engine" --exec-root /run/fraudstream-containers --pidfile /run/fraudstream-containers.pid \
    --host "$DOCKER_HOST" > "$home/engine.log" 2>&1 &
  until_true "$docker" info > /dev/null 2>&1
}

engine_down() {
  [ -f /run/fraudstream-containers.pid ] || return 0
  local pid
  pid=$(cat /run/fraudstream-containers.pid)
  kill "$pid" 2> /dev/null || return 0
  while kill -0 "$pid" 2> /dev/null; do sleep 0.5; done
}

base_image() {
  "$docker" image inspect "$base" > /dev/null 2>&1 && return
  say "A base image by debootstrap, called $base"
  rm -rf "$home/base"
  debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$home/base" > "$home/debootstrap.log"
  ln -sf /usr/bin/python3 "$home/base/usr/local/bin/python"
  # Where this machine trusts authorities of its own, builds have to, too.
  cp /usr/local/share/ca-certificates/*.crt "$home/base/usr/local/share/ca-certificates/" 2> /dev/null || true
  chroot "$home/base" update-ca-certificates > /dev/null
  tar -C "$home/base" -c . | "$docker" import --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' - "$base" > /dev/null
  rm -rf "$home/base"
}

tree() { # a copy of what git would publish: neither .env nor secrets of the developer
  compose down --volumes --remove-orphans > /dev/null 2>&1 || true
  rm -rf "$home/tree" && mkdir -p "$home/tree"
  git -C "$root" ls-files --cached --others --exclude-standard -z | (cd "$root" && tar --null --ignore-failed-read -T - -c) | tar -x -C "$home/tree"
  cd "$home/tree"
}

stored() { psql_as fraudstream "select (select count(*) from shop.transactions) + (select count(*) from shop.fraud_transactions)"; }
stored_more_than() { [ "$(stored)" -gt "$1" ]; }
scored_more_than() { [ "$(psql_as reader 'select count(*) from shop.scores')" -gt "$1" ]; }
is_healthy() { [ "$("$docker" inspect --format '{{.State.Health.Status}}' "$(compose ps -q "$1")")" = healthy ]; }
caught_up() { # as many rows as messages, as every simulated message is a transaction
  local sent
  sent=$(compose exec -T kafka python -c "
from confluent_kafka import Consumer, TopicPartition
c = Consumer({'bootstrap.servers': 'localhost:9092', 'group.id': 'proof'})
print(sum(c.get_watermark_offsets(TopicPartition('transactions-data', p))[1] for p in range(4)))")
  [ "$(stored)" -eq "$sent" ]
}
ended_in_order() { # 0, or 130 as work was left; 137 is SIGKILL after the grace period
  compose stop "$1" && "$docker" inspect --format '{{.State.ExitCode}}' "$(compose ps -q "$1")" | grep -qxE '0|130'
}
no_password_is_seen() {
  local secret
  for secret in docker/secrets/*; do
    "$docker" ps -aq | xargs "$docker" inspect | grep -qF "$(cat "$secret")" && return 1
    compose logs --no-color 2> /dev/null | grep -qF "$(cat "$secret")" && return 1
  done
  return 0
}

if [ "${1:-}" = clean ]; then
  engine_down
  rm -rf "$home"
  exit 0
fi

trap 'cd "$home/tree" 2> /dev/null && compose down --volumes --remove-orphans > /dev/null 2>&1; engine_down' EXIT
engine_up
base_image
tree

say "Without its settings nothing starts"
check "compose says what to run first" bash -c "docker-compose config 2>&1 | grep -q 'Run docker/make-env first'"
docker/make-env > /dev/null

say "Our image, and the stand-ins"
"$docker" build --quiet --network host --tag "$(docker-compose config | sed -n 's/^ *image: \(fraudstream:.*\)/\1/p' | head -1)" .
for name in kafka postgres; do "$docker" build --quiet --tag "fraudstream-proof/$name" "tests/containers/$name"; done
check "the image is not root" bash -c "[ \$($docker run --rm --entrypoint id fraudstream:0.1.0 -u) = 10001 ]"
check "the image has its jars" "$docker" run --rm --network none fraudstream:0.1.0 jars fetch

say "History, then a model"
compose up -d consume
compose run --rm produce produce --days 20 --users 400 --history-only --json
check "the cluster stored all of it" until_true caught_up
compose run --rm train train --algorithm isolation_forest --json

say "Everything"
compose up -d
check "two workers joined the master" until_true bash -c "curl -sf http://127.0.0.1:8080/json/ | grep -q '\"aliveworkers\" : 2'"
check "decisions arrive" until_true scored_more_than 100
for service in kafka postgres spark-master produce consume score dashboard health; do
  check "$service is healthy" until_true is_healthy "$service"
done
check "the dashboard answers this machine" curl -sf http://127.0.0.1:8501/_stcore/health
check "Prometheus reads the figures of model and streams" compose exec -T health python -c "
import urllib.request as u
assert 'fraudstream_finding_ok{name=\"model\"} 1.0' in u.urlopen('http://localhost:9464/metrics', timeout=15).read().decode()"
check "the reader reads" psql_as reader "select count(*) from shop.hourly"
check "the reader cannot write" refused psql_as reader "delete from shop.hourly"
check "the reader sees no names" refused psql_as reader "select email from shop.transactions"
check "no password stands in a container's settings or log" no_password_is_seen

say "A worker is killed"
before=$(stored)
worker=$(compose ps -q spark-worker | sed -n 1p)
kill -9 "$("$docker" inspect --format '{{.State.Pid}}' "$worker")"
came_back() { [ "$("$docker" inspect --format '{{.RestartCount}} {{.State.Health.Status}}' "$worker")" = '1 healthy' ]; }
check "it comes back" until_true came_back
check "the stream goes on" until_true stored_more_than $((before + 1000))

say "The end"
check "produce ends in order" ended_in_order produce
check "nothing is missing and nothing is there twice" until_true caught_up
check "score ends in order" ended_in_order score
check "consume ends in order" ended_in_order consume
printf '\n%s passed, 0 failed\n' "$passed"
