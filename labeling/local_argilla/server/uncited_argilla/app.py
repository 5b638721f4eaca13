# mypy: ignore-errors
# (argilla-server is installed only in the server's own environment, so its types cannot be seen here.)
"""Argilla's application, with the parts replaced that would need other servers. The order of imports matters."""

import os

from . import background_jobs

_HAS_REDIS = "ARGILLA_REDIS_URL" in os.environ
if _HAS_REDIS:
    background_jobs.check_redis()
else:
    background_jobs.replace_redis()

from argilla_server._app import app  # noqa: E402
from argilla_server.models import Vector  # noqa: E402

from . import engine, speed  # noqa: E402, F401 - importing the engine registers it

speed.apply()
# Argilla 2.8 answers 500 to the "Find similar" of its own page: it sends vectors without having loaded their names.
_names = Vector.__mapper__.get_property("vector_settings")
_names.lazy, _names.strategy_key = "selectin", (("lazy", "selectin"),)
if not _HAS_REDIS:
    background_jobs.run_in_process()

__all__ = ["app"]
