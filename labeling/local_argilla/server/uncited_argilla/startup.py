# mypy: ignore-errors
# (argilla-server is installed only in the server's own environment, so its types cannot be seen here.)
"""What is put in order in the database before the server serves."""

from argilla_server.contexts.accounts import hash_password
from argilla_server.database import SyncSessionLocal
from argilla_server.enums import UserRole
from argilla_server.models import User, Workspace
from sqlalchemy import select, text


def ensure_owner(username: str, password: str, api_key: str, workspace: str) -> None:
    """Make the owner and the workspace, or give the owner these credentials if it has others."""
    with SyncSessionLocal() as session:
        if session.scalar(select(Workspace).filter_by(name=workspace)) is None:
            session.add(Workspace(name=workspace))
        owner = session.scalar(select(User).filter_by(username=username))
        if owner is None:
            owner = User(username=username, first_name=username.capitalize(), role=UserRole.owner, api_key="")
            session.add(owner)
        if owner.api_key != api_key:
            owner.api_key = api_key
            owner.password_hash = hash_password(password)
        session.commit()


def recount_statuses() -> None:
    """Give every record the status that its responses imply, as Argilla does after each response.

    A server that was killed may have stored a response without coming to that, or not have finished a job that does it.
    """
    answers = "SELECT count(*) FROM responses p WHERE p.record_id = records.id AND p.status = 'submitted'"
    needed = "SELECT json_extract(d.distribution, '$.min_submitted') FROM datasets d WHERE d.id = records.dataset_id"
    status = f"CASE WHEN ({answers}) >= ({needed}) THEN 'completed' ELSE 'pending' END"
    with SyncSessionLocal() as session:
        session.execute(text(f"UPDATE records SET status = {status} WHERE status <> {status}"))
        session.commit()
