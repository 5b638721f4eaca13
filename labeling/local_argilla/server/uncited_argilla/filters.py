# mypy: ignore-errors
# (argilla-server is installed only in the server's own environment, so its types cannot be seen here.)
# ruff: noqa: ANN001
"""Argilla's filters and sort orders as SQL over the server's own tables; `r` is the record at hand.

As in Elasticsearch: a list matches if any of its elements does, a filter value is a string that also means the number
it spells, and a record without the value sorts last in either direction.
"""

import json
from datetime import UTC, datetime
from uuid import UUID

from argilla_server.enums import ResponseStatusFilter
from argilla_server.search_engine.base import (
    AndFilter,
    Filter,
    MetadataFilterScope,
    Order,
    RangeFilter,
    RecordFilterScope,
    ResponseFilterScope,
    SuggestionFilterScope,
    TermsFilter,
)

from .text_index import Sql

_NUMERIC_TEXT = "({value} GLOB '*[0-9]*' AND {value} NOT GLOB '*[^-+.0-9eE]*')"


def condition(filter: Filter) -> Sql:
    """Render a filter as a condition on `r`."""
    if isinstance(filter, AndFilter):
        return _joined(" AND ", [condition(part) for part in filter.filters], empty="1")
    scope = filter.scope
    if isinstance(scope, ResponseFilterScope) and not scope.question:
        return _response_status(scope, [str(value) for value in filter.values])
    if isinstance(scope, RecordFilterScope):
        return _record_property(filter)
    values = _values_of(scope)
    test = _test(filter)
    return Sql(f"EXISTS (SELECT 1 FROM {values.text} AND {test.text})", values.values + test.values)


def ordering(order: Order) -> Sql:
    """Render one sort order."""
    scope = order.scope
    descending = str(order.order) == "desc"
    direction = "DESC" if descending else "ASC"
    if isinstance(scope, RecordFilterScope):
        return Sql(f"r.{_record_column(scope.property)} {direction} NULLS LAST")
    if isinstance(scope, ResponseFilterScope) and not scope.question:
        user = Sql("") if scope.user is None else Sql(" AND p.user_id = ?", (scope.user.id.hex,))
        pick = f"SELECT {'max' if descending else 'min'}(p.status) FROM responses p WHERE p.record_id = r.id"
        return Sql(f"({pick}{user.text}) {direction} NULLS LAST", user.values)
    values = _values_of(scope)
    extreme = "max(v.value)" if descending else "min(v.value)"
    if isinstance(scope, ResponseFilterScope):
        # Numbers by their average, as in Argilla; labels have none, so by name.
        extreme = f"CASE WHEN min(v.type) IN ('integer', 'real') THEN avg(v.value) ELSE {extreme} END"
    return Sql(f"(SELECT {extreme} FROM {values.text} AND v.type <> 'null') {direction} NULLS LAST", values.values)


def json_values(column: str, name: str, rest: str = "") -> Sql:
    """Render `column` -> name -> rest as rows `v` (value, type): one for a scalar, one an element for a list.

    The name is written as JSON writes it, because that is how SQLite compares the labels of a path.
    """
    label = json.dumps(name)
    if "\\" not in label.strip('"').replace("\\u", ""):
        return Sql(f"json_each({column}, ?) v WHERE 1", (f"$.{label}{rest}",))
    # A path cannot hold a quote or a backslash.
    inner = f"json_extract(k.value, '${rest}')" if rest else "k.value"
    listed = f"CASE WHEN k.type = 'array' THEN k.value ELSE json_array({inner}) END"
    return Sql(f"json_each({column}) k, json_each({listed}) v WHERE k.key = ?", (name,))


def _values_of(scope) -> Sql:
    if isinstance(scope, MetadataFilterScope):
        return json_values("r.metadata", scope.metadata_property)
    if isinstance(scope, SuggestionFilterScope):
        prop = scope.property if scope.property in ("score", "agent", "type") else "value"
        column = f"s.{prop}" if prop in ("value", "score") else f"json_quote(s.{prop})"
        return Sql(
            f"suggestions s JOIN questions q ON q.id = s.question_id, json_each({column}) v "
            "WHERE s.record_id = r.id AND q.name = ?",
            (scope.question,),
        )
    answer = json_values('p."values"', scope.question, ".value")
    rows, where = answer.text.split(" WHERE ", 1)
    user = Sql("") if scope.user is None else Sql(" AND p.user_id = ?", (scope.user.id.hex,))
    return Sql(f"responses p, {rows} WHERE p.record_id = r.id AND {where}{user.text}", answer.values + user.values)


