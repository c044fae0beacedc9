"""Control's two HTTP ports: a read-only view of the Open Inference Protocol, and metrics with health."""
