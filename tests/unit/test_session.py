"""What Spark is told for one machine and for a cluster, without starting it."""

from fraudstream.settings import SparkSettings
from fraudstream.spark import session


def conf(**settings: object) -> dict[str, str]:
    return session._conf(SparkSettings.model_validate(settings), [])


def test_on_one_machine_the_driver_is_on_the_loopback_address_whatever_is_set_for_a_cluster() -> None:
    told = conf(master="local[4]", driver_host="consume", cores_max=2)
    assert told["spark.driver.host"] == told["spark.driver.bindAddress"] == "127.0.0.1"
    assert "spark.cores.max" not in told


def test_on_a_cluster_spark_finds_out_where_the_driver_is_unless_it_is_set() -> None:
    told = conf(master="spark://spark-master:7077")
    assert not {"spark.driver.host", "spark.driver.bindAddress"} & told.keys()
    told = conf(
        master="spark://spark-master:7077",
        driver_host="consume.example",
        driver_bind_address="10.0.0.7",
    )
    assert told["spark.driver.host"] == "consume.example"
    assert told["spark.driver.bindAddress"] == "10.0.0.7"


def test_several_commands_share_a_cluster_when_each_has_its_share_of_the_cores() -> None:
    told = conf(master="spark://spark-master:7077", cores_max=2, executor_memory="700m")
    assert told["spark.cores.max"] == "2"
    assert told["spark.executor.memory"] == "700m"
