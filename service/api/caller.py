"""Who is asking: the tenant, and the name that goes into the record."""

import grpc

from service.types import DEFAULT_TENANT


def tenant_of(_context: grpc.ServicerContext) -> str:
    """The tenant on whose behalf a call is made. Until tokens say more, everybody is the same one."""
    return DEFAULT_TENANT


def actor_of(_context: grpc.ServicerContext) -> str:
    """Who changed something, for the record."""
    return "anonymous"
