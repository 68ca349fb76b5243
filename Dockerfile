# One image for everything of ours: the commands, the dashboard, and Spark's master and workers.
# Without arguments it prints the help; `docker run … produce --count 10` runs a command.

# By version, so that a build next month begins with what today's does; a mirror's name goes here, too.
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS java
# tini reaps what Spark's workers leave behind, and hands signals on.
RUN apt-get update -q \
 && apt-get install -q -y --no-install-recommends openjdk-17-jre-headless tini \
 && rm -rf /var/lib/apt/lists/*

FROM java AS build
RUN --mount=type=cache,target=/root/.cache/pip python -m venv --upgrade-deps /opt/fraudstream
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
# The dependencies alone, from the same list as the wheel: a change of our code does not fetch them again.
RUN --mount=type=cache,target=/root/.cache/pip \
  python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
  > requirements.txt && /opt/fraudstream/bin/pip install -q -r requirements.txt
COPY src src
RUN --mount=type=cache,target=/root/.cache/pip \
  /opt/fraudstream/bin/pip wheel -q --no-deps --wheel-dir /wheels . \
 && /opt/fraudstream/bin/pip install -q --no-deps /wheels/*.whl
# With their pinned sums, so that a container needs no network but its own.
RUN FRAUDSTREAM_HOME=/tmp/home FRAUDSTREAM_JARS=/opt/fraudstream/jars /opt/fraudstream/bin/fraudstream jars fetch

FROM java
# A number that no person on the host has.
RUN useradd --system --uid 10001 --home-dir /var/lib/fraudstream --create-home fraudstream \
 && install -d -o fraudstream -m 0700 /var/lib/spark-recovery
COPY --from=build /opt/fraudstream /opt/fraudstream
ENV PATH=/opt/fraudstream/bin:$PATH \
    FRAUDSTREAM_HOME=/var/lib/fraudstream \
    FRAUDSTREAM_JARS=/opt/fraudstream/jars \
    FRAUDSTREAM_METRICS__PORT=9464 \
    PYTHONUNBUFFERED=1
USER fraudstream
WORKDIR /var/lib/fraudstream
# Of the commands that run until they are stopped; starting Spark takes half a minute, on a busy machine two. No proxy is asked.
HEALTHCHECK --interval=10s --timeout=10s --start-period=120s --retries=6 \
  CMD ["python", "-c", "import urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://localhost:9464/healthz', timeout=5)"]
ENTRYPOINT ["tini", "--", "fraudstream"]
CMD ["--help"]
