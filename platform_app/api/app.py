"""The FastAPI app: routers, errors, security and the API's description."""

from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI, Security
from fastapi.security import HTTPBearer

from platform_app.api import deployments, inference, jobs, models, platform, ray_jobs, teams
from platform_app.api.middleware import Audit, Authentication, BodyLimit, Failsafe, InferenceErrors
from platform_app.api.problems import ProblemView, documented, install
from platform_app.api.services import Services, changes_need_a_member

_JSON_LIMIT = 2**20
"""Bytes; a spec is a few thousand."""
_SMALLER = "keep data out of what is uploaded, or have the operator raise SLIPWAY_PACKAGE_LIMIT_BYTES"

_DESCRIPTION = """\
Submit Ray Train jobs and Ray Tune sweeps, follow them, promote models and serve them.

Every route but health needs `Authorization: Bearer TOKEN` (or Ray's `X-Ray-Authorization`). A token is a team's and has
a role: a viewer looks at what is the team's, a member changes it, an admin sees all and keeps teams and tokens.

What goes wrong is told as `application/problem+json` (RFC 9457) with a stable `code`, and `errors` that name the
fields; below `/v2` as the Open Inference Protocol has it.
"""

# For the description alone: `Authentication` refuses before a route is looked for.
_bearer = Security(HTTPBearer(auto_error=False, description="A token of this platform."))


def create_app(services: Services) -> FastAPI:
    """Build the API over the use cases behind it."""
    app = FastAPI(
        title="Slipway",
        version=version("slipway"),
        description=_DESCRIPTION,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.services = services
    install(app)
    problems = (HTTPStatus.UNAUTHORIZED, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE)
    for router in (jobs.router, models.router, deployments.router, deployments.lineage, teams.router, platform.router):
        app.include_router(
            router,
            dependencies=[_bearer, Depends(changes_need_a_member)],
            responses=documented(*problems, HTTPStatus.FORBIDDEN),
        )
    # A prediction changes nothing.
    app.include_router(inference.router, dependencies=[_bearer])
    app.include_router(ray_jobs.router, dependencies=[_bearer, Depends(changes_need_a_member)])
    app.include_router(ray_jobs.sockets)
    app.include_router(inference.health)
    app.include_router(platform.health)
    # Each wraps those before it: what the failsafe says is an error too.
    uploads = (platform.PACKAGES_PATH, ray_jobs.PACKAGES_PATH)
    limits = dict.fromkeys(uploads, services.packages.limit_bytes)
    app.add_middleware(BodyLimit, limit_bytes=_JSON_LIMIT, limits=limits, advice=_SMALLER)
    app.add_middleware(Audit, write=services.teams.audit)
    app.add_middleware(Authentication, authenticate=services.teams.authenticate)
    app.add_middleware(Failsafe)
    app.add_middleware(InferenceErrors)
    _describe_problems(app)
    return app


def _describe_problems(app: FastAPI) -> None:
    """Add the problem document's schema, which no route returns by its type, to the API's description."""
    generate = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            problem_schema = ProblemView.model_json_schema(ref_template="#/components/schemas/{model}")
            components = schema.setdefault("components", {}).setdefault("schemas", {})
            components.update(problem_schema.pop("$defs"), ProblemView=problem_schema)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's documented way to extend it
