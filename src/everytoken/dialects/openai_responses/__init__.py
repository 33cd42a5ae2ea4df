"""OpenAI Responses: typed events in, one numbered stream of them out, whole responses, and requests."""

from everytoken.dialects.openai_responses.message import Accumulator
from everytoken.dialects.openai_responses.request import ResponsesRequest, response_id_of, stream_id_of

__all__ = ["Accumulator", "ResponsesRequest", "response_id_of", "stream_id_of"]
