"""OpenAI chat completions: chunks in, the truth about the end, the finished message, and requests."""

from everytoken.dialects.openai_chat.chunk import Choice, Chunk, Delta, FunctionDelta, ToolCallDelta
from everytoken.dialects.openai_chat.chunks import chunks_of
from everytoken.dialects.openai_chat.decoder import DONE, ChatDecoder, decode_chunk
from everytoken.dialects.openai_chat.message import Accumulator
from everytoken.dialects.openai_chat.request import ChatRequest
from everytoken.dialects.openai_chat.usage import usage_estimate

__all__ = [
    "DONE",
    "Accumulator",
    "ChatDecoder",
    "ChatRequest",
    "Choice",
    "Chunk",
    "Delta",
    "FunctionDelta",
    "ToolCallDelta",
    "chunks_of",
    "decode_chunk",
    "usage_estimate",
]
