"""How calls reach the engine: one port, adapters for the native front and for grpcio, and a fake."""
