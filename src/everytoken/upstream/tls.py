"""Trust in the system's certificates."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

__all__ = ["client_context"]

# Where systems keep their certificates in one file; for a Python whose OpenSSL was built for another system.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def client_context() -> ssl.SSLContext:
    """Return the context for connections to upstreams; it reads files, so do not call it in the event loop.

    On macOS and Windows the system verifies. Elsewhere the certificates are read once, here: truststore would read them
    again for every connection, in the event loop, which takes 55 ms with Debian's.
    """
    if sys.platform in {"darwin", "win32"}:
        import truststore  # noqa: PLC0415  # not needed elsewhere

        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if not (paths.cafile or paths.capath):
        bundle = next((bundle for bundle in _BUNDLES if Path(bundle).is_file()), None)
        if bundle is not None:
            context.load_verify_locations(cafile=bundle)
    return context
