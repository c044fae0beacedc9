"""Passes: one file a technique, each a `run` that takes a model of one stage and returns one, and a table of them."""
