"""Requests wait in a bounded queue and are run together: a pure rule, a queue, one loop."""
