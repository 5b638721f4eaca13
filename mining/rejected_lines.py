"""The lines that were left out, with reasons, in a file of their own: all of them or none."""

import base64
import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mining.log_lines import Line
from store.errors import UsageError
from store.text import storable

Reject = Callable[[Line, Sequence[str]], None]


@contextlib.contextmanager
def rejected_lines(target: Path | None, name: str) -> Iterator[Reject | None]:
    """Offer a function that keeps rejected lines; they appear at `target` together, when the block ends well."""
    if not target:
        yield None
        return
    partial = target.with_name(f".{target.name}.partial")
    with contextlib.ExitStack() as stack:
        stack.callback(partial.unlink, missing_ok=True)
        try:
            out = stack.enter_context(partial.open("w", encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"cannot write {target}: {error.strerror}", hint="uncited import --help") from error

        def reject(line: Line, problems: Sequence[str]) -> None:
            content: dict[str, object] = {"file": name, "line": line.number, "errors": list(problems)}
            try:
                content["raw"] = line.content.decode()
            except UnicodeDecodeError:
                content["raw_base64"] = base64.b64encode(line.content).decode()
            out.write(storable(json.dumps(content, ensure_ascii=False)) + "\n")

        yield reject
        out.flush()
        if out.tell():
            os.fsync(out.fileno())
            partial.replace(target)
