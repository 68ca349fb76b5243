"""The embedded services: real Apache Kafka and PostgreSQL on this machine, without containers.

`services` has what other rooms call: `up`, `down`, `status`, `reset`. `jars` and `java` also serve Spark.
"""
