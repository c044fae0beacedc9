"""A leaf: the typed Python client of a Stillroom server. Needs grpcio, numpy and protobuf alone."""
