"""The only driver: upstream -> recovery -> journal, one relay for each response."""

from everytoken.relay.registry import Relays, new_stream_id
from everytoken.relay.response import Relay

__all__ = ["Relay", "Relays", "new_stream_id"]
