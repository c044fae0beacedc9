"""Which variants an engine holds: their states, the pure roll-over rule, and the manager that applies it."""
