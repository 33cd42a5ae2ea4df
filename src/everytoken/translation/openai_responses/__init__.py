"""Responses, from and to the neutral form."""
