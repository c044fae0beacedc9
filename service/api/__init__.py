"""Control's gRPC services, one servicer a file: each decodes, calls, and encodes."""
