"""`make results`: what the optimizer reaches on real data in each field, and what peers reach on the same models."""
