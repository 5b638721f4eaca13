"""The lines that can be imported: uncited's own JSON Lines, one interaction a line, and the corpus beside it.

docs/interactions.md explains the format to people; `uncited schema interactions` prints `json_schema()`.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

MAX_LINE_BYTES = 64 * 1024 * 1024
MAX_QUERY = 32_768  # characters, like all that follow
MAX_TEXT = 1_048_576
MAX_NAME = 1_024
MAX_RETRIEVED = 10_000
MAX_SIGNALS = 100_000
MAX_RANK = 1_000_000

_FILLED = r"^[^\x00]*[^\s\x00][^\x00]*$"  # not blank; NUL is no character of a text
_NO_NUL = r"^[^\x00]*$"
_FIRST_YEAR, _LAST_YEAR = 1970, 2100


def _moment(value: object) -> datetime | None:
    """Read a point in time; one without an offset is UTC. Numbers are refused: nobody can tell s from ms."""
    if value is None:
        return None
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d", value):
        raise ValueError('is no time; write ISO 8601, e.g. "2026-03-31T12:00:00Z"')
    try:
        moment = datetime.fromisoformat(value.upper())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"is no time: {error}") from error
    if not _FIRST_YEAR <= moment.year < _LAST_YEAR:
        raise ValueError(f"is not between {_FIRST_YEAR} and {_LAST_YEAR}")
    return moment


Name = Annotated[str, Field(pattern=_FILLED, max_length=MAX_NAME)]
Words = Annotated[str, Field(pattern=_NO_NUL, max_length=MAX_NAME)]
Text = Annotated[str, Field(pattern=_FILLED, max_length=MAX_TEXT)]
Moment = Annotated[
    datetime,
    BeforeValidator(_moment, json_schema_input_type=Annotated[str, Field(json_schema_extra={"format": "date-time"})]),
]


class _Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class LoggedChunk(_Line):
    """One retrieved chunk."""

    chunk_id: Name = Field(description="The log's own id of the chunk.")
    rank: Annotated[int, Field(ge=1, le=MAX_RANK)] = Field(
        description="Place in the ranked list, from 1. No rank twice in one list; gaps are fine."
    )
    score: float | None = Field(None, description="The retriever's score, if it has one.")
    text: Text | None = Field(None, description="The chunk's text. May be left out where a corpus file has it.")
    kind: Name | None = Field(None, description="text (the default), code, table, image, tool, product ...")
    document: Words | None = Field(None, description="Id of the document that the chunk is a part of.")
    title: Words | None = Field(None, description="Title of that document.")


class LoggedSignal(_Line):
    """Something that happened to a retrieved chunk, or to the whole interaction."""

    signal: Name = Field(description="What happened: clicked, saved, ignored, thumbs_up, thumbs_down, purchased ...")
    chunk_id: Name | None = Field(
        None, description="To which of the retrieved chunks; left out where it is about the interaction as a whole."
    )
    value: float = Field(1.0, description="How much. Zero or less: it did not happen, and mining does not count it.")
    time: Moment | None = Field(None, description="When. ISO 8601; without an offset it is UTC.")
    source: Words | None = Field(None, description="Who or what said so: a person, an evaluator, a file of grades ...")


class LoggedInteraction(_Line):
    """One logged query with the ranked chunks retrieved for it and what became of them."""

    interaction_id: Name | None = Field(
        None, description="The log's own id of this interaction. Tells apart lines that are otherwise equal."
    )
    query_id: Name | None = Field(None, description="The log's own id of the query.")
    query: Annotated[str, Field(pattern=_FILLED, max_length=MAX_QUERY)] = Field(description="What was asked.")
    time: Moment | None = Field(None, description="When it was asked. ISO 8601; without an offset it is UTC.")
    source: Words | None = Field(None, description="Which application or index the line comes from.")
    answer: Annotated[str, Field(pattern=_NO_NUL, max_length=MAX_TEXT)] | None = Field(
        None, description="The answer that was given."
    )
    retrieved: Annotated[list[LoggedChunk], Field(max_length=MAX_RETRIEVED)] = Field(
        description="The ranked chunks; an empty list where nothing was found."
    )
    cited: Annotated[list[Name], Field(max_length=MAX_SIGNALS)] = Field(
        description="chunk_id of every retrieved chunk that the answer cites; an empty list where it cites none."
    )
    signals: Annotated[list[LoggedSignal], Field(max_length=MAX_SIGNALS)] | None = Field(
        None, description="What else happened to the chunks."
    )


class CorpusEntry(BaseModel):
    """One line of a corpus file: the text of a chunk that the log names by id only. Other keys are not read.

    BEIR's lines (`_id`) and those of MS MARCO's segments (`docid`, `segment`) are taken too. Where BEIR has a title and
    no text, the title is the text.
    """

    model_config = ConfigDict(strict=True, extra="ignore")

    chunk_id: Name
    text: Text
    kind: Name | None = None
    document: Words | None = None
    title: Words | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_other_corpora(cls, value: Any) -> Any:  # noqa: ANN401 (whatever JSON holds)
        if not isinstance(value, dict) or "chunk_id" in value:
            return value
        if "_id" in value:
            text, title = value.get("text"), value.get("title")
            filled = title if text == "" and title else text
            return {**value, "chunk_id": value["_id"], "text": filled}
        if "docid" in value and "segment" in value:
            page = str(value["docid"]).partition("#")[0]
            return {**value, "chunk_id": value["docid"], "text": value["segment"], "document": page}
        return value


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of one line of an interactions file.

    It cannot say that a cited id must have been retrieved, or that no rank comes twice; import checks those too.
    """
    schema = LoggedInteraction.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "uncited interaction",
        "description": "One line of an interactions file. Keys that are not named here are kept with the interaction.",
    }
