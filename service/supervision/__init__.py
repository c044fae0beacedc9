"""What the supervisor is made of: ports that are free, children that die with it, pauses between restarts."""
