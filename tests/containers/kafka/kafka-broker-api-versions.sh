#!/bin/bash
# Asks the broker what it is, as the script of this name does: `--bootstrap-server HOST:PORT`.
exec python -c '
import sys
from confluent_kafka.admin import AdminClient
AdminClient({"bootstrap.servers": sys.argv[2]}).list_topics(timeout=8)
' "$@"
