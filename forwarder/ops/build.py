"""Which build is running."""

from importlib import metadata


def version() -> str:
    """The installed version; `unknown` where the code runs from a checkout that was never installed."""
    try:
        return metadata.version("forwarder")
    except metadata.PackageNotFoundError:
        return "unknown"
