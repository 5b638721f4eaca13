"""The files and batches endpoints of OpenAI's protocol: upload, create, look, download."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from store.errors import MissingError, ProviderError, UsageError

if TYPE_CHECKING:
    from openai import OpenAIError
    from openai.types import Batch as SdkBatch

WINDOW = "24h"
RUNNING = ("validating", "in_progress", "finalizing", "cancelling")

_RAW_LIMIT = 1000
_LONGEST_LIST = 1000  # batches looked through for one whose id was never told


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the endpoint describes it. `problem` says why it refused the whole of it."""

    batch_id: str
    status: str
    metadata: Mapping[str, str]
    done: int
    failed: int
    total: int
    output_file: str | None
    error_file: str | None
    problem: str | None

    @property
    def running(self) -> bool:
        """Tell whether more may still come of it."""
        return self.status in RUNNING


class NotTaken(UsageError):
    """The endpoint refused a batch: nothing of it will be worked on, or paid for."""


class BatchApi:
    """A connection to an endpoint's Batch API. A context manager."""

    def __init__(self, base_url: str, api_key: str | None, *, timeout_s: float) -> None:
        """Prepare a client; nothing is sent yet."""
        from openai import OpenAI

        self.base_url = base_url
        self._secret = api_key
        self._client = OpenAI(
            api_key=api_key or "no-key",  # the SDK insists on one
            base_url=base_url,
            timeout=max(timeout_s, 300.0),  # files of 200 MB
        )

    def __enter__(self) -> Self:
        """Return the connection itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self._client.close()

    def upload(self, file: Path) -> str:
        """Upload a file of requests; return its id at the endpoint.

        Raises:
            UsageError: the endpoint has no Batch API.
            ProviderError: it refuses the key, or does not answer.
        """
        import openai

        try:
            with file.open("rb") as content:
                return self._client.files.create(file=(file.name, content), purpose="batch").id
        except openai.OpenAIError as error:
            raise self._explained(error) from error

    def create(self, file_id: str, metadata: Mapping[str, str]) -> Batch:
        """Start a batch. The SDK repeats no request of this kind: a lost answer leaves it open whether it was taken.

        Raises:
            NotTaken: the endpoint refused it.
            ProviderError: nobody knows whether it was taken.
        """
        import openai

        try:
            made = self._client.with_options(max_retries=0).batches.create(
                input_file_id=file_id,
                endpoint="/v1/chat/completions",
                completion_window=WINDOW,  # type: ignore[arg-type]
                metadata=dict(metadata),
            )
        except openai.APIStatusError as error:
            if error.status_code < 500 and error.status_code != 408:
                explained = self._explained(error)
                raise NotTaken(explained.message, explained.hint) from error
            raise self._explained(error) from error
        except openai.OpenAIError as error:
            raise self._explained(error) from error
        return _batch(made)

    def get(self, batch_id: str) -> Batch:
        """Look at a batch.

        Raises:
            MissingError: the endpoint knows no such batch.
            ProviderError: it refuses the key, or does not answer.
        """
        import openai

        try:
            return _batch(self._client.batches.retrieve(batch_id))
        except openai.NotFoundError as error:
            raise MissingError(
                f"{self.base_url} knows no batch {batch_id}", hint="uncited judge batch status"
            ) from error
        except openai.OpenAIError as error:
            raise self._explained(error) from error

    def find(self, key: str, value: str) -> Batch | None:
        """Return the batch whose metadata say so, looking through the newest thousand."""
        import openai

        try:
            for number, batch in enumerate(self._client.batches.list(limit=100)):
                if (batch.metadata or {}).get(key) == value:
                    return _batch(batch)
                if number >= _LONGEST_LIST:
                    break
        except openai.OpenAIError as error:
            raise self._explained(error) from error
        return None

    def lines(self, file_id: str) -> Iterator[Any]:
        """Yield what the lines of a result file hold; a line that is no JSON as its text."""
        import openai

        try:
            content = self._client.files.content(file_id).text
        except openai.OpenAIError as error:
            raise self._explained(error) from error
        for line in content.split("\n"):
            if line.strip():
                try:
                    yield json.loads(self._scrub(line))
                except ValueError:
                    yield line

    def _explained(self, error: "OpenAIError") -> ProviderError | UsageError:
        import openai

        said = self._scrub(str(error))[:_RAW_LIMIT]
        if isinstance(error, openai.APIStatusError) and error.status_code in (404, 405, 501):
            return UsageError(
                f"{self.base_url} has no Batch API, as most servers have none (OpenAI's has): {said}",
                hint="uncited judge --policy NAME (one request at a time, at full price)",
            )
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return ProviderError(f"{self.base_url} refused the key: {said}", hint="set a valid key, then run it again")
        return ProviderError(f"{self.base_url}: {said}", hint="uncited judge batch status (finds what was submitted)")

    def _scrub(self, text: str) -> str:
        """The key must not end up in a database or on a screen."""
        return text.replace(self._secret, "[key]") if self._secret and len(self._secret) >= 16 else text


def _batch(found: "SdkBatch") -> Batch:
    counts = found.request_counts
    problems = [str(error.message) for error in (found.errors.data or [])] if found.errors else []
    return Batch(
        batch_id=found.id,
        status=found.status,
        metadata=found.metadata or {},
        done=counts.completed if counts else 0,
        failed=counts.failed if counts else 0,
        total=counts.total if counts else 0,
        output_file=found.output_file_id,
        error_file=found.error_file_id,
        problem="; ".join(problems) or None,
    )
