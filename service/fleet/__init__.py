"""The engines of this host as control sees them: what they shall serve, and what they say they do."""
