"""The gateway: OpenAI in and out over one journal, with recovery in between."""

from everytoken.gateway.admission import Admission, Asked
from everytoken.gateway.app import Gateway
from everytoken.gateway.config import Config, UpstreamConfig

__all__ = ["Admission", "Asked", "Config", "Gateway", "UpstreamConfig"]
