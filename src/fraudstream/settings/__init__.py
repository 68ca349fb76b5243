"""All settings, once: flag > environment > `.env` > embedded services > default.

Names are `FRAUDSTREAM_` plus the path with `__` between levels, for example
`FRAUDSTREAM_KAFKA__BOOTSTRAP_SERVERS`. Inner code receives its section; only modules that
combine several services (demo, local, spark, the dashboard's shell) take the whole.
"""

from fraudstream.settings.loading import (
    ENDPOINTS,
    load,
    load_bare,
    load_model_settings,
    on_embedded,
    on_this_machine,
    parts_of_address,
)
from fraudstream.settings.sections import (
    DashboardSettings,
    KafkaSettings,
    MetricsSettings,
    ModelSettings,
    PostgresSettings,
    ProfilesBy,
    SaslMechanism,
    ScoreSettings,
    SecurityProtocol,
    SparkSettings,
    SslMode,
    bracketed,
)
from fraudstream.settings.whole import PREFIX, Described, Settings, described

__all__ = [
    "ENDPOINTS",
    "PREFIX",
    "DashboardSettings",
    "Described",
    "KafkaSettings",
    "MetricsSettings",
    "ModelSettings",
    "PostgresSettings",
    "ProfilesBy",
    "SaslMechanism",
    "ScoreSettings",
    "SecurityProtocol",
    "Settings",
    "SparkSettings",
    "SslMode",
    "bracketed",
    "described",
    "load",
    "load_bare",
    "load_model_settings",
    "on_embedded",
    "on_this_machine",
    "parts_of_address",
]
