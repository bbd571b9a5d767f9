"""The registry of domains; their data is in the modules ``domains_<theme>.py``."""

from finetune.tasks.sql.rows import (
    domains_culture,
    domains_health,
    domains_industry,
    domains_leisure,
    domains_nature,
    domains_public,
    domains_transport,
    domains_work,
)
from finetune.tasks.sql.rows.schema import Domain

THEMES = (
    domains_health,
    domains_nature,
    domains_industry,
    domains_transport,
    domains_culture,
    domains_leisure,
    domains_public,
    domains_work,
)

REGISTRY: dict[str, Domain] = {domain.name: domain for theme in THEMES for domain in theme.DOMAINS}
