"""Connections below HTTP: the certificate of a server, and who refuses what is no HTTP."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, Final

from everytoken.cli.doctor.measured import Tls
from everytoken.upstream.tls import client_context

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["look_at_certificate", "refusal_of"]

_PATIENCE: Final = 5.0  # seconds for a certificate
_SHOW: Final = 3.0  # seconds for a refusal
_NO_HTTP: Final = b"GET /\0 HTTP/1.1\r\nHost: everytoken-doctor\r\nConnection: close\r\n\r\n"
_MOST: Final = 16 * 1024  # bytes of a refusal
_NAME_CODES: Final = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


async def look_at_certificate(host: str, port: int, context: ssl.SSLContext) -> Tls:
    """Return what is to say of a server's certificate. Raises `OSError` if there is no server."""
    try:
        certificate = await _certificate(host, port, context)
    except ssl.SSLCertVerificationError as error:
        names = await _names(host, port) if error.verify_code in _NAME_CODES else ()
        return Tls(error.verify_code, error.verify_message, names)
    except ssl.SSLError as error:
        return Tls(message=error.reason or str(error) or "the handshake failed")
    ends = certificate.get("notAfter")
    return Tls(valid_until=ssl.cert_time_to_seconds(ends) if isinstance(ends, str) else None)


async def _names(host: str, port: int) -> tuple[str, ...]:
    """Return the names that a trusted certificate is for."""
    context = await asyncio.to_thread(client_context)
    context.check_hostname = False
    try:
        certificate = await _certificate(host, port, context)
    except (OSError, ssl.SSLError):
        return ()
    return tuple(
        str(value) for kind, value in certificate.get("subjectAltName", ()) if "IP" in kind or kind == "DNS"
    )


async def _certificate(host: str, port: int, context: ssl.SSLContext) -> Mapping[str, Any]:
    async with asyncio.timeout(_PATIENCE):
        _, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        return writer.get_extra_info("peercert") or {}
    finally:
        writer.transport.abort()


async def refusal_of(host: str, port: int, context: ssl.SSLContext | None) -> str:
    """Return how the server nearest to us refuses what is no HTTP, "" if it says nothing.

    Every product has its own page for that, and refuses it before anything behind it is asked.
    """
    try:
        async with asyncio.timeout(_SHOW):
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
            try:
                writer.write(_NO_HTTP)
                data = bytearray()
                while len(data) < _MOST and (more := await reader.read(_MOST)):
                    data += more
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return ""
    return data.decode("latin-1")
