"""How long a certificate is still good, found out by those who know: two ends of a handshake in memory."""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["days_left"]

_EXPIRED: Final = 10  # OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED
_END: Final = "-----END CERTIFICATE-----"


def days_left(context: ssl.SSLContext, path: Path) -> float | None:
    """Return the days until the certificate of `context` expires, negative if it has; None if nobody knows.

    `path`: the file that it is from, with the certificate itself first.
    """
    try:
        leaf = path.read_text(encoding="ascii", errors="replace").partition(_END)[0] + _END + "\n"
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_flags |= (
            ssl.VERIFY_X509_PARTIAL_CHAIN
        )  # it is trusted itself: only its dates are asked for
        client.load_verify_locations(cadata=leaf[leaf.index("-----BEGIN CERTIFICATE") :])
        told = _handshake(client, context)
    except ssl.SSLCertVerificationError as error:
        return -1.0 if error.verify_code == _EXPIRED else None
    except (OSError, ValueError):
        return None
    return (ssl.cert_time_to_seconds(told) - time.time()) / 86_400 if told else None


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> str:
    """Return the end of the time for which the server's certificate is good."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return str((ends[0].getpeercert() or {}).get("notAfter", ""))
