"""The only driver: upstream -> recovery -> journal, one relay for each response."""

from everytoken.relay.registry import Relays
from everytoken.relay.response import Relay

__all__ = ["Relay", "Relays"]
