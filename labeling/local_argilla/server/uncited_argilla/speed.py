# mypy: ignore-errors
# (argilla-server is installed only in the server's own environment, so its types cannot be seen here.)
# ruff: noqa: ANN001, ANN002, ANN202
"""What makes argilla-server 2.8.0 slow, done once instead of once a record.

Pushing: pydantic adapters of question and metadata settings are built anew for every value that is checked, and the
payload of a webhook is built, with six queries, for every record although no webhook is there to receive it. A
reviewer's page: for every metadata value it is asked whether the reviewer is a member of the workspace, and each time
the record before is written to the database, in a transaction that is never committed but that others wait for. Both:
every answer is compressed, which takes longer than sending it to the same machine, and the garbage collector goes over
all that was imported again and again.

Written against one version, and applied to no other. tests/argilla_yardstick.py runs all of Argilla's own unit tests
with it and without.
"""

import gc
import logging

from argilla_server._version import __version__ as argilla_version

_WRITTEN_FOR = "2.8.0"
_LOGGER = logging.getLogger("uncited")


def apply() -> bool:
    """Patch Argilla; False, nothing changed and a line in the log where the version is another."""
    if argilla_version != _WRITTEN_FOR:
        _LOGGER.warning(
            "argilla-server is %s: the speed patch, written for %s, stays off; all takes longer",
            argilla_version,
            _WRITTEN_FOR,
        )
        return False
    _cache_adapters()
    _skip_events_without_webhooks()
    _ask_once_what_a_reviewer_may_see()
    _send_uncompressed()
    gc.freeze()
    return True


def _cache_adapters() -> None:
    from argilla_server.api.schemas.v1.questions import QuestionSettings
    from argilla_server.models import MetadataProperty, Question
    from argilla_server.models.metadata_properties import MetadataPropertySettings
    from pydantic import TypeAdapter

    question_adapter = TypeAdapter(QuestionSettings)
    metadata_adapter = TypeAdapter(MetadataPropertySettings)
    Question.parsed_settings = property(lambda self: question_adapter.validate_python(self.settings))
    MetadataProperty.parsed_settings = property(lambda self: metadata_adapter.validate_python(self.settings))


def _skip_events_without_webhooks() -> None:
    from argilla_server.bulk import records_bulk
    from argilla_server.contexts import datasets, distribution, records, webhooks
    from argilla_server.models import Webhook
    from sqlalchemy import event
    from sqlalchemy.orm import object_session

    known: dict[str, bool] = {}  # empty: not known whether there are webhooks

    def forget(*_) -> None:
        known.clear()

    def forget_now_and_once_it_counts(_mapper, _connection, webhook) -> None:
        forget()
        event.listen(object_session(webhook), "after_commit", forget, once=True)

    for change in ("after_insert", "after_update", "after_delete"):
        event.listen(Webhook, change, forget_now_and_once_it_counts)

    def skipping(notify):
        async def notify_if_anyone_listens(db, *args):
            if "any" not in known:
                listening = bool(await webhooks.list_enabled_webhooks(db))
                known["any"] = listening
            return await notify(db, *args) if known["any"] else []

        return notify_if_anyone_listens

    for module in (records_bulk, datasets, distribution, records):
        for name in ("notify_record_event_v1", "notify_response_event_v1", "notify_dataset_event_v1"):
            if hasattr(module, name):
                setattr(module, name, skipping(getattr(module, name)))


def _ask_once_what_a_reviewer_may_see() -> None:
    from argilla_server.api.handlers.v1.datasets import records
    from argilla_server.api.policies.v1 import RecordPolicy, is_authorized

    async def filter_record_metadata_for_user(record, user):
        if record.metadata_ is None:
            return None
        session = user.current_async_session  # one a request
        known = session.info.setdefault("metadata that a user may see", {})
        with session.no_autoflush:
            for name in record.metadata_:
                if (user.id, record.dataset_id, name) not in known:
                    allowed = await is_authorized(user, RecordPolicy.get_metadata(record, name))
                    known[user.id, record.dataset_id, name] = allowed
        return {name: v for name, v in record.metadata_.items() if known[user.id, record.dataset_id, name]}

    records._filter_record_metadata_for_user = filter_record_metadata_for_user


def _send_uncompressed() -> None:
    from argilla_server._app import app
    from brotli_asgi import BrotliMiddleware

    app.user_middleware = [middleware for middleware in app.user_middleware if middleware.cls is not BrotliMiddleware]
