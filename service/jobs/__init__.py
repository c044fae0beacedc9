"""Optimization jobs: what they are, how they are planned, and the durable queue between control and the workers."""
