"""Rows as lines of JSON, CSV or tab-separated values, a column at a time.

Python writes a million lines of JSON in half a minute, Arrow in seconds. JSON has the bytes that `json.dumps` gives
with `ensure_ascii=False`, so that they depend on no version of Arrow.
"""

import json
import re
from typing import TYPE_CHECKING

from train.exports.texts import each

if TYPE_CHECKING:
    import pyarrow as pa


def joined(*parts: "str | pa.Array") -> "pa.Array":
    """Join columns row by row; what is one text stands in every row.

    A batch may hold more than the 2 GB that Arrow's usual strings can address, so all become large ones.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    large = pa.large_string()
    columns = [pa.scalar(part, large) if isinstance(part, str) else part.cast(large) for part in parts]
    return pc.binary_join_element_wise(*columns, pa.scalar("", large))


def json_lines(**columns: "str | pa.Array") -> "pa.Array":
    """Make a line of each row, with its line end; the columns are JSON already, and a text is the same for all."""
    return joined(json_objects(**columns), "\n")


def json_objects(**columns: "str | pa.Array") -> "pa.Array":
    """Make an object of each row; the columns are JSON already."""
    parts: list[str | pa.Array] = []
    for number, (name, values) in enumerate(columns.items()):
        parts += [f"{', ' if number else '{'}{json.dumps(name)}: ", values]
    return joined(*parts, "}")


def json_list(lists: "pa.Array") -> "pa.Array":
    """Write each list of JSON values as one."""
    return joined("[", enumerated(lists), "]")


def enumerated(lists: "pa.Array") -> "pa.Array":
    """Write the values of each list with commas between them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    large = pa.large_string()
    return pc.binary_join(lists.cast(pa.list_(large)), pa.scalar(", ", large))


def json_number(numbers: "pa.Array") -> "pa.Array":
    """Write numbers as `json.dumps` does, and booleans as 1 and 0; lists give lists."""
    return each(numbers, _json_number)


def _json_number(numbers: "pa.Array") -> "pa.Array":
    import pyarrow as pa

    if pa.types.is_boolean(numbers.type):
        numbers = numbers.cast(pa.int8())
    if pa.types.is_integer(numbers.type):
        return numbers.cast(pa.string())
    return pa.array([json.dumps(number) for number in numbers.to_pylist()], pa.string())


def json_id(ids: "pa.Array") -> "pa.Array":
    """Write ids of the store, which are letters, digits and underscores, as strings of JSON; lists give lists."""
    return each(ids, lambda flat: joined('"', flat, '"'))


_CONTROLS = re.compile("[\x00-\x1f]")
_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def json_string(texts: "pa.Array") -> "pa.Array":
    """Write texts as strings of JSON."""
    import pyarrow.compute as pc

    for raw, escaped in _ESCAPED.items():
        texts = pc.replace_substring(texts, raw, escaped)
    left = pc.match_substring_regex(texts, _CONTROLS.pattern)
    if pc.any(left).as_py():
        found = {control for text in texts.filter(left).to_pylist() for control in _CONTROLS.findall(text)}
        for control in sorted(found):
            texts = pc.replace_substring(texts, control, json.dumps(control)[1:-1])
    return joined('"', texts, '"')


def separated(*columns: "pa.Array", by: str) -> "pa.Array":
    """Make a line of each row of fields."""
    parts: list[str | pa.Array] = []
    for number, values in enumerate(columns):
        parts += [by, values] if number else [values]
    return joined(*parts, "\n")


def csv_field(texts: "pa.Array") -> "pa.Array":
    """Write texts as fields of a CSV file, in quotation marks (RFC 4180)."""
    import pyarrow.compute as pc

    return joined('"', pc.replace_substring(texts, '"', '""'), '"')


# The tab that parts fields, and all that Python's universal newlines and str.splitlines break lines at.
_BREAKS = "[\t\n\r\x0b\x0c\x1c-\x1e\u0085\u2028\u2029]+"


def tsv_field(texts: "pa.Array") -> "pa.Array":
    """Write texts as fields of tab-separated values, which know no quoting: tabs and line breaks become a space."""
    import pyarrow.compute as pc

    return pc.replace_substring_regex(texts, _BREAKS, " ")
