"""The SQLite engine does what every engine must."""

from tests.integration.spool.conformance import SpoolConformance


class TestSqliteSpool(SpoolConformance):
    pass
