"""The description is what is served, and nothing that fits or breaks it makes the daemon fail."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from forwarder.api.operation import Operation
from tests.integration.api.conftest import ADMIN, CRM, Rig

PATH = "/api/v2/openapi.json"
CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
EXAMPLES = 10


async def test_it_describes_every_route_that_is_served(rig: Rig) -> None:
    document = await rig.get(PATH)
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    routes: list[web.RouteDef] = rig.daemon._api.routes()
    assert described == {(each.method, each.path) for each in routes}
    assert {
        "/api/v2/integrations",
        "/api/v2/integrations/{integrationId}/config/current",
        "/api/v2/integrations/types/{typeId}/configschemas/{configType}",
        "/api/v2/notifications/availabletopics",
        "/api/dead-letters/redrive",
        "/api/tap",
        PATH,
    } <= {path for _, path in described}


async def test_names_are_the_references(rig: Rig) -> None:
    document = await rig.get(PATH)
    one = document["paths"]["/api/v2/integrations/{integrationId}/config/current"]["put"]
    assert one["operationId"] == "putIntegrationConfigCurrent"
    properties = document["components"]["schemas"]["Properties"]["properties"]
    assert set(properties) == {"awsAccountId", "awsAccountRegion", "eventSourceSuffix", "eventFilter"}
    assert set(document["components"]["schemas"]["UpdateConfiguration"]["required"]) == {
        "name",
        "version",
        "properties",
    }
    assert {"400", "401", "404", "409", "413", "415"} <= set(one["responses"])


def test_names_of_operations_are_unique(rig: Rig) -> None:
    operations: list[Operation] = rig.daemon._api.operations
    assert len({each.name for each in operations}) == len(operations)


@pytest.mark.timeout(240)
async def test_whatever_is_asked_is_answered_as_described(rig: Rig, tmp_path: Path) -> None:
    await rig.put_file("crm", CRM)
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        *["run", rig.url + PATH, f"--header=Authorization: Bearer {ADMIN}"],
        *[
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ],
        *["--exclude-path", "/api/tap", "--max-examples", str(EXAMPLES), "--phases", "examples,coverage,fuzzing"],
        *["--seed", "1", "--generation-database", "none", "--no-color"],
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-6000:]
    answered: Any = await rig.ask("GET", "/api/v2/integrations")
    assert answered[0] == 200
