"""`uncited verify`: whether the store is what it claims to be."""

from commands.session import HERE, JsonOption, QuietOption, WorkspaceOption, opened
from store.errors import InvalidDataError

_SHOWN = 50


def verify(workspace: WorkspaceOption = HERE, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Work out every hash again, follow every id, and compare every label with its evidence; changes nothing."""
    from store.verification import verify as verify_store

    with opened(workspace, as_json=json, quiet=quiet) as session:
        with session.out.progress() as bar:
            result = verify_store(session.store, progress=bar)
        problems = result.problems
        checked = sum(check.rows for check in result.checks)
        document = {"checked": checked, "problems": problems, "checks": result.checks}
        if not session.out.json(document):
            if problems:
                rows = [(p.table, p.row, p.what, p.expected, p.found) for p in problems[:_SHOWN]]
                session.out.table("What is wrong", ("table", "row", "what", "expected", "found"), rows)
            for check in result.checks:
                if check.unknown and not check.why:
                    session.out.line(f"{check.name}: {check.unknown:,} rows cannot be checked: texts were forgotten")
                if check.why:
                    session.out.line(f"{check.name}: {check.why}")
            if not problems:
                session.out.line(f"{len(result.checks)} checks of {checked:,} rows: nothing is wrong")
    if problems:
        more = f", of which {_SHOWN} are shown; --json has all" if len(problems) > _SHOWN and not json else ""
        raise InvalidDataError(
            f"{len(problems):,} things are not as they should be{more}",
            hint="go back to a copy of uncited.duckdb, or import and pull again what is wrong",
        )
