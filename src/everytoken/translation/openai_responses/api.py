"""The parts of this API's translation."""

from __future__ import annotations

from everytoken.translation.api import TranslatedApi
from everytoken.translation.openai_responses.read_events import ResponsesEventReader
from everytoken.translation.openai_responses.read_request import read_request
from everytoken.translation.openai_responses.write_events import ResponsesEventWriter
from everytoken.translation.openai_responses.write_request import write_request

__all__ = ["API"]

API = TranslatedApi(
    "openai-responses", read_request, write_request, ResponsesEventReader, ResponsesEventWriter
)