def _test(filter) -> Sql:
    if isinstance(filter, RangeFilter):
        return _joined(" AND ", [_bound(">=", filter.ge), _bound("<=", filter.le)], empty="1")
    texts = [str(value) for value in filter.values]
    numbers = [number for number in map(_number, texts) if number is not None]
    return _joined(
        " OR ",
        [
            Sql(f"v.type = 'text' AND v.value IN ({_marks(texts)})", tuple(texts)),
            Sql(f"v.type IN ('integer', 'real') AND v.value IN ({_marks(numbers)})", tuple(numbers)),
            Sql(f"v.type IN ('true', 'false') AND v.type IN ({_marks(texts)})", tuple(texts)),
        ],
        empty="0",
    )


def _bound(comparison: str, bound: float | str | None) -> Sql:
    if bound is None:
        return Sql("v.type <> 'null'")
    number = _number(bound)
    if number is None:
        return Sql(f"v.type = 'text' AND v.value {comparison} ?", (bound,))
    numeric = _NUMERIC_TEXT.format(value="v.value")
    is_number = f"(v.type IN ('integer', 'real') OR v.type = 'text' AND {numeric})"
    return Sql(f"{is_number} AND CAST(v.value AS REAL) {comparison} ?", (number,))


def _response_status(scope: ResponseFilterScope, statuses: list[str]) -> Sql:
    """Render a filter on response status; no status at all matches every record."""
    if not statuses:
        return Sql("1")
    user = Sql("") if scope.user is None else Sql(" AND p.user_id = ?", (scope.user.id.hex,))
    responses = f"SELECT 1 FROM responses p WHERE p.record_id = r.id{user.text}"
    answered = [status for status in statuses if status != ResponseStatusFilter.pending]
    parts = []
    if len(answered) < len(statuses):
        parts.append(Sql(f"NOT EXISTS ({responses})", user.values))
    if answered:
        parts.append(Sql(f"EXISTS ({responses} AND p.status IN ({_marks(answered)}))", (*user.values, *answered)))
    return _joined(" OR ", parts, empty="0")


def _record_property(filter) -> Sql:
    column = f"r.{_record_column(filter.scope.property)}"
    if isinstance(filter, TermsFilter):
        values = tuple(_as_stored(filter.scope.property, value) for value in filter.values)
        return Sql(f"{column} IN ({_marks(values)})", values)
    bounds = [(">=", filter.ge), ("<=", filter.le)]
    parts = [
        Sql(f"{column} {comparison} ?", (_as_stored(filter.scope.property, bound),))
        for comparison, bound in bounds
        if bound is not None
    ]
    return _joined(" AND ", parts, empty="1")


def _record_column(name: str) -> str:
    name = str(name)
    if name not in ("id", "external_id", "inserted_at", "updated_at", "status"):
        raise ValueError(f"Cannot process request for record property {name}")
    return name


def _as_stored(prop: str, value: float | str) -> str:
    """Write a value as the server's SQLite has it: identifiers without dashes, times as text in UTC."""
    text = str(value)
    try:
        if prop == "id":
            return UUID(text).hex
        if prop in ("inserted_at", "updated_at"):
            number = _number(value)
            moment = datetime.fromisoformat(text) if number is None else datetime.fromtimestamp(number / 1000, UTC)
            moment = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
            return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
    except ValueError:
        return text
    return text


def _number(value: float | str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _marks(values) -> str:
    return ", ".join("?" * len(values))


def _joined(operator: str, parts: list[Sql], empty: str) -> Sql:
    if not parts:
        return Sql(empty)
    text = operator.join(f"({part.text})" for part in parts)
    return Sql(f"({text})", tuple(value for part in parts for value in part.values))
