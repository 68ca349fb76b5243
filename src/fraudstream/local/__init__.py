"""The embedded services: real Apache Kafka and PostgreSQL on this machine, without containers.

`services` has what other packages call: `up`, `down`, `status`, `reset`. `jars` and `java` are also for Spark.
"""
