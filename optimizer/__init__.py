"""Checkpoint to variants: the slow, batch half of Stillroom, and the only owner of torch."""
