"""Bytes from a stranger become content-addressed blobs: receiving, resuming, expiring, inspecting, collecting."""
