"""The hashes of evidence and of what was made of it: reviews, judgments, policies, builds, certificates."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC
from pathlib import Path

from store.audits import ids_hash
from store.builds import content_of_build
from store.database import Store
from store.generations import Generation
from store.ids import content_id
from store.judgments import Judgment
from store.policies import policy_versions
from store.progress import Progress
from store.reviews import Review
from store.verification.hashes import Row, check_rows
from store.verification.problems import Checked, Problem

_JUDGMENT = [field.name for field in fields(Judgment)]
_GENERATION = [field.name for field in fields(Generation)]
_REVIEW = [field.name for field in fields(Review)]

# A judgment cannot be checked once a text that it speaks about is forgotten: what it said went with it.
_JUDGMENTS = """
    SELECT judgments.*, judgments.judgment_id AS id, origins.judgment_id IS NOT NULL AS derived,
           coalesce(gone.pair_id IS NOT NULL OR reference_chunk_id IN (SELECT forgotten_id FROM forgotten), false)
               AS forgotten
    FROM judgments LEFT JOIN (
        SELECT DISTINCT carried.judgment_id FROM (FROM judgments WHERE carried_from IS NOT NULL) AS carried
        JOIN judgments AS held USING (pair_id, judge_id)
        WHERE carried.judgment_id = 'judgment_'
            || left(sha256(held.judgment_id || ' ' || carried.labelling_fingerprint), 32)
    ) AS origins USING (judgment_id)
    LEFT JOIN (
        SELECT pair_id FROM pairs WHERE anchor_id IN (SELECT forgotten_id FROM forgotten)
            OR chunk_id IN (SELECT forgotten_id FROM forgotten)
    ) AS gone ON gone.pair_id = judgments.pair_id
