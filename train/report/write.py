"""A report as files: the page, its figures, and all its numbers."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from train.experiments import write_whole
from train.report.contents import Agreed, Report
from train.report.drawing import Figure, save
from train.report.html import Column, Html, value_names
from train.report.look import Look
from train.report.outcome import outcome
from train.report.tables import Table
from train.report.wording import seen

REPORT_FILE = "report.html"


@dataclass(frozen=True, slots=True)
class Written:
    """Where a report was put, what it says in one sentence, and which figures it has."""

    page: Path
    headline: str
    figures: tuple[str, ...]
    figures_folder: Path | None
    data_folder: Path | None


def write(
    report: Report,
    page: Html,
    figures: Sequence[Figure],
    tables: Sequence[Table],
    numbers: object,
    *,
    out: Path,
    figures_folder: Path | None = None,
    data_folder: Path | None = None,
) -> Written:
    """Write a page, and where folders are given its figures as SVG and PNG, and its numbers as JSON and CSV.

    Each figure and each table is a CSV file of its name. `numbers` are what JSON holds; a NaN among them becomes null.

    Raises:
        UsageError: something cannot be written.
    """
    if figures_folder:
        for figure in figures:
            save(figure, figures_folder)
    if data_folder:
        text = json.dumps(_without_nan(numbers), ensure_ascii=False, indent=2, allow_nan=False)
        write_whole(data_folder / "report.json", text.encode("utf-8", "replace").decode() + "\n")
        numbered: list[Figure | Table] = [*figures, *tables]
        for one in numbered:
            write_whole(data_folder / f"{one.name}.csv", _csv(one.columns, one.rows))
    write_whole(out, page.encode("utf-8", "replace").decode())
    told = outcome(report)
    names = tuple(figure.name for figure in figures)
    return Written(out, f"{told.clear}{told.rest}", names, figures_folder, data_folder)


def numbers_of(report: Report, look: Look | str, agreement: Sequence[Agreed]) -> dict[str, object]:
    """Return all that a report says, by name; the sampled test pairs are in it by their scores alone."""
    told = outcome(report)
    return {
        "headline": f"{told.clear}{told.rest}",
        "verdict": told.verdict,
        "look": look,
        "agreement": {found.name: found for found in agreement},
        "report": replace(report, pairs=()),
    }


def _without_nan(value: object) -> object:
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list) else value


def _csv(columns: Sequence[str | Column], rows: Sequence[Sequence[object]]) -> str:
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(value_names(columns))
    writer.writerows([_plain(value) for value in row] for row in rows)
    return target.getvalue()


def _plain(value: object) -> object:
    """Let no spreadsheet take a name for a formula, nor a NaN for a number."""
    if not isinstance(value, str):
        return None if value != value else value
    text = seen(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
