"""HTTP over TLS in front of the verbs: authentication, RBAC, planned faults, watches and logs."""

import asyncio
import copy
import json
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import yaml
from aiohttp import web

from tests.kube.standin.api import errors, patches
from tests.kube.standin.api.access import Access, User, Wish
from tests.kube.standin.api.discovery import discover
from tests.kube.standin.api.faults import Fault, Seen
from tests.kube.standin.api.objects import Api
from tests.kube.standin.api.routes import Route, route
from tests.kube.standin.api.selectors import by_fields, by_labels

_REVIEW = "selfsubjectaccessreviews"


class Server:
    """One API server's HTTP side."""

    def __init__(self, api: Api, logs: Callable[[str, str, str | None], str | None]) -> None:
        """Serve objects; `logs` gives a container's output by namespace, pod and container, None for no such."""
        self.api = api
        self.access = Access(api)
        self.tokens: dict[str, User] = {}
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self._logs = logs

    def application(self) -> web.Application:
        """Give the application to run."""
        application = web.Application(client_max_size=16 * 2**20)
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        user, wish, body = User("system:anonymous"), None, None
        try:
            user = self._authenticate(request)
            found = discover(self.api.kinds, request.path) if request.method == "GET" else None
            if found is not None:
                wish = Wish("discover", "", request.path, None)
                await self._suffer(request, user, wish)
                answer: web.StreamResponse = web.json_response(found)
            elif request.path.strip("/") in ("healthz", "livez", "readyz"):
                return web.Response(text="ok")
            elif not request.path.startswith(("/api/", "/apis/")) or request.path.count("/") < 3:
                raise errors.unknown_path()
            else:
                asked = route(self.api.kinds, request.method, request.path, request.query)
                wish = asked.wish
                body = await _body(request)
                await self._suffer(request, user, wish)
                if asked.kind.plural != _REVIEW:
                    self.access.check(user, wish)
                if asked.verb == "watch":
                    self._record(user, wish, HTTPStatus.OK, None)
                    return await self._watch(request, asked)
                answer = self._answer(request, asked, user, body)
        except errors.ApiError as refused:
            answer = web.json_response(refused.status(), status=refused.code)
        if wish:
            self._record(user, wish, answer.status, body)
        return answer

    def _record(self, user: User, wish: Wish, code: int, body: Any) -> None:
        self.seen.append(
            Seen(user.name, wish.verb, wish.group, wish.resource, wish.namespace, wish.name, code, copy.deepcopy(body))
        )

    def _authenticate(self, request: web.Request) -> User:
        header = request.headers.get("Authorization", "")
        if header:
            if user := self.tokens.get(header.removeprefix("Bearer ")):
                return user
            raise errors.ApiError(HTTPStatus.UNAUTHORIZED, "Unauthorized", "Unauthorized")
        certificate = request.get_extra_info("peercert")
        if not certificate:
            raise errors.ApiError(HTTPStatus.UNAUTHORIZED, "Unauthorized", "Unauthorized")
        subject = [pair for part in certificate["subject"] for pair in part]
        groups = (value for key, value in subject if key == "organizationName")
        return User.of(next(value for key, value in subject if key == "commonName"), groups)

    async def _suffer(self, request: web.Request, user: User, wish: Wish) -> None:
        for fault in list(self.faults):
            if not fault.takes(user, wish):
                continue
            await asyncio.sleep(fault.delay_seconds)
            if fault.cut and request.transport:
                request.transport.abort()
                raise asyncio.CancelledError
            if refusal := fault.refusal(user, wish):
                raise refusal

    def _answer(self, request: web.Request, asked: Route, user: User, body: Any) -> web.Response:
        kind, namespace, name = asked.kind, asked.namespace, asked.name
        if kind.plural == _REVIEW:
            return web.json_response(self._review(user, body), status=HTTPStatus.CREATED)
        if asked.subresource == "log" and kind.resource == "pods":
            return self._log(request, asked)
        if asked.subresource not in ("", "status"):
            raise errors.unknown_path()
        match asked.verb:
            case "get":
                return web.json_response(self.api.get(kind, namespace, name))
            case "list":
                return web.json_response(self._list(asked, request))
            case "create" | "update" | "patch":
                return self._write(request, asked, body)
            case "delete":
                return self._delete(request, asked, body)
            case "deletecollection":
                for obj in self._list(asked, request)["items"]:
                    metadata = obj["metadata"]
                    self.api.delete(kind, metadata.get("namespace"), metadata["name"], _grace(request, body))
                return web.json_response(_success({}))
        raise errors.ApiError(
            HTTPStatus.METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )

    def _write(self, request: web.Request, asked: Route, body: Any) -> web.Response:
        kind, namespace, name, query = asked.kind, asked.namespace, asked.name, request.query
        options = {"dry_run": "dryRun" in query, "strict": query.get("fieldValidation") == "Strict"}
        if asked.verb == "create":
            created = self.api.create(kind, namespace, body, **options)
            return web.json_response(created, status=HTTPStatus.CREATED)
        options["status"] = asked.subresource == "status"
        if asked.verb == "update":
            return web.json_response(self.api.update(kind, namespace, name, body, **options))
        new = request.content_type == patches.APPLY and self.api.store.find(kind, namespace, name) is None
        manager = query.get("fieldManager")
        patched = self.api.patch(kind, namespace, name, body, request.content_type, manager, **options)
        return web.json_response(patched, status=HTTPStatus.CREATED if new else HTTPStatus.OK)

    def _delete(self, request: web.Request, asked: Route, body: Any) -> web.Response:
        uid = ((body or {}).get("preconditions") or {}).get("uid")
        stored = self.api.get(asked.kind, asked.namespace, asked.name)
        if uid and uid != stored["metadata"]["uid"]:
            raise errors.conflict(asked.kind.resource, asked.name)
        if "dryRun" in request.query:
            return web.json_response(_success({}))
        deleted = self.api.delete(asked.kind, asked.namespace, asked.name, _grace(request, body))
        details = {
            "name": asked.name,
            "group": asked.kind.group,
            "kind": asked.kind.plural,
            "uid": deleted["metadata"]["uid"],
        }
        return web.json_response(deleted if deleted["metadata"].get("deletionTimestamp") else _success(details))

    def _list(self, asked: Route, request: web.Request) -> dict[str, Any]:
        query = request.query
        items = self.api.list(asked.kind, asked.namespace, query.get("labelSelector"), query.get("fieldSelector"))
        return {
            "kind": f"{asked.kind.name}List",
            "apiVersion": asked.kind.api_version,
            "metadata": {"resourceVersion": str(self.api.store.version)},
            "items": items,
        }

    def _log(self, request: web.Request, asked: Route) -> web.Response:
        pod = self.api.get(asked.kind, asked.namespace, asked.name)
        container = request.query.get("container")
        names = [one["name"] for one in pod["spec"]["containers"]]
        if container is not None and container not in names:
            raise errors.bad_request(f"container {container} is not valid for pod {asked.name}")
        text = self._logs(asked.namespace or "", asked.name, container or names[0])
        if text is None:
            shown = container or names[0]
            raise errors.bad_request(
                f'container "{shown}" in pod "{asked.name}" is waiting to start: ContainerCreating'
            )
        if tail := request.query.get("tailLines"):
            text = "".join(text.splitlines(keepends=True)[-int(tail) :]) if int(tail) else ""
        return web.Response(text=text)

    def _review(self, user: User, body: Any) -> dict[str, Any]:
        asked = (body.get("spec") or {}).get("resourceAttributes") or {}
        subresource = asked.get("subresource")
        resource = asked.get("resource", "") + (f"/{subresource}" if subresource else "")
        wish = Wish(
            asked.get("verb", ""),
            asked.get("group", ""),
            resource,
            asked.get("namespace") or None,
            asked.get("name", ""),
        )
        return {**body, "status": {"allowed": self.access.allows(user, wish)}}

    async def _watch(self, request: web.Request, asked: Route) -> web.StreamResponse:
        query = request.query
        by_label, by_field = by_labels(query.get("labelSelector")), by_fields(query.get("fieldSelector"))
        if asked.name:
            by_field = by_fields(f"metadata.name={asked.name}")
        deadline = time.monotonic() + float(query.get("timeoutSeconds") or 3600)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        with self.api.store.watch(asked.kind.resource, int(query.get("resourceVersion") or 0)) as changes:
            await response.prepare(request)
            while (left := deadline - time.monotonic()) > 0:
                try:
                    happened, resource, obj = await asyncio.wait_for(changes.get(), left)
                except TimeoutError:
                    break
                here = asked.namespace is None or obj["metadata"].get("namespace") == asked.namespace
                if resource == asked.kind.resource and here and by_label(obj) and by_field(obj):
                    await response.write(json.dumps({"type": happened, "object": obj}).encode() + b"\n")
        await response.write_eof()
        return response


async def _body(request: web.Request) -> Any:
    if "protobuf" in request.content_type:
        raise errors.unsupported_media_type(request.content_type, ("application/json", "application/yaml"))
    text = await request.text()
    try:
        if "yaml" in request.content_type:
            return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return json.loads(text) if text else None
    except (ValueError, yaml.YAMLError) as error:
        raise errors.bad_request(f"the object provided is unrecognized: {error}") from error


def _grace(request: web.Request, body: Any) -> int | None:
    asked = request.query.get("gracePeriodSeconds") or (body or {}).get("gracePeriodSeconds")
    return None if asked is None else int(asked)


def _success(details: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
