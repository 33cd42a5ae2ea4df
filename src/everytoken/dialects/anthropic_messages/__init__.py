"""Anthropic Messages: requests, events, the truth about the end, and the finished message."""
