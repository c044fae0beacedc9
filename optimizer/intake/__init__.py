"""Untrusted checkpoints become models: one file a format, and the stages that passes hand to each other."""
