"""What is wrong with the lines of a file, said for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mining.log_format import MAX_RANK

SHOWN_LINES = 20
SHOWN_PER_LINE = 20


@dataclass(slots=True)
class BadLines:
    """The bad lines of a file: all are counted, the first twenty are kept to be shown."""

    file: str
    count: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, line: int, problems: Sequence[str]) -> None:
        """Note what is wrong with a line."""
        self.count += 1
        if len(self.shown) < SHOWN_LINES:
            self.shown.append(f"{self.file}:{line}: {'; '.join(problems)}")

    def __str__(self) -> str:
        left = self.count - len(self.shown)
        return "\n".join([*self.shown, *([f"... and {left:,} more bad lines"] if left else [])])


def explain(error: ValidationError) -> list[str]:
    """Say for people what is wrong with a line: `retrieved[3].rank: "1" is not a whole number`."""
    return at_most([_explain_one(detail) for detail in error.errors(include_url=False)])


def at_most(problems: list[str], shown: int = SHOWN_PER_LINE) -> list[str]:
    """Cut a long list of problems and say how many more there are."""
    left = len(problems) - shown
    return problems if left <= 0 else [*problems[:shown], f"and {left:,} more problems"]


_EXPECTED: Mapping[str, str] = {
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_type": "is not a number",
    "finite_number": "is not a finite number",
    "string_type": "is not a string",
    "list_type": "is not a list",
    "model_type": "is not a JSON object",
    "model_attributes_type": "is not a JSON object",
}


def _explain_one(detail: ErrorDetails) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]).lstrip(".")
    match kind:
        case "json_invalid":
            return f"not JSON: {str(context.get('error', '')).replace(' at line 1 column', ', at byte')}"
        case "missing":
            return f"{place}: missing" + (
                " (write [] where nothing was cited), or read it from the answers with --citations"
                if place == "cited"
                else ""
            )
        case "string_pattern_mismatch":
            return f"{place}: " + ("holds a NUL character" if "\x00" in value else "is blank")
        case "string_too_long":
            return f"{place}: has {len(value):,} characters; at most {context['max_length']:,} are taken"
        case "too_long":
            return f"{place}: has {len(value):,} entries; at most {context['max_length']:,} are taken"
        case "greater_than_equal" | "less_than_equal":
            return f"{place}: {value} is not between 1 and {MAX_RANK:,}"
        case "value_error":
            return f"{place}: {_shown(value)} {context['error']}"
    what = _EXPECTED.get(kind)
    where = f"{place}: " if place else ""
    return f"{where}{_shown(value)} {what}" if what else f"{where}{detail['msg']}"


def _shown(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
