"""The load test: labelled samples against a running server, judged by latency and accuracy of each variant."""
