"""Refusals in Kubernetes' own words: a `Status` object with the HTTP status, a reason and a message."""

from http import HTTPStatus
from typing import Any


class ApiError(Exception):
    """What the API server answers instead of an object."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None):
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}

    def status(self) -> dict[str, Any]:
        """Give the body of the answer."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        }


def bad_request(message: str) -> ApiError:
    """The request itself is not understood."""
    return ApiError(HTTPStatus.BAD_REQUEST, "BadRequest", message)


def unknown_path() -> ApiError:
    """No such resource is served: a CRD that is not installed, or a version that is not served."""
    return ApiError(HTTPStatus.NOT_FOUND, "NotFound", "the server could not find the requested resource")


def not_found(resource: str, name: str) -> ApiError:
    """No object of that name; `resource` is `pods` or `rayclusters.ray.io`."""
    return ApiError(
        HTTPStatus.NOT_FOUND, "NotFound", f'{resource} "{name}" not found', {"name": name, "kind": resource}
    )


def already_exists(resource: str, name: str) -> ApiError:
    """An object of that name is there."""
    return ApiError(HTTPStatus.CONFLICT, "AlreadyExists", f'{resource} "{name}" already exists')


def conflict(resource: str, name: str) -> ApiError:
    """The object was changed by someone else since it was read."""
    changed = "the object has been modified; please apply your changes to the latest version and try again"
    return ApiError(HTTPStatus.CONFLICT, "Conflict", f'Operation cannot be fulfilled on {resource} "{name}": {changed}')


def forbidden(resource: str, name: str, why: str, causes: list[dict[str, str]] | None = None) -> ApiError:
    """Admission refuses the object, or the caller lacks the right; without a name the whole resource is meant."""
    about = f'{resource} "{name}"' if name else resource
    details = {"name": name, "kind": resource} | ({"causes": causes} if causes else {})
    return ApiError(HTTPStatus.FORBIDDEN, "Forbidden", f"{about} is forbidden: {why}", details)


def invalid(kind: str, name: str, problems: str) -> ApiError:
    """The object breaks its schema; `kind` is `RayCluster.ray.io` or `Pod`."""
    return ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid", f'{kind} "{name}" is invalid: {problems}')


def unprocessable(message: str) -> ApiError:
    """A patch that does not apply."""
    return ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid", message)


def unsupported_media_type(content_type: str, accepted: tuple[str, ...]) -> ApiError:
    """A patch in a form that this kind does not take."""
    message = (
        f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
        f" (got {content_type})"
    )
    return ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)


def gone(version: int) -> ApiError:
    """A watch asks for changes that are forgotten."""
    return ApiError(HTTPStatus.GONE, "Expired", f"too old resource version: {version}")
