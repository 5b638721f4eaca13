"""The text in a value that tracing tools log: plain, as JSON in a string, under a usual key, or as chat messages."""

import json
from collections.abc import Mapping
from typing import Any

QUERY_KEYS = ("query", "question", "input", "user_input", "search_query", "text", "content", "prompt")
ANSWER_KEYS = ("answer", "output", "response", "result", "text", "content", "completion")
_DOCUMENT_KEYS = ("document_id", "doc_id", "ref_doc_id", "document", "source", "file_path", "url")
_DEEPEST = 8


def text_in(value: Any, keys: tuple[str, ...], depth: int = 0) -> str | None:  # noqa: ANN401 (whatever was logged)
    """Return the text that `value` holds under the first of `keys` that it has; of chat messages, the last one's.

    Returns:
        None where there is no text to be found.
    """
    if depth > _DEEPEST:
        return None
    if isinstance(value, str):
        return _in_string(value, keys) if depth == 0 else value if value.strip() else None
    if isinstance(value, list):
        return _in_list(value, keys, depth)
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("messages"), list):
        return text_in(value["messages"], keys, depth + 1)
    for key in (*keys, *(value if len(value) == 1 else ())):
        if (found := text_in(value.get(key), keys, depth + 1)) is not None:
            return found
    return None


def _in_string(value: str, keys: tuple[str, ...]) -> str | None:
    """Unpack what was logged as JSON in a string; a string within that is a text, whatever it looks like."""
    stripped = value.strip()
    if stripped[:1] in ("{", "[", '"'):
        try:
            return text_in(json.loads(stripped), keys, 1)
        except (ValueError, RecursionError):
            return value
    return value if stripped else None


def _in_list(values: list[Any], keys: tuple[str, ...], depth: int) -> str | None:
    """Of messages: the last of the user where a query is looked for, else the last; of parts of text: all."""
    if values and all(isinstance(value, dict) and value.get("type") == "text" for value in values):
        return "".join(str(value.get("text", "")) for value in values) or None
    if keys is QUERY_KEYS:
        users = [v for v in values if isinstance(v, dict) and v.get("role", v.get("type")) in ("user", "human")]
        values = users or values
    return text_in(values[-1], keys, depth + 1) if values else None


def metadata_in(value: Any) -> dict[str, Any]:  # noqa: ANN401 (whatever was logged)
    """Return metadata as a dict: it may be one, or one in JSON, or nothing."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}


def list_in(values: Mapping[str, Any], key: str, problems: list[str]) -> list[Any]:
    """Return the list under a key, empty where there is nothing; anything else there is added to the problems."""
    value = values.get(key)
    if value is None or isinstance(value, list):
        return value or []
    problems.append(f"{key} is not a list")
    return []


def document_in(metadata: dict[str, Any]) -> str | None:
    """Return the id of the document that a chunk is a part of, from the usual keys of its metadata."""
    return first_text(metadata, *_DOCUMENT_KEYS)


def first_text(values: dict[str, Any], *keys: str) -> str | None:
    """Return the first of these values that is a filled string; whole numbers count as one."""
    for key in keys:
        value = values.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and value.strip():
            return value
    return None
