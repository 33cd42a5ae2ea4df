"""What can be asked, route by route: one row for each path and what it takes and gives."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["ERRORS", "OPERATIONS", "PARAMETERS", "Operation"]


class Operation(NamedTuple):
    """A route with its methods, which all do the same.

    `takes`, `gives`: shapes, or media types where there is none; `gives` may have several, with a space between them.
    `errors`: groups of `ERRORS`. `asks`: parameters of `PARAMETERS`. `access`: `key`, `admin`, or "" for anybody.
    """

    methods: str
    path: str
    about: str
    tag: str
    gives: str
    takes: str = ""
    errors: str = ""
    asks: str = ""
    access: str = "key"
    status: int = 200


ERRORS: Final[dict[str, tuple[str, ...]]] = {
    "any": (
        "internal-error", "host-not-allowed", "method-not-allowed", "url-too-long", "head-too-large", "protocol-error",
        "route-not-found",
    ),
    "key": ("authentication-failed", "origin-not-allowed", "rate-limited"),
    "body": ("invalid-request", "media-type-not-supported", "request-too-large", "request-timeout", "overloaded"),
    "query": ("invalid-request",),
    "model": (
        "not-allowed", "model-not-found", "not-implemented", "idempotency-conflict", "overloaded",
        "remote-protocol-error", "not-an-event-stream", "malformed-event", "event-too-large",
        "upstream-error", "upstream-unavailable", "upstream-connect", "upstream-status", "upstream-error-event",
        "upstream-truncated", "upstream-diverged", "upstream-untranslatable", "upstream-stalled-connect",
        "upstream-stalled-first-content", "upstream-stalled-gap", "node-lost", "not-continuable", "recovery-exhausted",
        "response-too-large", "response-too-long", "cancelled", "fenced",
    ),
    "journal": ("journal-error", "not-storable", "journal-full", "journal-unavailable"),
    "stream": ("stream-not-found", "offset-expired", "offset-invalid", "invalid-request"),
    "writes": (
        "not-allowed", "stream-exists", "stream-closed", "content-type-mismatch", "sequence-conflict", "producer-gap",
        "producer-stale", "stream-full", "quota-exceeded", "request-too-large", "request-timeout",
    ),
    "keys": ("not-allowed", "key-not-found", "invalid-request", "request-too-large"),
    "reload": ("not-allowed", "invalid-request"),
}  # fmt: skip
"""Which errors which routes give; their statuses are those of `everytoken.errors.TABLE`."""

PARAMETERS: Final[dict[str, tuple[str, str, str]]] = {
    "disconnect": ("Everytoken-Disconnect", "header", "`continue`, `cancel`, or the seconds it continues without a reader."),
    "idempotency": ("Idempotency-Key", "header", "The same key with the same body attaches to the existing response."),
    "request": ("X-Request-Id", "header", "Your name for this request; it is returned, and is in the log."),
    "ids": ("ids", "query", "`none`: events without `id:` lines; `offset`: with them."),
    "offset": ("offset", "query", "Where to begin: `-1`, `now`, or an offset you have."),
    "last": ("Last-Event-ID", "header", "The last offset you have; it takes precedence."),
    "format": ("format", "query", "The output format, in place of the response's own API."),
    "live": ("live", "query", "`sse` or `long-poll`: wait for what comes next."),
    "stream": ("stream", "query", "`true`: the events of the response."),
    "after": ("starting_after", "query", "The `sequence_number` of the last event you have."),
    "since": ("since", "query", "Only those that began after this: seconds since 1970."),
    "outcome": ("outcome", "query", "Only of this outcome; `running`: what runs now."),
    "step": ("step", "query", "Seconds of a step, of which there are 500 at most."),
    "limit": ("limit", "query", "How many at most."),
}  # fmt: skip

_ASKS: Final = "disconnect idempotency request ids"
_MADE: Final = "key body model journal"

OPERATIONS: Final = (
    Operation("post", "/v1/chat/completions", "OpenAI chat completions, streamed or not", "Models",
              "ChatCompletion text/event-stream", "ChatRequest", _MADE, _ASKS),
    Operation("post", "/v1/completions", "One text for one prompt, streamed or not", "Models",
              "Completion text/event-stream", "CompletionRequest", _MADE, _ASKS),
    Operation("post", "/v1/messages", "Anthropic's Messages, streamed or not", "Models",
              "Message text/event-stream", "MessagesRequest", _MADE, _ASKS),
    Operation("post", "/v1/messages/count_tokens", "How many tokens a request has, as the upstream counts them", "Models",
              "TokenCount", "MessagesRequest", "key body model"),
    Operation("post", "/v1/responses", "OpenAI's Responses API, streamed or not, also in the background", "Models",
              "Response text/event-stream", "ResponsesRequest", _MADE, _ASKS),
    Operation("get head", "/v1/responses/{response_id}", "A response from the journal, as far as it has come", "Models",
              "Response text/event-stream", errors="key stream journal", asks="stream after last ids"),
    Operation("delete", "/v1/responses/{response_id}", "Delete a response", "Models", "Deleted", errors="key stream journal"),
    Operation("post", "/v1/responses/{response_id}/cancel", "Stop a response", "Models", "Response", errors="key stream journal"),
    Operation("get head", "/v1/responses/{response_id}/input_items", "What a response was made from", "Models",
              "List", errors="key stream journal"),
    Operation("get head", "/v1/models", "The models of all upstreams, under the names callers use", "Models",
              "Models", errors="key model"),
    Operation("get head", "/v1/models/{model_id}", "One model; its id may have slashes", "Models", "Model", errors="key model"),
    Operation("post", "/v1/embeddings", "Passed on to the upstream that serves the model", "Passed on",
              "application/json", "Passed", "key body model"),
    Operation("post", "/v1/rerank", "Passed on to the upstream that serves the model", "Passed on",
              "application/json", "Passed", "key body model"),
    Operation("post", "/v1/moderations", "Passed on to the upstream that serves the model", "Passed on",
              "application/json", "Passed", "key body model"),
    Operation("post", "/v1/images/{rest}", "Passed on: images, as JSON or as a form", "Passed on",
              "*/*", "Passed multipart/form-data", "key body model"),
    Operation("post", "/v1/audio/{rest}", "Passed on: speech and transcriptions, as JSON or as a form", "Passed on",
              "*/*", "Passed multipart/form-data", "key body model"),
    Operation("get head", "/v1/audio/{rest}", "Passed on: what servers list there, such as voices", "Passed on",
              "*/*", errors="key query model"),
    Operation("post", "/api/chat", "Plain text as it arrives; for the AI SDK's body a UI message stream", "Chats",
              "text/plain text/event-stream", "PlainChat", _MADE, "disconnect request"),
    Operation("get", "/api/chat/{chat_id}/stream", "The AI SDK's resume: the running answer; 204 if there is none", "Chats",
              "text/event-stream 204", errors="key journal"),
    Operation("post", "/api/chat/{chat_id}/stop", "Stop the running answer of a chat for every reader", "Chats",
              "204", errors="key journal"),
    Operation("get", "/v1/stream/{stream_id}/events", "Read a response again, from any offset; 204 behind its end", "Streams",
              "text/event-stream text/plain 204", errors="key stream journal", asks="offset last format ids"),
    Operation("get head", "/v1/stream/{stream_id}/result", "The result of a response: outcome, usage, cost, attempts",
              "Streams", "Result", errors="key stream journal"),
    Operation("post", "/v1/stream/{stream_id}/cancel", "Stop a response; a second call is no error", "Streams",
              "204", errors="key stream journal"),
    Operation("get", "/v1/stream/{stream_id}", "Read a stream by the Durable Streams protocol", "Streams",
              "*/* 204", errors="key stream journal", asks="offset live last"),
    Operation("head", "/v1/stream/{stream_id}", "What a stream is: its content type and its tail", "Streams",
              "*/*", errors="key stream journal"),
    Operation("put", "/v1/stream/{stream_id}", "Make a stream", "Streams", "204", "*/*", "key writes journal", status=201),
    Operation("post", "/v1/stream/{stream_id}", "Append to a stream, or close it", "Streams",
              "204", "*/*", "key stream writes journal"),
    Operation("delete", "/v1/stream/{stream_id}", "Delete a stream", "Streams", "204", errors="key stream journal"),
    Operation("get head", "/admin/keys", "List the keys of callers", "Administration", "Keys", errors="key keys", access="admin"),
    Operation("post", "/admin/keys", "Make a key", "Administration", "KeyWithSecret", "NewKey", "key body keys journal",
              access="admin", status=201),
    Operation("get head", "/admin/keys/{key}", "One key, by its name or id, with what it has spent", "Administration",
              "Key", errors="key keys", access="admin"),
    Operation("post", "/admin/keys/{key}/revoke", "Refuse a key for good", "Administration", "Key", "Revocation",
              "key body keys journal", access="admin"),
    Operation("post", "/admin/keys/{key}/rotate", "Give a key a new secret", "Administration", "KeyWithSecret", "Rotation",
              "key body keys journal", access="admin"),
    Operation("post", "/admin/keys/{key}/limits", "Give a key limits of its own; `null`: those of each key", "Administration",
              "Key", "NewLimits", "key body keys journal", access="admin"),
    Operation("get head", "/admin/responses", "The request log, newest first", "Administration", "Entries",
              errors="key query journal", asks="since outcome limit", access="admin"),
    Operation("get head", "/admin/responses/{response_id}", "One entry of it, by the id of the response or the request",
              "Administration", "Entry", errors="key stream journal", access="admin"),
    Operation("post", "/admin/responses/{response_id}/stop", "Stop a response that runs", "Administration", "Stopped",
              errors="key journal", access="admin"),
    Operation("get head", "/admin/overview", "Numbers over time, upstreams and keys: what the console shows", "Administration",
              "application/json", errors="key query journal", asks="since step", access="admin"),
    Operation("get", "/admin/live", "What runs, every second: whole at first, then what has changed", "Administration",
              "text/event-stream", errors="key", access="admin"),
    Operation("post", "/admin/reload", "Read the configuration again", "Administration", "Changes", errors="key reload",
              access="admin"),
    Operation("get head", "/admin/health", "What a gateway knows of its journal and its machine", "Administration",
              "application/json", errors="key", access="admin"),
    Operation("post", "/admin/probe", "Ask one upstream for a few tokens", "Administration", "application/json",
              "application/json", "key body", access="admin"),
    Operation("get post", "/v1/probe", "A paced event stream that costs nothing, to look at the path with", "Health",
              "text/event-stream", errors="key query body"),
    Operation("get head", "/v1/probe/{probe_id}", "What a probe has sent", "Health", "application/json",
              errors="key query"),
    Operation("get head", "/healthz", "The process runs, and how many responses it writes", "Health", "Health", access=""),
    Operation("get head", "/readyz", "Whether it can serve: 503 with the reasons if not", "Health", "Readiness", access=""),
    Operation("get head", "/metrics", "What Prometheus scrapes", "Health", "text/plain", errors="key", access="admin"),
    Operation("get head", "/openapi.json", "This description", "Pages", "application/json", access=""),
    Operation("get head", "/docs", "This description as a page", "Pages", "text/html", access=""),
    Operation("get head", "/", "The chat page", "Pages", "text/html", access=""),
    Operation("get head", "/console", "The console, which asks for an admin key", "Pages", "text/html", access=""),
    Operation("get head", "/assets/{rest}", "What the pages are made of", "Pages", "*/*", access=""),
)  # fmt: skip
