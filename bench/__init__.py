"""Benchmarks of everytoken and its peers; `python -m bench` runs them and writes docs/benchmarks.md."""
