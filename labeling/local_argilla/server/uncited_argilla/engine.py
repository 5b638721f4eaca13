# mypy: ignore-errors
# (argilla-server is installed only in the server's own environment, so its types cannot be seen here.)
"""A search engine for Argilla that answers from Argilla's own SQLite database.

Records, responses, suggestions, metadata and vectors are in that database already, so the hooks that keep
Elasticsearch's copy of them up to date have nothing to do here. Only text needs an index (text_index.py).
"""

import hashlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from argilla_server.enums import MetadataPropertyType, SimilarityOrder
from argilla_server.models import Dataset, MetadataProperty, Record, Response, Suggestion, User, VectorSettings
from argilla_server.search_engine.base import (
    Filter,
    FloatMetadataMetrics,
    IntegerMetadataMetrics,
    MetadataMetrics,
    Order,
    SearchEngine,
    SearchResponseItem,
    SearchResponses,
    TermsMetrics,
    TextQuery,
)
from argilla_server.settings import settings
from sqlalchemy import make_url

from . import text_index, vectors
from .database import SearchDatabase
from .filters import condition, json_values, ordering
from .text_index import Sql

NAME = "sqlite"
_PRIME = 2_147_483_647  # of the pseudo-random order; its square still fits SQLite's integers


@SearchEngine.register(engine_name=NAME)
class SqliteSearchEngine(SearchEngine):
    """One for the whole process, although Argilla asks for an instance a request."""

    database: ClassVar[SearchDatabase | None] = None

    @classmethod
    async def new_instance(cls) -> "SqliteSearchEngine":
        """Return an engine; all share their connections."""
        if cls.database is None:
            path = Path(make_url(settings.database_url).database)
            cls.database = SearchDatabase(path, path.with_name("search.db"))
        return cls()

    async def close(self) -> None:
        """Keep the connections for the next request."""

    async def ping(self) -> bool:
        """Say that the engine is there; it is wherever the server is."""
        return True

    async def info(self) -> dict:
        """Name the engine for `/api/v1/status`."""
        return {"name": NAME, "version": {"number": sqlite3.sqlite_version}}

    async def create_index(self, dataset: Dataset) -> None:
        """Make the text index of a dataset that was published."""
        await self.database.write(lambda c: text_index.create(c, dataset.id.hex))

    async def delete_index(self, dataset: Dataset) -> None:
        """Forget the texts and vectors of a dataset."""
        await self.database.write(lambda c: text_index.drop(c, dataset.id.hex))
        vectors.forget(dataset.id.hex)

    async def index_records(self, dataset: Dataset, records: Iterable[Record]) -> None:
        """Index the texts of records that are new or have changed."""
        record_ids = [record.id.hex for record in records]
        await self.database.write(lambda c: text_index.put(c, dataset.id.hex, record_ids))

    async def delete_records(self, dataset: Dataset, records: Iterable[Record]) -> None:
        """Forget the texts of records."""
        record_ids = [record.id.hex for record in records]
        await self.database.write(lambda c: text_index.remove(c, dataset.id.hex, record_ids))

    async def configure_metadata_property(self, dataset: Dataset, metadata_property: MetadataProperty) -> None:
        """Nothing to do: filters read the records' own metadata."""

    async def partial_record_update(self, record: Record, **update: object) -> None:
        """Nothing to do: it is in the database already."""

    async def update_record_response(self, response: Response) -> None:
        """Nothing to do: it is in the database already."""

    async def delete_record_response(self, response: Response) -> None:
        """Nothing to do: it is gone from the database already."""

    async def update_record_suggestion(self, suggestion: Suggestion) -> None:
        """Nothing to do: it is in the database already."""

    async def delete_record_suggestion(self, suggestion: Suggestion) -> None:
        """Nothing to do: it is gone from the database already."""

    async def get_dataset_progress(self, dataset: Dataset) -> dict:
        """Count the records by status."""
        if dataset.is_draft:
            return {}
        query = "SELECT status, count(*) FROM records WHERE dataset_id = ? GROUP BY status"
        return await self._counts(dataset, Sql(query, (dataset.id.hex,)))

    async def get_dataset_user_progress(self, dataset: Dataset, user: User) -> dict:
        """Count the user's responses by status."""
        if dataset.is_draft:
            return {}
        query = (
            "SELECT p.status, count(*) FROM responses p JOIN records r ON r.id = p.record_id "
            "WHERE r.dataset_id = ? AND p.user_id = ? GROUP BY p.status"
        )
        return await self._counts(dataset, Sql(query, (dataset.id.hex, user.id.hex)))

    async def _counts(self, dataset: Dataset, query: Sql) -> dict:
        rows = await self.database.read(dataset.id.hex, lambda c: c.execute(query.text, query.values).fetchall())
        return {"total": sum(count for _, count in rows), **dict(rows)}

    async def search(
        self,
        dataset: Dataset,
        query: TextQuery | str | None = None,
        filter: Filter | None = None,
        sort: list[Order] | None = None,
        offset: int = 0,
        limit: int = 100,
        user_id: str | None = None,
    ) -> SearchResponses:
        """Find records; with a `user_id`, in an order that is random for each user and always the same for one."""

        def work(connection: sqlite3.Connection) -> SearchResponses:
            matching = _matching(connection, dataset, query, filter)
            order = _order(sort, by_score=query is not None, user_id=user_id)
            score = "h.score" if query is not None else "1.0"
            rows = connection.execute(
                f"SELECT r.id, {score}, count(*) OVER () FROM {matching.text} ORDER BY {order.text} LIMIT ? OFFSET ?",
                (*matching.values, *order.values, limit, offset),
            ).fetchall()
            if rows:
                total = rows[0][2]
            else:  # beyond the last page there is no row to tell it
                (total,) = connection.execute(f"SELECT count(*) FROM {matching.text}", matching.values).fetchone()
            return SearchResponses(items=[_item(record_id, points) for record_id, points, _ in rows], total=total)

        return await self.database.read(dataset.id.hex, work)

    async def similarity_search(
        self,
        dataset: Dataset,
        vector_settings: VectorSettings,
        value: list[float] | None = None,
        record: Record | None = None,
        query: TextQuery | str | None = None,
        filter: Filter | None = None,
        max_results: int = 100,
        order: SimilarityOrder = SimilarityOrder.most_similar,
        threshold: float | None = None,
    ) -> SearchResponses:
        """Find the records whose vectors are nearest to (or farthest from) a value or another record's."""
        if bool(value) == bool(record):
            raise ValueError("Must provide either vector value or record to compute the similarity search")
        value = value or record.vector_value_by_vector_settings(vector_settings)
        if not value:
            raise ValueError("Cannot find a vector value to apply with provided info")
        if order == SimilarityOrder.least_similar:
            value = [-x for x in value]

        def work(connection: sqlite3.Connection) -> SearchResponses:
            candidates = None
            if query is not None or filter is not None:
                matching = _matching(connection, dataset, query, filter)
                rows = connection.execute(f"SELECT r.id FROM {matching.text}", matching.values)
                candidates = {record_id for (record_id,) in rows}
            found = vectors.nearest(
                connection,
                dataset.id.hex,
                vector_settings.id.hex,
                value,
                candidates,
                record.id.hex if record is not None else None,
                max_results,
            )
            items = [_item(*pair) for pair in found if threshold is None or pair[1] >= threshold]
            return SearchResponses(items=items, total=len(items))

        return await self.database.read(dataset.id.hex, work)

    async def compute_metrics_for(self, metadata_property: MetadataProperty) -> MetadataMetrics:
        """Count the terms of a metadata property, or find its extremes."""
        values = json_values("r.metadata", metadata_property.name)
        rows = f"FROM records r, {values.text} AND r.dataset_id = ? AND v.type <> 'null'"
        parameters = (*values.values, metadata_property.dataset_id.hex)

        def work(connection: sqlite3.Connection) -> MetadataMetrics:
            if metadata_property.type == MetadataPropertyType.terms:
                counts = connection.execute(
                    f"SELECT CAST(v.value AS TEXT), count(*) {rows} GROUP BY 1 ORDER BY 2 DESC, 1", parameters
                ).fetchall()
                terms = [TermsMetrics.TermCount(term=term, count=count) for term, count in counts]
                return TermsMetrics(total=sum(term.count for term in terms), values=terms)
            integer = metadata_property.type == MetadataPropertyType.integer
            sql_type = "INTEGER" if integer else "REAL"
            low, high = connection.execute(
                f"SELECT min(CAST(v.value AS {sql_type})), max(CAST(v.value AS {sql_type})) {rows}", parameters
            ).fetchone()
            return (IntegerMetadataMetrics if integer else FloatMetadataMetrics)(min=low, max=high)

        return await self.database.read(metadata_property.dataset_id.hex, work)