"""

_SMALL = (  # table, query, how its rows are named
    ("judges", "SELECT *, judge_id AS id FROM judges", lambda row: content_id("judge", json.loads(row["config"]))),
    (
        "searches",
        "SELECT *, search_id AS id FROM searches",
        lambda row: content_id("search", row["source"], json.loads(row["settings"])),
    ),
    (
        "certificates",
        "SELECT *, certificate_id AS id FROM certificates",
        lambda row: content_id("certificate", json.loads(row["body"])),
    ),
    (
        "calibrations",
        "SELECT *, calibration_id AS id FROM calibrations",
        lambda row: content_id(
            "calibration",
            *(row[key] for key in ("judge_id", "labelling_fingerprint", "positive_labels", "reviews_hash")),
        ),
    ),
    (
        "example_sets",
        """
        SELECT example_set_id AS id, rule, labelling_fingerprint,
               list([pair_id, label] ORDER BY pair_id, label) AS pairs
        FROM example_sets LEFT JOIN example_set_pairs USING (example_set_id) GROUP BY ALL
        """,
        lambda row: content_id("examples", json.loads(row["rule"]), row["labelling_fingerprint"], row["pairs"]),
    ),
    (
        "batches",
        """
        SELECT submission_id AS id, judge_id, submitted_at, list(pair_id ORDER BY pair_id) AS pairs
        FROM batches LEFT JOIN batch_pairs USING (submission_id) GROUP BY ALL
        """,
        lambda row: content_id(
            "submission", row["judge_id"], row["pairs"], row["submitted_at"].astimezone(UTC).isoformat()
        ),
    ),
)


def check_evidence(store: Store, progress: Progress) -> Iterator[Checked]:
    """Check reviews, judgments, what models wrote, and the small tables that are named by their content."""
    yield check_rows(store, "reviews", "SELECT *, review_id AS id FROM reviews", _review_id, progress)
    yield check_rows(store, "judgments", _JUDGMENTS, _judgment_id, progress)
    generations = """
        SELECT *, generation_id AS id, chunk_id IN (SELECT forgotten_id FROM forgotten) AS forgotten FROM generations
    """
    yield check_rows(store, "generations", generations, _generation_id, progress)
    for table, sql, named in _SMALL:
        yield check_rows(store, table, sql, named, progress)
    yield _check_audits(store)
    yield _check_policies(store)


def _review_id(row: Row) -> str:
    return Review(**{name: row[name] for name in _REVIEW}).review_id


def _judgment_id(row: Row) -> str | None:
    if row["forgotten"]:
        return None
    if row["carried_from"] is not None:
        return str(row["id"]) if row["derived"] else "judgment_ named after the one that it was carried over from"
    return content_id("judgment", {name: str(row[name]) for name in _JUDGMENT if row[name] is not None})


def _generation_id(row: Row) -> str | None:
    if row["forgotten"]:
        return None
    said = {name: str(row[name]) for name in _GENERATION if row[name] is not None}
    return content_id("generation", said)


def _check_audits(store: Store) -> Checked:
    """Check what audits were drawn from."""
    problems = []
    audits = store.rows("FROM audits ORDER BY audit_id")
    for audit in audits:
        population = store.table("SELECT pair_id FROM audit_pairs WHERE audit_id = ?", [audit["audit_id"]])
        drawn_from = ids_hash(population["pair_id"].to_pylist())
        said = (audit["policy_name"], audit["labelling_fingerprint"], audit["seed"], audit["population_hash"])
        named = [
            ("its population is another one", str(audit["population_hash"]), drawn_from),
            ("is not named by its content", content_id("audit", *said, _first_size(store, audit)), audit["audit_id"]),
        ]
        problems += [
            Problem("audits", str(audit["audit_id"]), what, expected, str(found))
            for what, expected, found in named
            if expected != found
        ]
    return Checked("audits", len(audits), tuple(problems))


def _first_size(store: Store, audit: Row) -> int:
    """Return how many pairs an audit had before it was extended."""
    drawn = "SELECT count(*) FROM audit_draws WHERE audit_id = ? AND batch = 1"
    return store.count(drawn, [audit["audit_id"]])


def _check_policies(store: Store) -> Checked:
    """Check that the stored wording of each policy version gives the fingerprints under which labels stand."""
    problems = []
    rows = store.rows("FROM policies ORDER BY name, version")
    for row in rows:
        place = f"{row['name']} v{row['version']}"
        try:
            policy = policy_versions(store, str(row["name"]))[int(str(row["version"])) - 1]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            said = f"{type(error).__name__}: {error}"
            problems.append(Problem("policies", place, "cannot be read", "a policy", said))
            continue
        problems += [
            Problem("policies", place, f"another {name}", getattr(policy, name), str(row[name]))
            for name in ("policy_id", "labelling_fingerprint", "training_fingerprint")
            if getattr(policy, name) != row[name]
        ]
    return Checked("policies", len(rows), tuple(problems))


def check_builds_content(store: Store) -> Checked:
    """Check builds against all that they hold, or held before something of it was forgotten."""
    problems, unknown = [], 0
    builds = store.rows(
        """
        SELECT build_id, build_id IN (SELECT build_id FROM build_alterations WHERE settings_too) AS renamed
        FROM builds ORDER BY build_id
        """
    )
    for build in builds:
        made = content_of_build(store, str(build["build_id"]))
        unknown += bool(build["renamed"])
        if made != build["build_id"] and not build["renamed"]:
            place = str(build["build_id"])
            problems.append(Problem("builds", place, "does not hold what it is named after", made, place))
    return Checked("builds", len(builds), tuple(problems), unknown)


def check_imports(store: Store) -> Checked:
    """Check imported files that still lie where they lay. One that was written to since is no fault of the store."""
    problems, changed, missing = [], [], 0
    rows = store.rows("FROM imports ORDER BY imported_at, import_id")
    for row in rows:
        native = row["format"] in (None, "uncited") and row["file_hash"] is not None
        made = content_id("import", row["file_hash"], row["corpus_hash"])
        if native and made != row["import_id"]:
            place = str(row["import_id"])
            problems.append(Problem("imports", place, "is not named by its content", made, place))
        path = Path(str(row["path"])) if row["path"] else None
        if path is None or not path.is_file():
            missing += 1
        elif _sha256(path) != row["file_hash"]:
            changed.append(str(path))
    why = [f"{missing} files are not where they were"] if missing else []
    if changed:
        why.append(f"{len(changed)} files have other bytes by now: {', '.join(changed[:5])}")
    return Checked("imports", len(rows), tuple(problems), missing + len(changed), "; ".join(why) or None)


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return None
