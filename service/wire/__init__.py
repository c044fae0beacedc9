"""Generated bindings of protos/ (run `make protos`), and the private descriptor pool of the Open Inference Protocol."""
