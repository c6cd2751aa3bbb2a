"""Subscribers to facts: logs and metrics."""