def _matching(
    connection: sqlite3.Connection, dataset: Dataset, query: TextQuery | str | None, filter: Filter | None
) -> Sql:
    """Render what to search: records `r` of the dataset, joined with the text query's hits `h` if there is one."""
    where = Sql("r.dataset_id = ?", (dataset.id.hex,))
    if filter is not None:
        test = condition(filter)
        where = Sql(f"{where.text} AND {test.text}", where.values + test.values)
    if query is None:
        return Sql(f"records r WHERE {where.text}", where.values)
    text, field = (query, None) if isinstance(query, str) else (query.q, query.field)
    hits = text_index.hits(connection, dataset.id.hex, text, field)
    # The limit and the cross join keep SQLite from looking each record up in the text index one by one.
    joined = f"({hits.text} LIMIT -1) h CROSS JOIN records r ON r.id = h.id"
    return Sql(f"{joined} WHERE {where.text}", hits.values + where.values)


def _order(sort: list[Order] | None, by_score: bool, user_id: str | None) -> Sql:
    parts = [ordering(order) for order in sort or []]
    if by_score:
        parts.append(Sql("h.score DESC"))
    if user_id is not None:
        seed = int.from_bytes(hashlib.sha256(str(user_id).encode()).digest()[:8], "big")
        mixed = f"((r.rowid * ? + ?) % {_PRIME})"
        factors = (1 + seed % (_PRIME - 1), seed >> 33)
        parts.append(Sql(f"{mixed} * {mixed} % {_PRIME}", factors * 2))
    parts.append(Sql("r.rowid"))
    return Sql(", ".join(part.text for part in parts), tuple(v for part in parts for v in part.values))


def _item(record_id: str, score: float) -> SearchResponseItem:
    return SearchResponseItem(record_id=record_id, score=score)
