"""The corpus of the demo: the docstrings of the installed pandas, one chunk per public entry.

Real text that every installation already has. None of it is kept in this repository: the recorded
log refers to entries by their dotted name, and the text comes from the pandas that is installed.
"""

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

MAX_CHARACTERS = 700
"""A language model on a CPU reads thousands of these pairs, so a chunk stays short."""

_MAX_NAME = 80  # the longest has 55
_MAX_DESCRIPTION = 440  # leaves room for some of the parameters
_SHORT_DESCRIPTION = 160  # one that says less gets the Returns section too

_MODULES = ("", "errors", "testing", "api.types", "api.indexers", "util")
_CLASSES = (
    *("DataFrame", "Series", "Index", "MultiIndex", "RangeIndex", "CategoricalIndex"),
    *("DatetimeIndex", "TimedeltaIndex", "PeriodIndex", "IntervalIndex", "Categorical"),
    *("Timestamp", "Timedelta", "Period", "Interval"),
    *("Series.str", "Series.dt", "Series.cat", "Series.list", "Series.struct", "Series.sparse"),
    *("api.typing.DataFrameGroupBy", "api.typing.SeriesGroupBy", "api.typing.Resampler"),
    *("api.typing.Rolling", "api.typing.Expanding", "api.typing.ExponentialMovingWindow"),
    *("HDFStore", "ExcelWriter", "ExcelFile"),
)
_OFFSETS = (
    *("DateOffset", "Day", "Hour", "Minute", "Week", "BusinessDay", "BusinessHour"),
    *("CustomBusinessDay", "MonthBegin", "MonthEnd", "BusinessMonthBegin", "BusinessMonthEnd"),
    *("SemiMonthEnd", "QuarterBegin", "QuarterEnd", "YearBegin", "YearEnd"),
)

_SECTION = re.compile(r"^[ \t]*([A-Z]\w*(?: \w+)?)\n[ \t]*-{3,}[ \t]*$", re.MULTILINE)
_DIRECTIVE = re.compile(r"^\.\. .*(?:\n(?:[ \t].*)?)*", re.MULTILINE)
_DOCTEST = re.compile(r"^[ \t]*>>> .*(?:\n.*\S.*)*", re.MULTILINE)
_ROLE_OR_LINK = re.compile(r"(?::[\w:]+:)?`~?([^`<]+?)(?:\s*<[^`]*>)?`_*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`'\"(])")
_COMMA = re.compile(r",")
_POINTER = re.compile(r"user guide|online docs|here <|for more (details|information)", re.IGNORECASE)
_PARAMETER = re.compile(r"^([a-z]\w*(?:, [a-z]\w*)*)\s*(?::|$)", re.MULTILINE)


def chunks() -> dict[str, str]:
    """Return the text of every described public entry of the installed pandas, by dotted name.

    A text is the name, the description (what precedes the sections of a numpydoc docstring) and
    the names of the parameters, at most `MAX_CHARACTERS` long. Entries without a description are
    left out, and so are aliases: of the names in one place that share a docstring the shortest
    stays. The result is sorted by name and does not depend on the version of Python.
    """
    texts = {}
    for prefix, descriptions in _descriptions_by_place():
        seen = set()
        for name in sorted(descriptions, key=lambda name: (len(name), name)):
            if descriptions[name] not in seen:
                seen.add(descriptions[name])
                texts[prefix + name] = f"{prefix}{name}\n{descriptions[name]}"
    return dict(sorted(texts.items()))


def _descriptions_by_place() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield "pandas.DataFrame." and the descriptions of its members, and so on."""
    import pandas as pd

    for path in _MODULES:
        module = _resolve(pd, path)
        names = [n for n in _public_names(module) if module is pd or not hasattr(pd, n)]
        yield f"pandas.{path}.".replace("..", "."), _describe_all(module, names)
    yield "pandas.offsets.", _describe_all(pd.offsets, _OFFSETS)
    in_every_index = _describe_all(pd.Index, _members(pd.Index))
    for path in _CLASSES:
        owner = _resolve(pd, path)
        descriptions = _describe_all(owner, _members(owner))
        if path.endswith("Index") and path != "Index":  # what Index already says is said once
            descriptions = {name: text for name, text in descriptions.items() if in_every_index.get(name) != text}
        yield f"pandas.{path}.", descriptions


def _resolve(root: object, path: str) -> Any:  # noqa: ANN401 - a module or a class
    for name in filter(None, path.split(".")):
        root = getattr(root, name)
    return root


def _public_names(module: object) -> list[str]:
    return [
        name
        for name in getattr(module, "__all__", None) or dir(module)
        if not name.startswith("_") and not inspect.ismodule(getattr(module, name))
    ]


def _members(owner: type) -> list[str]:
    """Name the public methods, properties and accessors of a class; its plain values have no docstring."""
    return [
        name
        for name in dir(owner)
        if not name.startswith("_")
        and (callable(getattr(owner, name)) or inspect.isdatadescriptor(inspect.getattr_static(owner, name)))
    ]


def _describe_all(owner: object, names: Iterable[str]) -> dict[str, str]:
    described = {}
    for name in names:
        entry = getattr(owner, name)
        # A class that says nothing of itself would show what its base, perhaps Python's, says.
        document = vars(entry).get("__doc__") if isinstance(entry, type) else entry.__doc__
        if isinstance(document, str) and "plot" not in name:
            described[name] = _describe(document)
    return {name: text for name, text in described.items() if text}


def _describe(document: str) -> str:
    """Reduce a numpydoc docstring to its description and the names of its parameters."""
    head, *rest = _SECTION.split(inspect.cleandoc(document))
    sections = dict(zip(rest[::2], rest[1::2], strict=True))
    description = _plain(head)
    if not description:
        return ""
    returned = re.search(r"^[ \t]+\S.*(?:\n.*\S.*)*", sections.get("Returns", ""), re.MULTILINE)
    if returned and len(description) < _SHORT_DESCRIPTION:
        description += " Returns: " + _SENTENCE_END.split(_plain(inspect.cleandoc(returned[0])))[0]
    text = _cut(description, _SENTENCE_END, _MAX_DESCRIPTION)
    parameters = ", ".join(_PARAMETER.findall(sections.get("Parameters", "").strip("\n")))
    if parameters:
        text += f"\nParameters: {parameters}"
    return _cut(text, _COMMA, MAX_CHARACTERS - _MAX_NAME)


def _plain(markup: str) -> str:
    """Drop directives, doctests and pointers to other pages; undo the markup of the rest."""
    text = _DOCTEST.sub("", _DIRECTIVE.sub("", markup))
    sentences = _SENTENCE_END.split(" ".join(text.split()))
    kept = " ".join(sentence for sentence in sentences if not _POINTER.search(sentence))
    return _ROLE_OR_LINK.sub(r"\1", kept.replace("``", "`"))


def _cut(text: str, boundary: re.Pattern[str], limit: int) -> str:
    """Shorten to the last boundary within the limit, or where there is none to whole words."""
    if len(text) <= limit:
        return text
    ends = [match.start() for match in boundary.finditer(text) if match.start() <= limit]
    return text[: ends[-1] if ends else text.rfind(" ", 0, limit)]
