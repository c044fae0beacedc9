"""A server in the caller's process, for tests of programs that use the client: state in memory, faults on order."""
