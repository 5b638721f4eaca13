"""Builds as files that trainers and evaluators read without a line of conversion."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from store.build_rows import known_scorers, little_memory
from store.builds import Build
from store.database import Store
from store.errors import MissingError, UsageError
from store.policies import get_policy_by_id
from store.progress import Progress, silent
from train.exports import FormatName
from train.exports.formats import FORMATS
from train.exports.grades import label_scores
from train.exports.manifest import Manifest, file_hashes, read_manifest, write_manifest
from train.exports.source import Source

NEGATIVES = 3  # of a row of fixed width, as `mine_hard_negatives` of sentence-transformers has it
LABELS = "labels"  # in the place of a model's name: the scores are what the labels are worth


def export(
    store: Store,
    build: Build,
    out: Path,
    *,
    format: FormatName = "triplet",
    scores: str | None = None,
    negatives: int | None = None,
    licence: str = "",
    progress: Progress = silent,
) -> Manifest:
    """Write a build into the folder `out`, each split by itself, with a manifest; see `train.exports.formats`.

    A file without a row is not made. The same build gives the same bytes. The folder appears whole or not at all.

    Args:
        store: where the build is.
        build: what to write.
        out: the folder to make; may be there if it is empty, or holds just this.
        format: one of `FORMATS`.
        scores: `labels`, or the name of a model that scored the pairs, or the beginning of it; pairs that it has not
            scored are left out.
        negatives: the number of negatives of each row, for formats of a fixed width.
        licence: what the user says of the texts.
        progress: told of rows.

    Raises:
        UsageError: `out` is a file, cannot be written, or is a folder that holds something else; or the format has no
            place for scores or for a number of negatives.
        MissingError: no model, or more than one, with scores is called so; or nothing is left to write.
        InvalidDataError: the build does not meet the limits of the format.
    """
    chosen = FORMATS[format]
    if scores is not None and not chosen.takes_scores:
        takers = ", ".join(name for name, other in FORMATS.items() if other.takes_scores)
        raise UsageError(f"the format {format} has no place for scores; these have: {takers}")
    if negatives is not None and not chosen.fixed_width:
        takers = ", ".join(name for name, other in FORMATS.items() if other.fixed_width)
        raise UsageError(f"--negatives is for rows of a fixed width ({takers}), and those of {format} have none")
    if negatives is not None and negatives < 1:
        raise UsageError(f"a row with {negatives} negatives is none: at least 1")
    policy = get_policy_by_id(store, build.policy_id)
    scored = label_scores(policy) if scores == LABELS else scores and _scorer(store, scores, policy.name)
    with _appearing(out) as unfinished, little_memory(store):
        source = Source(store, build, policy, unfinished, scored or None, negatives or NEGATIVES, progress=progress)
        progress.start(f"write {format}", None)
        chosen.write(source)
        if not source.rows:
            why = "; ".join(f"{count} {what}" for what, count in source.left_out.items())
            raise MissingError(
                f"build {build.build_id} has nothing to write as {format}" + (f" (left out: {why})" if why else ""),
                hint=f"uncited build --policy {policy.name}",
            )
        body = write_manifest(source, format, licence)
        is_new = not _already_there(unfinished, out)
    return Manifest(out, body, is_new)


def _scorer(store: Store, name: str, policy_name: str) -> str:
    """Return the whole name of the model whose name is, or begins, so."""
    known = known_scorers(store)
    found = [scorer for scorer in known if scorer == name] or [scorer for scorer in known if scorer.startswith(name)]
    if len(found) != 1:
        what = "no model" if not found else f"{len(found)} models"
        there = f"there are scores by: {'; '.join(known)}" if known else "no model has scored pairs yet"
        raise MissingError(
            f"{what} with scores by the name {name!r}; {there}", hint=f"uncited triage --policy {policy_name}"
        )
    return found[0]


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """Offer an unfinished folder beside `out`, and give it that name at the end unless `out` is there by then."""
    unfinished = out.absolute().parent / f".{out.absolute().name}.unfinished"
    try:
        if out.exists() and not out.is_dir():
            raise UsageError(f"{out} is a file; an export needs a folder", hint="name another folder with --out")
        shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
        unfinished.mkdir(parents=True)
        yield unfinished
        if not out.exists() or not any(out.iterdir()):
            os.replace(unfinished, out)
    except OSError as error:
        raise UsageError(f"cannot write the export to {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _already_there(made: Path, out: Path) -> bool:
    """Tell whether `out` holds exactly the files in `made`; an empty or missing folder holds nothing.

    Raises:
        UsageError: `out` holds something else.
    """
    if not out.exists() or not any(out.iterdir()):
        return False
    found = file_hashes(out)
    if found != file_hashes(made):
        theirs = read_manifest(out)
        names = f"{', '.join([*found][:3])}{' ...' if len(found) > 3 else ''}"
        raise UsageError(
            f"{out} already holds something else ({'another export' if theirs else names})",
            hint="name another folder with --out, or remove this one",
        )
    return True
