"""Whether a store is what it claims to be: every hash worked out again, every id followed, every label compared."""

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb

from store.database import Store, is_damage
from store.progress import Progress, silent
from store.verification.evidence_hashes import check_builds_content, check_evidence, check_imports
from store.verification.hashes import check_interactions, check_pairs, check_texts, check_triplets
from store.verification.labels import check_builds, check_human_labels, check_judges_labels
from store.verification.problems import Checked, Problem
from store.verification.references import check_keys, check_references

__all__ = ["Checked", "Problem", "Verified", "verify"]


@dataclass(frozen=True, slots=True)
class Verified:
    """What was checked, and all that is wrong."""

    checks: tuple[Checked, ...]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Every problem of every check."""
        return tuple(problem for check in self.checks for problem in check.problems)


def verify(store: Store, *, progress: Progress = silent) -> Verified:
    """Check everything in a store that can be checked; nothing is changed.

    Where blocks of the file are damaged, it says which tables cannot be read, and checks no further.
    """
    readable = tuple(_check_storage(store, progress))
    if any(check.problems for check in readable):
        return Verified(readable)
    return Verified((*readable, *_checks(store, progress)))


def _checks(store: Store, progress: Progress) -> Iterator[Checked]:
    progress.start("Checking texts, pairs and triplets", None)
    yield from check_texts(store)
    yield check_pairs(store)
    yield check_triplets(store)
    yield check_interactions(store, progress)
    yield from check_evidence(store, progress)
    progress.start("Checking builds and imported files", None)
    yield check_builds_content(store)
    yield check_imports(store)
    progress.start("Following references", None)
    yield from check_keys(store)
    yield from check_references(store)
    progress.start("Working labels out again", None)
    yield check_human_labels(store)
    yield check_judges_labels(store)
    yield from check_builds(store)


def _check_storage(store: Store, progress: Progress) -> Iterator[Checked]:
    """Read every table wholly, so that a damaged block shows."""
    tables = [
        str(row["table_name"]) for row in store.rows("SELECT table_name FROM duckdb_tables() WHERE NOT temporary")
    ]
    progress.start("Reading all tables", len(tables))
    for table in sorted(tables):
        try:
            store.rows(f"SELECT bit_xor(hash({table})) AS digest FROM {table}")
        except duckdb.Error as error:
            if not is_damage(error):
                raise
            problem = Problem(table, "a block of the file", "cannot be read", "the bytes that were written", str(error))
            yield Checked(f"storage of {table}", 0, (problem,))
        progress.advance()
    yield Checked("tables", len(tables))
