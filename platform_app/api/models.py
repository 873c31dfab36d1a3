"""`/v1/models`."""

from http import HTTPStatus

from fastapi import APIRouter

from platform_app.api.problems import documented
from platform_app.api.services import Noted, Use
from platform_app.domain.deployment import CHALLENGER, CHAMPION
from platform_app.specs import PromotionSpec
from platform_app.views import ModelVersionView, ModelView

router = APIRouter(prefix="/v1/models", tags=["models"])

_NOT_FOUND = documented(HTTPStatus.NOT_FOUND)


@router.get("", summary="List registered models")
def list_models(services: Use) -> list[ModelView]:
    """Give all registered models, by name."""
    return list(services.models.list())


@router.get("/{model}/versions", summary="List a model's versions", responses=_NOT_FOUND)
def list_model_versions(model: str, services: Use) -> list[ModelVersionView]:
    """Give a model's versions, newest first."""
    return list(services.models.versions(model))


@router.post(
    "/{model}/promote",
    summary="Promote a version",
    responses=documented(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def promote_model(model: str, services: Use, note: Noted, spec: PromotionSpec | None = None) -> ModelView:
    """Make a version (the newest without a body) the champion; the old champion is kept as `previous`.

    Where a deployment takes new versions by a rollout, the version becomes `challenger`, and the champion when the
    rollout has passed.
    """
    promoted = services.models.promote(model, spec.version if spec else None)
    alias = CHALLENGER if CHALLENGER in promoted.aliases else CHAMPION
    note.detail = f"{alias} is version {promoted.aliases[alias]}"
    return promoted


@router.post(
    "/{model}/rollback",
    summary="Go back to the previous champion",
    responses=documented(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def rollback_model(model: str, services: Use, note: Noted) -> ModelView:
    """Make the previous champion the champion again."""
    rolled_back = services.models.rollback(model)
    note.detail = f"champion is version {rolled_back.aliases[CHAMPION]}"
    return rolled_back
