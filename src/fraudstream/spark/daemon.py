"""PySpark's daemon of Python workers, which loads what our tasks need once, before it forks a worker.

Left to itself each worker imports for itself (0.6 s of CPU and 100 MB each, four of them before the first row is
stored), and PySpark ends every task with a full garbage collection over all that was imported: measured, a
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
    manager()
