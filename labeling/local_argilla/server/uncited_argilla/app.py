# mypy: ignore-errors
# (argilla-server is installed only in the server's own environment, so its types cannot be seen here.)
"""Argilla's application, with the parts replaced that would need other servers. The order of imports matters."""

import os

from . import background_jobs

_HAS_REDIS = "ARGILLA_REDIS_URL" in os.environ
if not _HAS_REDIS:
    background_jobs.replace_redis()

from argilla_server._app import app  # noqa: E402

from . import engine, speed  # noqa: E402, F401 - importing the engine registers it

speed.apply()
if not _HAS_REDIS:
    background_jobs.run_in_process()

__all__ = ["app"]
