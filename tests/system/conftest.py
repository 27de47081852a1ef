"""A whole system for one test: see rig.py."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system.rig import Rig, running


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Two integrations in two accounts and regions, and everything they need, running."""
    async with running(tmp_path) as rig:
        yield rig
