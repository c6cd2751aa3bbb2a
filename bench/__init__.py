"""Benchmarks of pacslite against other storage servers: `python -m bench`, described in docs/benchmarks.md."""
