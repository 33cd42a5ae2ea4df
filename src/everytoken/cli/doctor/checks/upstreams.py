"""The upstreams, as the gateway has found them: key, model, API, pace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from everytoken.cli.doctor.checks.clock import moment
from everytoken.cli.doctor.findings import Change, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everytoken.cli.doctor.measured import Measured

__all__ = ["upstreams"]

_KEY: Final = frozenset({401, 403})
_FEW: Final = 6  # events that say nothing of a pace
_SLOW: Final = 0.3  # seconds until the last event from which on a pace can be told
_IN_ONE: Final = 6  # events in one read: more than a server has written since the read before
_AT_ONCE: Final = 0.03  # of that time: what comes within it comes at once
_OFF: Final = 60.0  # seconds of another clock
_OWN_AUTHORITY: Final = (
    "SSL_CERT_FILE=/path/to/authority.pem  # where the gateway starts, for an authority of your own"
)
# What OpenSSL says, what that means, and what mends it.
_TLS: Final = {
    "has expired": (
        "The certificate of the upstream {} has expired.",
        "# renew the certificate of its server",
    ),
    "not yet valid": (
        "The certificate of the upstream {} is not valid yet, or the gateway's clock is wrong.",
        "# timedatectl set-ntp true",
    ),
    "mismatch": (
        "The certificate of the upstream {} is for another name.",
        'url = "https://…"  # the name that the certificate is for',
    ),
    "self-signed": ("The certificate of the upstream {} was signed by an unknown authority.", _OWN_AUTHORITY),
    "self signed": ("The certificate of the upstream {} was signed by an unknown authority.", _OWN_AUTHORITY),
    "unable to get": (
        "The certificate of the upstream {} was signed by an unknown authority, or its chain is incomplete.",
        _OWN_AUTHORITY,
    ),
}
_API_NAMES: Final = {"chat": "chat completions", "responses": "Responses", "messages": "Messages"}


def upstreams(measured: Measured) -> Iterator[Finding]:
    """Say what is wrong with each."""
    for told in measured.upstreams:
        yield from _one(told)


def _one(told: dict[str, Any]) -> Iterator[Finding]:
    name = told["upstream"]
    if told.get("problem"):
        what = f"The upstream {name!r} could not be probed: {told['problem']}."
        yield Finding("upstream-not-probed", "error", what, "Nothing is known of it.")
        return
    answers: list[dict[str, Any]] = told.get("apis") or []
    if not answers:
        return
    models = told.get("models") or {}
    keys = [one for one in answers if one.get("outcome") == "refused" and one.get("status") in _KEY]
    if keys or models.get("status") in _KEY:
        yield _wrong_key(told, keys[0] if keys else models)
        return
    failed = [one for one in answers if one["outcome"] == "failed"]
    if len(failed) == len(answers):
        yield _unreachable(told, failed[0])
        return
    missing = models.get("missing") or []
    refused = [one for one in answers if one["outcome"] == "refused"]
    if missing or any(_is_about_model(one) for one in refused):
        yield _no_model(told, missing, models, refused)
    yield from _apis(told, answers)
    for one in answers:
        yield from _answer(told, one, seen=bool(missing))
    yield from _clock(told, answers)


def _wrong_key(told: dict[str, Any], one: dict[str, Any]) -> Finding:
    name = told["upstream"]
    return Finding(
        "upstream-key-refused",
        "error",
        f"The upstream {name!r} does not accept its key (status {one.get('status')}).",
        "Every request that is sent to it is refused, and goes to another upstream or fails.",
        _table(name, 'key_env = "…"  # the environment variable that holds the right key'),
        f"{told.get('server')}: {one.get('message', '')}",
    )


def _unreachable(told: dict[str, Any], one: dict[str, Any]) -> Finding:
    name, message = told["upstream"], one.get("message", "")
    words = message.lower()
    if "certificate" in words or "ssl" in words:
        problem, line = next(
            (said for sign, said in _TLS.items() if sign in words),
            (
                "The TLS connection to the upstream {} fails.",
                'url = "…"  # https:// for a server that speaks TLS',
            ),
        )
        what, why = problem.format(repr(name)), "Every request that is sent to it fails."
        change = _table(name, line)
    else:
        what, why = f"The upstream {name!r} cannot be reached.", "Every request that is sent to it fails."
        change = _table(name, 'url = "…"  # host, port and path, or the firewall between')
    return Finding("upstream-unreachable", "error", what, why, change, f"{told.get('server')}: {message}")


def _is_about_model(one: dict[str, Any]) -> bool:
    return one.get("status") in {400, 404, 422} and "model" in one.get("message", "").lower()


def _no_model(
    told: dict[str, Any], missing: list[str], models: dict[str, Any], refused: list[dict[str, Any]]
) -> Finding:
    name, listed = told["upstream"], models.get("first") or []
    wrong = ", ".join(missing) if missing else told.get("model", "")
    said = next((one.get("message", "") for one in refused if _is_about_model(one)), "")
    evidence = (
        f"it lists: {', '.join(listed[:8])}{', …' if models.get('count', 0) > 8 else ''}" if listed else said
    )
    return Finding(
        "upstream-no-such-model",
        "error",
        f"The upstream {name!r} has no model {wrong}.",
        "Requests for it are refused there, and go to another upstream or fail.",
        _table(name, f'models = ["{listed[0] if listed else "…"}"]  # the names that it uses'),
        evidence,
    )


def _apis(told: dict[str, Any], answers: list[dict[str, Any]]) -> Iterator[Finding]:
    name, configured = told["upstream"], told.get("configured_apis")
    lacking = [one["api"] for one in answers if one["outcome"] == "lacks-api"]
    having = [one["api"] for one in answers if one["outcome"] not in {"lacks-api", "failed", "silent"}]
    evidence = "; ".join(f"{_API_NAMES[one['api']]}: status {one.get('status', '-')}" for one in answers)
    if lacking and configured is not None:
        right = ", ".join(f'"{api}"' for api in having)
        yield Finding(
            "upstream-lacks-api",
            "error",
            f"The upstream {name!r} has no {' and no '.join(_API_NAMES[api] for api in lacking)} API, for which it is configured.",
            "Every request in that API fails there first.",
            _table(
                name, f"api = [{right}]" if having else 'api = ["chat"]  # or url: it may lack /v1 at its end'
            ),
            evidence,
        )
    elif lacking and not having:
        yield Finding(
            "upstream-lacks-api",
            "error",
            f"The upstream {name!r} answers in no API that the gateway speaks.",
            "Every request that is sent to it fails.",
            _table(name, 'url = "https://…/v1"  # the part before /chat/completions'),
            evidence,
        )


def _answer(told: dict[str, Any], one: dict[str, Any], *, seen: bool) -> Iterator[Finding]:
    name, api, outcome = told["upstream"], _API_NAMES[one["api"]], one["outcome"]
    evidence = f"{told.get('server')}: {one.get('message', '')}"
    if outcome == "cut":
        why = "The gateway recovers such responses, which takes time and is paid twice."
        yield Finding(
            "upstream-cut",
            "error",
            f"The upstream {name!r} cut a stream ({api}).",
            why,
            (
                Change(
                    f"the server or proxy of {name!r}",
                    "look into its log; its time-outs are too short, or it crashes",
                ),
            ),
            evidence,
        )
    elif outcome == "silent":
        yield Finding(
            "upstream-silent",
            "warning",
            f"The upstream {name!r} did not finish a short answer in time ({api}).",
            "It is overloaded or loading the model, or something between holds the stream back.",
            _table(name, "policy = { first_content = 60 }  # if it is always so slow"),
            one.get("message", ""),
        )
    elif outcome == "in-one-piece":
        yield Finding(
            "upstream-does-not-stream",
            "error",
            f"The upstream {name!r} does not stream ({api}): the answer came in one piece.",
            "Readers see nothing until the answer is complete.",
            (Change(f"the server of {name!r}", "allow streaming"),),
            one.get("content_type", ""),
        )
    elif outcome == "failed":
        yield Finding(
            "upstream-failed",
            "error",
            f"The upstream {name!r} sent an answer that cannot be read ({api}).",
            "Every such request fails.",
            _table(name, 'url = "…"  # it may not be the API\'s'),
            evidence,
        )
    elif outcome == "refused" and not (seen or _is_about_model(one)):
        yield _refused(told, one, evidence)
    elif outcome == "streamed" and _is_at_once(one):
        wait, span = one["first"], one["last"] - one["first"]
        yield Finding(
            "upstream-buffered",
            "warning",
            f"What the upstream {name!r} streams arrives in bunches ({api}).",
            "Something between it and the gateway holds streams back, or the server does not stream what it writes.",
            (
                Change(
                    f"the proxy in front of {name!r}",
                    "switch its buffering off (nginx: proxy_buffering off;)",
                ),
            ),
            f"nothing for {wait:.2f} s, then {one['events']} events in {one.get('reads', 0)} reads within {span * 1000:.0f} ms",
        )


def _refused(told: dict[str, Any], one: dict[str, Any], evidence: str) -> Finding:
    name, status = told["upstream"], one.get("status")
    words = {
        402: ("has no credit left", "pay, or give it less weight"),
        429: ("refuses for now: too many requests", "weight, or a higher limit at the provider"),
    }.get(
        status or 0,
        (f"refuses a plain request (status {status})", "its settings, and the provider's status page"),
    )
    return Finding(
        "upstream-refuses",
        "warning" if status == 429 else "error",
        f"The upstream {name!r} {words[0]} ({_API_NAMES[one['api']]}).",
        "Requests go to another upstream or fail.",
        _table(name, f"# {words[1]}"),
        evidence,
    )


def _is_at_once(one: dict[str, Any]) -> bool:
    """Whether events came all at once, or a buffer full at a time."""
    wait, last, events = float(one.get("first", 0)), float(one.get("last", 0)), int(one.get("events", 0))
    if events < _FEW or last < _SLOW:
        return False
    return last - wait < wait * _AT_ONCE or events >= _IN_ONE * int(one.get("reads", 0))


def _clock(told: dict[str, Any], answers: list[dict[str, Any]]) -> Iterator[Finding]:
    for one in answers:
        date = moment(one.get("date", ""))
        if date is None or not isinstance(told.get("at"), int | float):
            continue
        off = told["at"] + one.get("head", 0.0) - date
        if abs(off) > _OFF:
            yield Finding(
                "clock-skew-upstream",
                "warning",
                f"The clocks of the gateway and of the upstream {told['upstream']!r} differ by {abs(off):.0f} s.",
                "Short-lived credentials are refused, and Retry-After dates are misread.",
                (Change("the gateway's machine", "timedatectl set-ntp true"),),
                one["date"],
            )
            return


def _table(name: str, line: str) -> tuple[Change, ...]:
    return (Change(f'everytoken.toml, [[upstream]] name = "{name}"', line),)
