"""The regions that have EventBridge, from the endpoint data that comes with botocore. No network."""

from functools import cache


@cache
def eventbridge_regions() -> frozenset[str]:
    """All regions of all of AWS's partitions in which EventBridge exists.

    A region can be in here and still have no partner events; only AWS can say so (`OperationDisabledException`).
    """
    import botocore.session  # noqa: PLC0415  (a tenth of a second that only validation needs)

    session = botocore.session.get_session()
    partitions = session.get_available_partitions()
    return frozenset(region for each in partitions for region in session.get_available_regions("events", each))
