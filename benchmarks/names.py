"""Which benchmarks there are; `fraudstream bench` looks here before it starts one."""

NAMES = (
    "program",
    "start",
    "produce",
    "decode",
    "consume",
    "connect",
    "profiles",
    "score",
    "inference",
    "score_file",
    "scores",
    "explain",
    "training_view",
    "detection",
    "dashboard",
    "growth",
    "soak",
    "executors",
)
"""In the order in which they run: what is quick first."""
