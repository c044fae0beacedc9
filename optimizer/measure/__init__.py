"""The only reader of the evaluation split: quality, latency and memory of an ONNX file on the present host."""
