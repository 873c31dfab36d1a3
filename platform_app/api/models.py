"""`/v1/models`."""

from http import HTTPStatus

from fastapi import APIRouter

from platform_app.api.problems import documented
from platform_app.api.services import Noted, Use
from platform_app.services.models import CHAMPION
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
    responses=_NOT_FOUND,
)
def promote_model(model: str, services: Use, note: Noted, spec: PromotionSpec | None = None) -> ModelView:
    """Make a version (the newest without a body) the champion; the old champion is kept as `previous`."""
    promoted = services.models.promote(model, spec.version if spec else None)
    note.detail = f"champion is version {promoted.aliases[CHAMPION]}"
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
