"""OpenAI chat completions: chunks in, the truth about the end, the finished message, and requests."""

from everytoken.chat.decoder import (
    DONE,
    ChatDecoder,
    Choice,
    Chunk,
    Delta,
    FunctionDelta,
    ToolCallDelta,
)
from everytoken.chat.request import ChatRequest

__all__ = ["DONE", "ChatDecoder", "ChatRequest", "Choice", "Chunk", "Delta", "FunctionDelta", "ToolCallDelta"]
