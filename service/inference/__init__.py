"""The Open Inference Protocol: messages in and out, validation, and the intake loop."""
