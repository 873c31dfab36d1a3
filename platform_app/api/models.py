"""`/v1/models`."""

from http import HTTPStatus

from fastapi import APIRouter

from platform_app.api.problems import documented
from platform_app.api.services import Use
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
def promote_model(model: str, services: Use, spec: PromotionSpec | None = None) -> ModelView:
    """Make a version (the newest without a body) the champion; the old champion is kept as `previous`."""
    return services.models.promote(model, spec.version if spec else None)


@router.post(
    "/{model}/rollback",
    summary="Go back to the previous champion",
    responses=documented(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def rollback_model(model: str, services: Use) -> ModelView:
    """Make the previous champion the champion again."""
    return services.models.rollback(model)
