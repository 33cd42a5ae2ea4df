"""The parts of this API's translation."""

from __future__ import annotations

from everytoken.translation.anthropic_messages.read_events import MessagesEventReader
from everytoken.translation.anthropic_messages.read_request import read_request
from everytoken.translation.anthropic_messages.write_events import MessagesEventWriter
from everytoken.translation.anthropic_messages.write_request import write_request
from everytoken.translation.api import TranslatedApi

__all__ = ["API"]

API = TranslatedApi(
    "anthropic-messages", read_request, write_request, MessagesEventReader, MessagesEventWriter
)
