"""The certificate: trusted, for this name, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from everytoken.cli.doctor.findings import Change, Finding
from everytoken.gateway.config import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everytoken.cli.doctor.measured import Measured

__all__ = ["tls"]

_SOON: Final = 14 * 86_400.0  # seconds; renewal commonly begins 30 days before the end
# X509_V_ERR_… of OpenSSL's x509_vfy.h.
_NOT_YET, _EXPIRED, _SELF_SIGNED, _SELF_IN_CHAIN, _NO_ISSUER, _NO_FIRST = 9, 10, 18, 19, 20, 21
_WRONG_NAME, _WRONG_ADDRESS = 62, 64
_RENEW: Final = (Change("the server that has the certificate", "renew it, and reload the server"),)


def tls(measured: Measured) -> Iterator[Finding]:
    """Say what is wrong with the certificate."""
    seen = measured.tls
    host = urlsplit(measured.url).hostname or ""
    if seen is None:
        if measured.url.startswith("http://") and not is_loopback(host):
            yield Finding(
                "no-tls",
                "note",
                f"The connection to {host} is not encrypted.",
                "Keys and conversations cross the network in the clear.",
                (Change("everytoken.toml", 'tls_cert = "…"  # and tls_key, or a proxy with a certificate'),),
            )
        return
    why = "Clients refuse the connection, as this program did; the key was not sent."
    if seen.code == _EXPIRED:
        yield Finding(
            "tls-expired", "error", f"The certificate of {host} has expired.", why, _RENEW, seen.message
        )
    elif seen.code == _NOT_YET:
        change: tuple[Change, ...] = (
            Change("this machine, or the server", "set the clock: timedatectl set-ntp true"),
        )
        yield Finding(
            "tls-not-yet-valid",
            "error",
            f"The certificate of {host} is not valid yet.",
            why,
            change,
            seen.message,
        )
    elif seen.code in {_WRONG_NAME, _WRONG_ADDRESS}:
        names = ", ".join(seen.names) or "other names"
        change = (
            Change("the server that has the certificate", f"use a certificate for {host}"),
            Change("clients", f"use the name of the certificate: {seen.names[0] if seen.names else '…'}"),
        )
        yield Finding(
            "tls-wrong-name",
            "error",
            f"The certificate is for {names}, not for {host}.",
            why,
            change,
            seen.message,
        )
    elif seen.code in {_SELF_SIGNED, _SELF_IN_CHAIN, _NO_ISSUER, _NO_FIRST}:
        yield _unknown_authority(seen.code, host, why, seen.message)
    elif seen.code or seen.message:
        change = (Change("the server", "serve TLS on this port, or use an http:// URL"),)
        yield Finding(
            "tls-failed", "error", f"No TLS connection to {host} can be made.", why, change, seen.message
        )
    elif seen.valid_until is not None and seen.valid_until - measured.now < _SOON:
        days = max(0, int((seen.valid_until - measured.now) / 86_400))
        yield Finding(
            "tls-expires-soon",
            "warning",
            f"The certificate of {host} expires in {days} days.",
            "From then on every client refuses the connection.",
            _RENEW,
        )


def _unknown_authority(code: int, host: str, why: str, message: str) -> Finding:
    trust = Change("clients", "SSL_CERT_FILE=/path/to/authority.pem, if the authority is your own")
    if code in {_SELF_SIGNED, _SELF_IN_CHAIN}:
        what = f"The certificate of {host} was signed by an authority that this machine does not know (self-signed)."
        change: tuple[Change, ...] = (
            Change("the server that has the certificate", "use a certificate of a public authority"),
            trust,
        )
    else:
        what = f"The certificate of {host} was signed by an unknown authority, or the chain is incomplete."
        change = (
            Change(
                "nginx", "ssl_certificate /path/to/fullchain.pem;  # the certificate and its intermediates"
            ),
            Change("HAProxy", "bind :443 ssl crt /path/to/fullchain-and-key.pem"),
            Change("everytoken.toml", 'tls_cert = "/path/to/fullchain.pem"'),
            trust,
        )
    return Finding("tls-unknown-authority", "error", what, why, change, message)
