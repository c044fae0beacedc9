"""Names that callers choose."""

import re

from service.errors import InvalidArgument

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_model_name(name: str) -> str:
    """Gives the name back. Raises InvalidArgument for anything but 1 to 128 of A-Z a-z 0-9 . _ -"""
    if _MODEL.fullmatch(name) is None:
        raise InvalidArgument(
            f"{name[:128]!r} cannot name a model: 1 to 128 characters of A-Z, a-z, 0-9, '.', '_' and '-' are allowed, "
            "the first a letter or digit"
        )
    return name
