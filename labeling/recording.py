"""Recorded answers of a judge: a JSON Lines file that stands in for its endpoint.

The first line says what was asked (model, sampling, prompt), each further one holds a request's hash and the reply as
it came. Replaying feeds the replies through the same checks as live ones. A file that ends in `.gz` is compressed.
"""

import gzip
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from labeling.chat import Reply
from store.errors import InvalidDataError, MissingError, UsageError


class Header(BaseModel):
    """What a recording was made with. `prompt_fingerprint` covers the prompt and what the policy puts into it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recording: Literal[1] = 1  # version of this format
    model: str
    base_url: str
    sampling: dict[str, float | int]
    policy: str
    prompt_fingerprint: str
    recorded_on: str  # ISO date
    how: str


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    request: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class Recording:
    """Replies by request id."""

    header: Header
    replies: Mapping[str, Reply] = field(default_factory=dict)


def load_recording(file: Path) -> Recording:
    """Read a recording.

    Raises:
        MissingError: there is no such file.
        InvalidDataError: a line is wrong; it is named.
    """
    try:
        content = file.read_bytes()
        text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode("utf-8")
    except FileNotFoundError as error:
        raise MissingError(f"no recording {file}", hint=f"uncited judge --policy NAME --record {file}") from error
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidDataError(f"{file} cannot be read: {error}") from error
    first, *others = text.removesuffix("\n").split("\n")  # a reply may hold other marks that end a line
    replies = {}
    line_number = 1
    try:
        header = Header.model_validate_json(first)
        for line_number, line in enumerate(others, start=2):  # noqa: B007 - named in the complaint
            parsed = _Line.model_validate_json(line)
            replies[parsed.request] = parsed.reply
    except ValidationError as error:
        raise InvalidDataError(f"{file}:{line_number}: not a line of a recording: {_first(error)}") from error
    return Recording(header, replies)


def check_prompt(recording: Recording, file: Path, prompt_fingerprint: str) -> None:
    """Refuse a recording of other prompts than those that would be sent now.

    Raises:
        InvalidDataError: the prompt or the policy has changed since.
    """
    header = recording.header
    if header.prompt_fingerprint != prompt_fingerprint:
        raise InvalidDataError(
            f"{file} was recorded on {header.recorded_on} with another prompt or policy"
            f" ({header.prompt_fingerprint}; now {prompt_fingerprint}), so it answers nothing that is asked now",
            hint=f"record it again: uncited judge --policy {header.policy} --record {file}",
        )


class Recorder:
    """Appends replies to a recording. What is there already is kept, and not asked again."""

    def __init__(self, file: Path, header: Header) -> None:
        """Start or continue `file`; a last line that a crash cut short is dropped.

        Raises:
            UsageError: it is compressed, cannot be written, or was made with another model, prompt or sampling.
            InvalidDataError: it is no recording.
        """
        if file.suffix == ".gz":
            raise UsageError(f"{file}: a recording is written uncompressed", hint=f"--record {file.with_suffix('')}")
        try:
            if file.exists():
                _drop_torn_line(file)
            if not file.exists() or not file.stat().st_size:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(header.model_dump_json() + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {file}: {error.strerror}") from error
        self.recording = load_recording(file)
        made = {"recorded_on", "how", "base_url"}  # may differ: they change no answer
        if self.recording.header.model_dump(exclude=made) != header.model_dump(exclude=made):
            raise UsageError(
                f"{file} was recorded with another model, prompt, policy or sampling",
                hint="give --record another file",
            )
        self._file = file

    def append(self, replies: Iterable[tuple[str, Reply]]) -> None:
        """Write replies down, each with the id of its request, unless they came from here."""
        lines = io.StringIO()
        for request_id, reply in replies:
            if request_id in self.recording.replies:
                continue
            lines.write(json.dumps({"request": request_id, "reply": asdict(reply)}, ensure_ascii=False) + "\n")
        with self._file.open("a", encoding="utf-8") as out:
            out.write(lines.getvalue())


def _drop_torn_line(file: Path) -> None:
    content = file.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with file.open("r+b") as out:
            out.truncate(whole)


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
