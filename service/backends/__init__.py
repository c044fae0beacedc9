"""What runs a model: one protocol, onnxruntime behind it, and a fake."""
