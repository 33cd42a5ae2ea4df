"""Measures everything, as much as possible at the same time, and says what could not be measured."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx2

from everytoken.cli.doctor.checks.buffering import is_held
from everytoken.cli.doctor.connections import look_at_certificate, refusal_of
from everytoken.cli.doctor.measured import TOO_LATE, Measured
from everytoken.cli.doctor.probing import Path
from everytoken.cli.doctor.products import identify, is_gateway
from everytoken.errors import EverytokenError
from everytoken.upstream.tls import client_context

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from everytoken.cli.doctor.measured import Stream

__all__ = ["NotRunError", "Options", "examine"]

_PORTS: Final = {"http": 80, "https": 443}
_CONNECT: Final = 5.0  # seconds
_LEAVING: Final = 2.0  # seconds in which the gateway has to notice that a client has left
_SHOW: Final = 3.0  # seconds in which a product has to show itself
_FIRST: Final = 3.0  # seconds until the first event; where it is held back, leaving cannot be tried
_HELD: Final = 10.0  # seconds that a probe is there to be left
_LOOK: Final = 0.05  # seconds between two looks


class NotRunError(EverytokenError):
    """Nothing could be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is asked for. `idle`, `interval` and `timeout` are in seconds; `base` is the URL without `/v1`."""

    base: str
    key: str | None = None
    admin_key: str | None = None
    model: str = ""
    idle: float = 6.0
    interval: float = 0.2
    timeout: float = 30.0
    events: int = 5
    upstreams: bool = True


@dataclass(slots=True)
class Examination:
    """What was measured, and what was not."""

    measured: Measured
    unseen: list[str] = field(default_factory=list)


async def examine(options: Options, progress: Callable[[str], None] = lambda _: None) -> Examination:
    """Measure the path and the gateway. Raises `NotRunError` when there is nobody to ask."""
    parts = urlsplit(options.base)
    measured = Measured(
        url=options.base,
        now=time.time(),
        model=options.model,
        has_key=options.key is not None,
        own_host=parts.netloc.rpartition("@")[2],
        request_id=f"doctor-{secrets.token_hex(8)}",
    )
    done = Examination(measured)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    context = await asyncio.to_thread(client_context) if parts.scheme == "https" else None
    progress("the connection")
    if context is not None:
        try:
            measured.tls = await look_at_certificate(host, port, context)
        except (OSError, TimeoutError):
            pass  # there may be a proxy of the environment
        else:
            if measured.tls.code or measured.tls.message:
                done.unseen.append(
                    "everything behind the certificate: the key was not sent over such a connection"
                )
                return done
    direct = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))
    verify: Any = False if context is None else context
    limits = httpx2.Timeout(None, connect=_CONNECT)
    async with httpx2.AsyncClient(timeout=limits, mounts=direct, verify=verify) as client:
        path = Path(client, options.base, options.key, measured.request_id)
        looking = asyncio.gather(
            refusal_of(host, port, context), _elsewhere(client, parts.scheme, parts.netloc)
        )
        try:
            stream = await _greet(path, options)
            refusal, elsewhere = await looking
        finally:
            looking.cancel()
        measured.greeting = stream
        measured.direct = is_gateway(refusal)
        if not measured.direct:
            heads = [stream.headers, elsewhere[0], _head_of(refusal)]
            measured.products = identify(heads, [refusal, elsewhere[1], stream.body])
        if not stream.status:
            raise NotRunError(f"{options.base} does not answer in HTTP: {stream.problem}")
        if not stream.seen:
            done.unseen.append("the path and the gateway: the first probe was refused")
            return done
        deadline = time.monotonic() + options.timeout
        await _all(done, options, _parts(done, path, options, verify), deadline, progress)
        again = _again(measured, path)
        await _all(done, options, again, deadline, progress)
    return done


async def _greet(path: Path, options: Options) -> Stream:
    try:
        async with asyncio.timeout(options.timeout):
            stream = await path.probe()
            if not stream.seen and stream.status in TOO_LATE:
                stream = await path.probe()  # a time-out may be chance, and everything else hangs on this one
            return stream
    except TimeoutError as error:
        raise NotRunError(f"{options.base} did not answer within {options.timeout:g} s") from error
    except OSError as error:
        raise NotRunError(f"there is no server at {options.base}: {error}") from error


async def _elsewhere(client: httpx2.AsyncClient, scheme: str, netloc: str) -> tuple[dict[str, str], str]:
    """Return the head and the page of an answer at a path that nobody has: there a product shows itself."""
    try:
        async with asyncio.timeout(_SHOW):
            answer = await client.get(f"{scheme}://{netloc}/everytoken-doctor-{secrets.token_hex(4)}")
    except (httpx2.HTTPError, TimeoutError):
        return {}, ""
    return {name.lower(): value for name, value in answer.headers.items()}, answer.text[:65_536]


def _head_of(refusal: str) -> dict[str, str]:
    lines = [line.partition(":") for line in refusal.partition("\r\n\r\n")[0].split("\r\n")[1:]]
    return {name.strip().lower(): value.strip() for name, _, value in lines}


def _parts(
    done: Examination, path: Path, options: Options, verify: Any
) -> dict[str, Coroutine[Any, Any, None]]:
    measured, events, interval = done.measured, options.events, options.interval

    async def paced(method: str) -> None:
        measured.paced.append(await path.probe(method, events=events, interval=interval))

    async def bare() -> None:
        measured.bare = await path.probe(hints=False, events=events, interval=interval)

    async def silent() -> None:
        measured.silent = await path.probe(idle=options.idle)

    async def large() -> None:
        measured.large = await path.large()

    return {
        "a paced stream (GET)": paced("GET"),
        "a paced stream (POST)": paced("POST"),
        "a stream without hints for proxies": bare(),
        f"a silence of {options.idle:g} s": silent(),
        "a large request": large(),
        "a client that leaves": _leave(done, path),
        "the models": _models(measured, path),
        "the gateway itself": _gateway(done, options, verify),
    }


def _again(measured: Measured, path: Path) -> dict[str, Coroutine[Any, Any, None]]:
    """Return how to repeat what has arrived in bunches, with nothing beside it: once may be chance.

    At half the pace: a busy machine may stall for as long as one pause. A proxy that buffers holds these back, too.
    """

    async def again(stream: Stream) -> None:
        repeated = await path.probe(
            stream.method, events=len(stream.events) - 2, interval=2 * stream.interval, hints=stream.hints
        )
        if repeated.seen:
            measured.paced = [repeated if one is stream else one for one in measured.paced]
            measured.bare = repeated if stream is measured.bare else measured.bare

    late = [
        one for one in [*measured.paced, measured.bare] if one is not None and is_held(one) and one.complete
    ]
    return {
        f"the same again ({one.method}{'' if one.hints else ', without hints'})": again(one) for one in late
    }


async def _leave(done: Examination, path: Path) -> None:
    """Leave a probe, and ask the gateway whether it knows."""
    try:
        async with asyncio.timeout(_FIRST):
            stream = await path.probe(idle=_HELD, stop_after=1)
    except TimeoutError:
        done.unseen.append("a client that leaves: the first event of a stream was held back")
        return
    if not stream.seen:
        return
    measured = done.measured
    deadline = time.monotonic() + _LEAVING
    while True:
        measured.left = await path.state(str(stream.seen["probe"]))
        if measured.left != "running" or time.monotonic() >= deadline:
            return
        await asyncio.sleep(_LOOK)


async def _models(measured: Measured, path: Path) -> None:
    answer = await path.get("/v1/models")
    measured.models_status = answer.status_code
    try:
        value = answer.json()
        if answer.status_code == 200:
            measured.models = [str(model["id"]) for model in value["data"]]
        else:
            measured.models_problem = str(value["error"]["message"]).rstrip(".")
    except (ValueError, LookupError, TypeError):
        measured.models_problem = f"status {answer.status_code}"


async def _gateway(done: Examination, options: Options, verify: Any) -> None:
    """Have the gateway look at itself and at its upstreams."""
    if options.admin_key is None:
        done.unseen.append(
            "the gateway itself and its upstreams: that needs --admin-key or EVERYTOKEN_ADMIN_KEY"
        )
        return
    # An admin key goes to the gateway and to no proxy of the environment.
    async with httpx2.AsyncClient(
        base_url=options.base,
        headers={"authorization": f"Bearer {options.admin_key}"},
        timeout=httpx2.Timeout(None, connect=_CONNECT),
        trust_env=False,
        verify=verify,
    ) as client:
        answer = await client.get("/admin/health")
        if answer.status_code == 404:
            done.unseen.append(
                "the gateway itself and its upstreams: /admin/ is not passed on; give its own URL for that"
            )
            return
        if answer.status_code != 200:
            done.unseen.append(f"the gateway itself and its upstreams: {_said(answer)}")
            return
        done.measured.health = health = answer.json()
        if not options.upstreams:
            done.unseen.append("the upstreams: --no-upstreams")
            return
        names = [str(one["name"]) for one in health.get("upstreams", ())]
        done.measured.upstreams += await asyncio.gather(*(_upstream(client, name) for name in names))
        done.unseen += [
            f"the upstream {one['upstream']!r}: {one['skipped']}"
            for one in done.measured.upstreams
            if "skipped" in one
        ]


async def _upstream(client: httpx2.AsyncClient, name: str) -> dict[str, Any]:
    answer = await client.post("/admin/probe", json={"upstream": name})
    if answer.status_code != 200:
        return {"upstream": name, "problem": _said(answer)}
    told: dict[str, Any] = answer.json()
    return told


def _said(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["error"]["message"]).rstrip(".")
    except (ValueError, LookupError, TypeError):
        return f"status {answer.status_code}"


async def _all(
    done: Examination,
    options: Options,
    parts: dict[str, Coroutine[Any, Any, None]],
    deadline: float,
    progress: Callable[[str], None],
) -> None:
    """Run the parts at the same time, until the time is up."""
    tasks = {asyncio.create_task(part): name for name, part in parts.items()}
    waiting = set(tasks)
    while waiting and (left := deadline - time.monotonic()) > 0:
        progress(", ".join(sorted(tasks[task] for task in waiting)))
        finished, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for task in finished:
            error = task.exception()
            if isinstance(error, OSError | httpx2.HTTPError | ValueError | KeyError):
                done.unseen.append(f"{tasks[task]}: {str(error) or type(error).__name__}")
            elif error is not None:
                raise error
    for task in waiting:
        task.cancel()
        done.unseen.append(f"{tasks[task]}: not finished within {options.timeout:g} s")
    await asyncio.gather(*waiting, return_exceptions=True)
