"""What a format reads from and writes to."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from store.build_rows import Side, score_pairs
from store.builds import Build
from store.database import Store
from store.policies import Policy
from store.progress import Progress, silent
from train.exports.texts import Texts, contents

if TYPE_CHECKING:
    import pyarrow as pa

    from train.exports.texts import Form

Write = Callable[["pa.Array"], None]

_PAGE_BYTES = 32_000_000  # of texts that are put together at once


@dataclass(frozen=True, slots=True)
class Source:
    """A build on its way into a folder.

    `scores` gives each label a score, or names the model whose scores are wanted; None: no scores are. `negatives` is
    the number that rows of a fixed width have. `rows` collects the number of rows of each file that has any, and
    `left_out` what has no row, by reason.
    """

    store: Store
    build: Build
    policy: Policy
    folder: Path
    scores: Mapping[str, float] | str | None
    negatives: int
    rows: dict[str, int] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    progress: Progress = silent

    @property
    def with_scores(self) -> bool:
        """Tell whether rows without a score are to be left out."""
        return self.scores is not None

    def texts(self, form: "Form") -> tuple[Texts, Texts]:
        """Return the anchors and the chunks, in a form."""
        sides: tuple[Side, Side] = ("anchors", "chunks")
        anchors, chunks = (Texts(self.store, self.build.build_id, side, form, self.folder) for side in sides)
        unscored = score_pairs(self.store, self.build.build_id, self.scores)
        if self.with_scores and unscored:
            self.left_out["pairs without a score"] = unscored
        return anchors, chunks

    def pages(self, batches: "Iterable[pa.RecordBatch]", chunks: Texts) -> "Iterator[pa.RecordBatch]":
        """Cut rows of places (see `store.build_rows`) into parts whose texts memory can hold, however long they are."""
        import pyarrow as pa

        for batch in batches:
            lists = [column for column in batch.columns if pa.types.is_list(column.type)]
            texts = batch.num_columns * batch.num_rows + sum(len(column.flatten()) for column in lists)
            step = max(1, int(_PAGE_BYTES / max(1.0, chunks.bytes_each) * batch.num_rows / max(1, texts)))
            for start in range(0, batch.num_rows, step):
                yield batch.slice(start, step)

    @contextmanager
    def lines(self, name: str, *, header: str = "") -> Iterator[Write]:
        """Offer a function that adds lines to a file; one that gets none is not made."""
        file = self.folder / name
        file.parent.mkdir(exist_ok=True)
        rows = 0
        with file.open("wb") as opened:

            def write(lines: "pa.Array") -> None:
                nonlocal rows
                opened.write(contents(lines))
                rows += len(lines)
                self.progress.advance(len(lines))

            opened.write(header.encode())
            yield write
        self.counted(name, rows)

    def counted(self, name: str, rows: int) -> None:
        """Note the rows of a file that is written; remove it where it has none."""
        if rows:
            self.rows[name] = rows
        else:
            (self.folder / name).unlink()
