"""The format of `log_format` once more, as the validator reads it three times as fast.

Two things cost the models most of their time: to make an object of every chunk, and to look through every long text for
a NUL or anything but white space by a regular expression. Here a chunk is a dict, and long texts are looked at by
`read_plain`. What it does not take is not wrong; the models then say what it is.
"""

import functools
from typing import Any

from pydantic import ValidationError
from pydantic_core import CoreSchema, SchemaValidator

from mining.log_format import MAX_QUERY, LoggedInteraction

_NUL = rb"\u0000"  # as JSON writes it; no line that is text holds it in another way


def read_plain(content: bytes) -> dict[str, Any] | None:
    """Return the fields of a line, keys beyond the format among them, and None for those left out.

    None: the line is wrong, or it needs a closer look.
    """
    if b"\\" in content and _NUL in content:
        return None
    try:
        line: dict[str, Any] = _validator().validate_json(content)
    except ValidationError:
        return None
    for text in (line["query"], *[chunk["text"] for chunk in line["retrieved"]]):
        if text is not None and (not text or text.isspace()):
            return None
    return line


@functools.cache
def _validator() -> SchemaValidator:
    return SchemaValidator(_as_dicts(LoggedInteraction.__pydantic_core_schema__))


def _as_dicts(schema: CoreSchema) -> Any:  # noqa: ANN401 (a schema is a dict of one of fifty shapes)
    """Return the schema of a model as one that makes dicts and does not look through long texts."""
    changed: dict[str, Any] = dict(schema)
    match changed["type"]:
        case "model":
            fields = {
                name: {
                    "type": "typed-dict-field",
                    "schema": _as_dicts(field["schema"]),
                    "required": field["schema"]["type"] != "default",
                }
                for name, field in changed["schema"]["fields"].items()
            }
            return {"type": "typed-dict", "fields": fields, "config": changed["config"]}
        case "list":
            changed["items_schema"] = _as_dicts(changed["items_schema"])
        case "nullable" | "default" | "function-before":
            changed["schema"] = _as_dicts(changed["schema"])
        case "str" if changed.get("max_length", 0) >= MAX_QUERY:
            del changed["pattern"]
    return changed
