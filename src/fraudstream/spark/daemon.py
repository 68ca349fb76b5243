"""PySpark's daemon of Python workers, extended to import what our tasks need once, before it forks a worker.

By default each worker imports everything itself (0.6 s of CPU and 100 MB each, four of them before the first row is
stored), and PySpark ends every task with a full garbage collection of all imported objects: measured, a
sixth of a worker's time. Frozen objects are shared by the workers and skipped by the collector.
"""

import gc

import pyarrow.compute  # noqa: F401 - loaded for the workers, as are the next two
from pyspark.daemon import manager

import fraudstream.features.profiles
import fraudstream.spark.lookup
import fraudstream.spark.sink  # noqa: F401

if __name__ == "__main__":
    gc.freeze()
    # Messages are no cycles, but so many that the collector would search them a thousand times in a task; PySpark collects
    # at the end of each.
    gc.disable()
    manager()
