# mypy: ignore-errors
# (argilla-server is installed only in the server's own environment, so its types cannot be seen here.)
# ruff: noqa: ANN001, ANN002, ANN202
"""What makes pushing records slow in argilla-server 2.8.0, done once instead of once a record.

Three things: pydantic adapters of question and metadata settings are built anew for every value that is checked; the
payload of a webhook is built, with six queries, for every record although no webhook is there to receive it; and every
answer is compressed, which takes longer than sending it to the same machine. Written against one version, and applied
to no other. tests/argilla_yardstick.py runs all of Argilla's own unit tests with it and without.
"""

import logging

from argilla_server._version import __version__ as argilla_version

_WRITTEN_FOR = "2.8.0"
_LOGGER = logging.getLogger("uncited")


def apply() -> bool:
    """Patch Argilla; False, nothing changed and a line in the log where the version is another."""
    if argilla_version != _WRITTEN_FOR:
        _LOGGER.warning(
            "argilla-server is %s: the speed patch, written for %s, stays off; pushing records takes longer",
            argilla_version,
            _WRITTEN_FOR,
        )
        return False
    _cache_adapters()
    _skip_events_without_webhooks()
    _send_uncompressed()
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


def _send_uncompressed() -> None:
    from argilla_server._app import app
    from brotli_asgi import BrotliMiddleware

    app.user_middleware = [middleware for middleware in app.user_middleware if middleware.cls is not BrotliMiddleware]
