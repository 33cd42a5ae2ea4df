"""The HTTP status that an error inside a 200 response would have had."""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["status_of"]

_NO_LETTER: Final = re.compile(r"[\W_]+")
_NUMBERS: Final = ("code", "status_code", "statusCode", "status", "http_status", "http_code")
_NAMES: Final = ("code", "Code", "status", "type")

# Codes and types as servers write them, without what separates the words and without a trailing "error".
_BY_NAME: Final[dict[str, int]] = {
    **dict.fromkeys(
        (
            *(
                "invalidrequest",
                "badrequest",
                "invalidargument",
                "invalidparameter",
                "invalidparam",
                "failedprecondition",
            ),
            *("invalidprompt", "invalidvalue", "contextlengthexceeded", "exceedcontextsize", "outofrange"),
            *(
                "contentfilter",
                "contentfiltered",
                "contentpolicyviolation",
                "contentpolicy",
                "responsibleaipolicyviolation",
            ),
            *(
                "datainspectionfailed",
                "moderation",
                "moderationblocked",
                "safety",
                "sensitive",
                "stringabovemaxlength",
            ),
        ),
        400,
    ),
    **dict.fromkeys(
        ("authentication", "invalidapikey", "unauthenticated", "unauthorized", "authenticationfailed"), 401
    ),
    **dict.fromkeys(
        ("paymentrequired", "insufficientbalance", "insufficientcredits", "billing", "arrearage"), 402
    ),
    **dict.fromkeys(("permission", "permissiondenied", "forbidden", "accessdenied"), 403),
    **dict.fromkeys(("notfound", "modelnotfound", "modelnotsupported"), 404),
    **dict.fromkeys(("requesttoolarge", "payloadtoolarge"), 413),
    **dict.fromkeys(("unprocessableentity", "validation"), 422),
    **dict.fromkeys(
        (
            *(
                "ratelimit",
                "ratelimitexceeded",
                "ratelimited",
                "toomanyrequests",
                "resourceexhausted",
                "throttling",
            ),
            *("insufficientquota", "quotaexceeded"),
        ),
        429,
    ),
    **dict.fromkeys(("server", "internalserver", "internal", "api"), 500),
    **dict.fromkeys(("unavailable", "serviceunavailable"), 503),
    **dict.fromkeys(("timeout", "deadlineexceeded"), 504),
    "overloaded": 529,
}

# MiniMax's numbers.
_BY_NUMBER: Final = {1002: 429, 1004: 401, 1008: 402, 1026: 400, 1027: 400, 1039: 429, 2013: 400, 2049: 401}


def status_of(error: Any) -> int | None:
    """Return the status that an error object tells by a number or by a name that is known; None if it tells none."""
    for _ in range(4):
        if isinstance(error, list) and error:
            error = error[0]
        if not isinstance(error, dict):
            return None
        found = _told(error)
        if found is not None:
            return found
        error = error.get("error")
    return None


def _told(error: dict[str, Any]) -> int | None:
    for name in _NUMBERS:
        number = error.get(name)
        if isinstance(number, str) and number.isascii() and number.isdigit() and len(number) < 6:
            number = int(number)
        if isinstance(number, int) and not isinstance(number, bool):
            if 400 <= number <= 599:
                return number
            if name == "status_code" and number in _BY_NUMBER:
                return _BY_NUMBER[number]
    for name in _NAMES:
        word = error.get(name)
        if isinstance(word, str) and len(word) <= 64:
            plain = _NO_LETTER.sub("", word).lower()
            found = _BY_NAME.get(plain) or _BY_NAME.get(plain.removesuffix("error"))
            if found is not None:
                return found
    return None
