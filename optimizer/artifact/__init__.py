"""What is stored and exchanged: digests, signatures, sessions, manifests, trial specs. Never imports torch."""
