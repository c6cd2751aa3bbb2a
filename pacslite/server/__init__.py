"""Configuration, and the one place that wires the parts together."""
