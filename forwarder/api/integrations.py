"""The route table of `/api/v2/integrations`. Every change is a line in the audit log."""

import structlog
from aiohttp import web

from forwarder.api import models, representation
from forwarder.api.administration import Administration, View
from forwarder.api.operation import Operation, json
from forwarder.api.reading import read_body, read_query
from forwarder.api.representation import BASE
from forwarder.ops.http import CALLER
from forwarder.ops.refusals import Fault, Refused

_log = structlog.get_logger("forwarder.audit")

ONE = BASE + "/{integrationId}"
CONFIGURATION = ONE + "/config/current"


class _Handlers:
    def __init__(self, administration: Administration) -> None:
        self._admin = administration

    async def list(self, request: web.Request) -> web.Response:
        query = read_query(models.IntegrationQuery, request.query)
        found = [each for each in map(representation.integration, await self._admin.all()) if _wanted(each, query)]
        found.sort(key=lambda each: (getattr(each, query.sort_by), each.id))
        return json(models.IntegrationListing(**representation.page(found, query, BASE, request.query)))

    async def create(self, request: web.Request) -> web.Response:
        wanted = read_body(models.CreateIntegration, await request.read())
        if wanted.integration_type.id != models.TYPE_ID:
            fault = Fault("There is no such integration type", "integrationType.id", hint=f"it is {models.TYPE_ID}")
            raise Refused(400, faults=[fault])
        view = await self._admin.create(wanted)
        return self._changed(request, "create", None, view)

    async def get(self, request: web.Request) -> web.Response:
        return json(representation.integration(await self._admin.get(_id(request))))

    async def update(self, request: web.Request) -> web.Response:
        wanted = read_body(models.UpdateIntegration, await request.read())
        before = await self._admin.get(_id(request))
        match wanted.intended_state:
            case "ENABLED":
                return self._changed(request, "activate", before, await self._admin.activate(before.id))
            case "DISABLED":
                return self._changed(request, "deactivate", before, await self._admin.deactivate(before.id))
            case "DELETED":
                return await self.delete(request)

    async def delete(self, request: web.Request) -> web.Response:
        before = await self._admin.get(_id(request))
        return self._changed(request, "delete", before, await self._admin.delete(before.id))

    async def get_configuration(self, request: web.Request) -> web.Response:
        return json(representation.configuration(await self._admin.get(_id(request))))

    async def put_configuration(self, request: web.Request) -> web.Response:
        wanted = read_body(models.UpdateConfiguration, await request.read())
        if faults := [
            Fault(f"{each} must be empty", each) for each in ("advanced", "credentials") if getattr(wanted, each)
        ]:
            raise Refused(400, faults=faults)
        before = await self._admin.get(_id(request))
        after = await self._admin.configure(before.id, wanted)
        self._changed(request, "configure", before, after)
        return json(representation.configuration(after))

    def _changed(self, request: web.Request, action: str, before: View | None, after: View) -> web.Response:
        caller = request[CALLER]
        answer = representation.integration(after)
        _log.info(
            "audit",
            who=caller.kind,
            peer=caller.peer,
            action=action,
            integration=after.id,
            before=dict(before.values) if before else None,
            after={"INTENDED_STATE": "DELETED"} if action == "delete" else dict(after.values),
        )
        return json(answer)


def operations(administration: Administration) -> list[Operation]:
    """The table."""
    do = _Handlers(administration)
    one, config = models.Integration, models.Configuration
    return [
        Operation(
            "GET",
            BASE,
            "getIntegrations",
            "List integrations",
            do.list,
            models.IntegrationListing,
            models.IntegrationQuery,
        ),
        Operation(
            "POST",
            BASE,
            "postIntegrations",
            "Create an integration",
            do.create,
            one,
            body=models.CreateIntegration,
            refusals=(409,),
        ),
        Operation("GET", ONE, "getIntegration", "Get an integration", do.get, one, refusals=(404,)),
        Operation(
            "PATCH",
            ONE,
            "patchIntegration",
            "Activate, deactivate or delete an integration",
            do.update,
            one,
            body=models.UpdateIntegration,
            refusals=(404, 409),
        ),
        Operation(
            "DELETE",
            ONE,
            "deleteIntegration",
            "Delete an integration with its event source",
            do.delete,
            one,
            refusals=(404, 409),
        ),
        Operation(
            "GET",
            CONFIGURATION,
            "getIntegrationConfigCurrent",
            "Get an integration's configuration",
            do.get_configuration,
            config,
            refusals=(404,),
        ),
        Operation(
            "PUT",
            CONFIGURATION,
            "putIntegrationConfigCurrent",
            "Replace an integration's configuration",
            do.put_configuration,
            config,
            body=models.UpdateConfiguration,
            refusals=(404, 409),
        ),
    ]


def _id(request: web.Request) -> str:
    return request.match_info["integrationId"]


def _wanted(each: models.Integration, query: models.IntegrationQuery) -> bool:
    return (
        (query.ids is None or each.id in query.ids)
        and query.integration_type in (None, models.TYPE_ID)
        and (query.reported_state or each.reported_state.code).upper() == each.reported_state.code
    )
