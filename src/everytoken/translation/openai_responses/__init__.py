"""Responses, translated."""
