"""The parts of this API's translation."""

from __future__ import annotations

from everytoken.translation.api import TranslatedApi
from everytoken.translation.openai_chat.read_events import ChatEventReader
from everytoken.translation.openai_chat.read_request import read_request
from everytoken.translation.openai_chat.write_events import ChatEventWriter
from everytoken.translation.openai_chat.write_request import write_request

__all__ = ["API"]

API = TranslatedApi("openai-chat", read_request, write_request, ChatEventReader, ChatEventWriter)
