"""The demonstration: a real checkpoint trained on MNIST goes the whole way from push to load test."""
