"""The status that an error inside a response tells."""

from __future__ import annotations

from typing import Any

import pytest

from chat_wire import receive
from everytoken.dialects.openai_chat import ChatDecoder
from everytoken.errors import ErrorEventError

STATUSES = [
    ({"code": 400, "message": "x"}, 400),
    ({"code": "422", "message": "x"}, 422),
    ({"message": "x", "type": "invalid_request_error"}, 400),
    ({"message": "x", "type": "invalid_request_error", "code": "invalid_api_key"}, 401),
    ({"message": "x", "type": "BadRequestError"}, 400),
    ({"message": "x", "code": "content_filter"}, 400),
    ({"message": "x", "code": "DataInspectionFailed"}, 400),
    ({"message": "x", "code": "context_length_exceeded"}, 400),
    ({"message": "x", "status": "RESOURCE_EXHAUSTED"}, 429),
    ({"message": "x", "type": "rate_limit_error"}, 429),
    ({"message": "x", "type": "overloaded_error"}, 529),
    ({"message": "x", "type": "server_error"}, 500),
    ({"error": {"error": {"message": "x", "code": 403}}}, 403),
    ({"message": "x", "type": "something_else", "code": 7}, None),
    ({"message": "x", "code": None}, None),
    ("x", None),
]


@pytest.mark.parametrize(("error", "status"), STATUSES, ids=str)
def test_an_error_inside_the_stream_has_the_status_it_tells(error: Any, status: int | None):
    with pytest.raises(ErrorEventError) as raised:
        receive(ChatDecoder(), {"error": error})
    assert raised.value.upstream_status == status
    assert raised.value.status == (status if status is not None and status < 500 else 502)
    assert raised.value.retryable is (status in {None, 429, 500, 529})
