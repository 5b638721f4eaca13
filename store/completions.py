"""What a model was asked in plain text and what it said, kept in a file so that nothing is paid for twice.

The file holds one reply a line, written as it arrives: a run that is killed loses at most the line that it was writing.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

from store.errors import InvalidDataError, UsageError


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question to a model. Equal prompts get one answer; `repeat` asks for another one."""

    text: str
    temperature: float = 0.0
    repeat: int = 0


class NoAnswer(Exception):
    """There is no answer that can be used. `kind` says why: timeout, refusal, length ..."""

    def __init__(self, kind: str) -> None:
        """Keep the kind, by which failures are counted."""
        super().__init__(kind)
        self.kind = kind


class Ask(Protocol):
    """A model that can be asked. Whoever asks need not know where it is, what it costs, and what it said before."""

    async def __call__(self, prompt: Prompt) -> str:
        """Return what it says; raises `NoAnswer`. Cancels the caller where nothing more may be asked."""

    @property
    def note(self) -> str:
        """Say in a few words how much was asked, and what that cost."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A reply that a server sent. `error`: why its text cannot be used (refusal, length, content_filter, malformed)."""

    text: str
    error: str | None
    model: str | None
    prompt_tokens: int | None  # cached ones included
    cached_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None  # None: not known
    replied_at: str  # ISO 8601, UTC


class CompletionFile:
    """The replies of a file, by the id of their request. A context manager; one process at a time writes to a file."""

    def __init__(self, file: Path) -> None:
        """Read what is there; a last line that was not written to its end is dropped at the next `put`.

        Raises:
            InvalidDataError: a line is no reply.
            UsageError: the file cannot be read.
        """
        self.file = file
        self._known: dict[str, Completion] = {}
        self._whole_bytes = 0
        self._stream: IO[bytes] | None = None
        try:
            content = file.read_bytes() if file.exists() else b""
        except OSError as error:
            raise UsageError(f"cannot read {file}: {error.strerror}") from error
        for number, line in enumerate(content.splitlines(keepends=True), start=1):
            if not line.endswith(b"\n"):
                break
            try:
                reply: Mapping[str, object] = json.loads(line)
                request_id = str(reply["request_id"])
                self._known[request_id] = Completion(**{k: v for k, v in reply.items() if k != "request_id"})  # type: ignore[arg-type]
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise InvalidDataError(
                    f"{file}:{number} is no reply of a model", hint=f"sed -i {number}d {file}   # it is asked again"
                ) from error
            self._whole_bytes += len(line)

    def __enter__(self) -> Self:
        """Return the file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._stream:
            self._stream.close()

    def get(self, request_id: str) -> Completion | None:
        """Return the reply to a request, or None."""
        return self._known.get(request_id)

    def put(self, request_id: str, completion: Completion) -> None:
        """Keep a reply; when this returns, the operating system has it.

        Raises:
            UsageError: the file cannot be written.
        """
        line = json.dumps({"request_id": request_id, **asdict(completion)}) + "\n"
        try:
            if self._stream is None:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                self._stream = self.file.open("ab")
                os.truncate(self.file, self._whole_bytes)
            self._stream.write(line.encode())
            self._stream.flush()
        except OSError as error:
            raise UsageError(f"cannot write {self.file}: {error.strerror}") from error
        self._known[request_id] = completion
