"""Sixteen faults of a model server, played over raw sockets and scored by what a caller gets."""
