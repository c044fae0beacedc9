"""The version of the distribution that runs, as its metadata says."""

from importlib.metadata import PackageNotFoundError, version


def stillroom_version() -> str:
    """ "1.2.3"; "unknown" where the tree is run without having been installed."""
    try:
        return version("stillroom")
    except PackageNotFoundError:
        return "unknown"
