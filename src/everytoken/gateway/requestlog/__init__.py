"""The request log: one entry for each response and each refusal, kept in the journal, to be looked through."""

from everytoken.gateway.requestlog.log import RequestLog

__all__ = ["RequestLog"]
