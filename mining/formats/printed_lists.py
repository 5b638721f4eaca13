"""Lists as Python prints them: what `DataFrame.to_csv` and Ragas write into a cell that holds a list."""

import ast
import re
from typing import Any

LONGEST = 1 << 20  # characters; Python needs up to a few hundred bytes of memory for each
_STRING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = set("\\'\"nrtxuU")  # all that Python prints


def printed_list(text: str) -> list[Any] | None:
    """Return the list that Python prints as `text`, with `nan` as None; None where there is no such list.

    Texts, numbers, True, False and None stand in it, and lists, tuples and dicts of them. Numpy prints its arrays
    without commas, which Python would read as one text: they are no such list.
    """
    if len(text) > LONGEST or not _ESCAPES.issuperset(_ESCAPED.findall(text)):
        return None
    try:
        tree = ast.parse(text, mode="eval").body
        found = _value(tree) if isinstance(tree, ast.List) else None  # `[1], [2]` is a text
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # MemoryError: nested too deeply for the parser
        return None
    texts = sum(isinstance(node, ast.Constant) and isinstance(node.value, str) for node in ast.walk(tree))
    return found if texts == len(_STRING.findall(text)) else None


def _value(node: ast.expr) -> Any:  # noqa: ANN401 (whatever a list holds)
    match node:
        case ast.Constant(value=str() | int() | float() | None):
            return node.value
        case ast.Name(id="nan"):
            return None
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List() | ast.Tuple():
            return [_value(item) for item in node.elts]
        case ast.Dict():
            return {_key(key): _value(value) for key, value in zip(node.keys, node.values, strict=True)}
    raise ValueError("not what Python prints")


def _key(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise ValueError("not what Python prints")
