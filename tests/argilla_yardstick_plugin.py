# mypy: ignore-errors
# (It runs where argilla-server is installed, so its types cannot be seen here.)
# ruff: noqa: ANN001, ANN003, ANN202
"""Put the SQLite engine where Argilla's own tests expect Elasticsearch's; see argilla_yardstick.py.

The tests write some documents straight into Elasticsearch. Here these writes go where the server would have put them:
into its database. Rows that a test made are not committed, so the engine reads through the tests' own connection.
"""

import json
import os
import sqlite3
import uuid
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

from uncited_argilla import background_jobs

background_jobs.replace_redis()

import argilla_server.search_engine  # noqa: E402
import opensearchpy  # noqa: E402
import opensearchpy.helpers  # noqa: E402
from sqlalchemy import event  # noqa: E402
from sqlalchemy.engine import Engine  # noqa: E402
from uncited_argilla import text_index  # noqa: E402
from uncited_argilla.engine import SqliteSearchEngine  # noqa: E402

_outcomes: dict[str, str] = {}


def pytest_runtest_logreport(report) -> None:
    if report.when == "call" or report.outcome != "passed":
        worst = _outcomes.get(report.nodeid)
        _outcomes[report.nodeid] = report.outcome if worst != "failed" else worst


def pytest_sessionfinish() -> None:
    Path(os.environ["YARDSTICK_OUTCOMES"]).write_text(json.dumps(_outcomes))


@event.listens_for(Engine, "connect")
def _attach_index(dbapi_connection, _record) -> None:
    dbapi_connection.execute("ATTACH ':memory:' AS search")


def _connection() -> sqlite3.Connection:
    """Return the connection of the running test, index included."""
    from tests.database import TestSession

    bound = TestSession.session_factory.kw["bind"]
    connection = bound.sync_connection.connection.driver_connection._conn
    text_index.prepare(connection)
    return connection


class _TestDatabase:
    async def read(self, dataset_id, work):
        from tests.database import TestSession

        await TestSession().flush()
        return work(_connection())

    async def write(self, work):
        return await self.read(None, work)


class _Engine(SqliteSearchEngine):
    database = _TestDatabase()
    max_result_window = number_of_shards = number_of_replicas = default_total_fields_limit = None

    def __init__(self, **_config) -> None:
        self.client = SimpleNamespace(close=self.close)

    async def _bulk_op_request(self, actions) -> None:
        """Vectors were written; they are in the database already."""
        for action in actions:
            dataset_id = uuid.UUID(action["_index"].removeprefix("rg.")).hex
            await self.database.write(lambda c, a=action, d=dataset_id: text_index.put(c, d, [a["_id"].hex]))


class _OpenSearch:
    """What the tests use of Elasticsearch's client, on the server's database."""

    def __init__(self, **_config) -> None:
        nothing = lambda **_: []  # noqa: E731
        self.cat = SimpleNamespace(indices=nothing)
        self.indices = SimpleNamespace(create=nothing, delete=nothing, refresh=nothing)

    def get(self, index: str, id: uuid.UUID) -> dict:
        """Return nothing, since what is updated is added to what is there."""
        return {"_source": {}}

    def update(self, index: str, id: uuid.UUID, body: dict) -> None:
        now = str(datetime.utcnow())
        for response in body["doc"]["responses"]:
            values = json.dumps({"rating": {"value": response["rating"]}})
            ids = [uuid.UUID(response["id"]).hex, id.hex, uuid.UUID(response["user_id"]).hex]
            _connection().execute(
                'INSERT INTO responses (id, record_id, user_id, "values", status, inserted_at, updated_at) '
                "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (record_id, user_id) DO UPDATE "
                'SET "values" = excluded."values", status = excluded.status',
                [*ids, values, response["status"], now, now],
            )


def _bulk(client: _OpenSearch, actions: list[dict]) -> None:
    """Index documents that have a text, which their records have not: give it to them first."""
    connection = _connection()
    dataset_id = uuid.UUID(actions[0]["_index"].removeprefix("rg.")).hex
    now = str(datetime.utcnow())
    connection.execute(
        "INSERT INTO fields (id, name, title, required, settings, dataset_id, inserted_at, updated_at) "
        "VALUES (?, 'text', 'text', 0, '{\"type\": \"text\"}', ?, ?, ?)",
        [uuid.uuid4().hex, dataset_id, now, now],
    )
    for action in actions:
        connection.execute(
            "UPDATE records SET fields = ? WHERE id = ?", [json.dumps(action["fields"]), action["id"].hex]
        )
    text_index.put(connection, dataset_id, [action["id"].hex for action in actions])


argilla_server.search_engine.ElasticSearchEngine = _Engine
opensearchpy.OpenSearch = _OpenSearch
opensearchpy.helpers.bulk = _bulk

if os.environ.get("YARDSTICK_SPEED_PATCH"):
    import argilla_server._app
    from uncited_argilla import speed

    assert speed.apply(), "the speed patch is for another version of argilla-server"
