"""Registered models: look, promote, roll back. MLflow keeps them; two aliases say which version leads."""

from collections.abc import Sequence

from platform_app.domain.validation import nearest
from platform_app.errors import Conflict, FieldProblem, InvalidRequest, NotFound
from platform_app.ports import ModelRegistry
from platform_app.views import ModelVersionView, ModelView

CHAMPION = "champion"
"""The version that leads."""
PREVIOUS = "previous"
"""The version that led before: the way back."""


class Models:
    """The use cases of registered models."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    def list(self) -> Sequence[ModelView]:
        """Show all models, by name."""
        return self._registry.models()

    def versions(self, name: str) -> Sequence[ModelVersionView]:
        """Show a model's versions, newest first. Raises NotFound."""
        versions = self._registry.versions(name)
        if versions is None:
            raise NotFound(f"there is no model {name!r}{nearest(name, (model.name for model in self.list()))}")
        return versions

    def promote(self, name: str, version: int | None = None) -> ModelView:
        """Make a version the champion and keep the old one as `previous`; nothing changes when it is that already.

        Args:
            name: a registered model.
            version: which; the newest when absent.

        Raises:
            NotFound: there is no such model.
            InvalidRequest: it has no such version.
        """
        known = [one.version for one in self.versions(name)]
        chosen = version or max(known, default=None)
        if chosen not in known:
            there = f"versions {', '.join(map(str, sorted(known)))}" if known else "no version yet"
            raise InvalidRequest(FieldProblem("version", f"{name} has {there}; got {version}"))
        champion = self._registry.resolve(name, CHAMPION)
        if champion != chosen:
            # The way back comes first: a platform that dies in between has lost nothing.
            self._registry.set_alias(name, PREVIOUS, champion)
            self._registry.set_alias(name, CHAMPION, chosen)
        return self._model(name)

    def rollback(self, name: str) -> ModelView:
        """Make the previous champion the champion again; it can be done once for each promotion.

        Raises:
            NotFound: there is no such model.
            Conflict: there is no previous champion.
        """
        self.versions(name)
        previous = self._registry.resolve(name, PREVIOUS)
        if previous is None:
            raise Conflict(f"{name} has no previous champion to go back to: promote the version you want")
        self._registry.set_alias(name, CHAMPION, previous)
        self._registry.set_alias(name, PREVIOUS, None)
        return self._model(name)

    def _model(self, name: str) -> ModelView:
        found = next((model for model in self._registry.models() if model.name == name), None)
        if found is None:
            raise NotFound(f"there is no model {name!r}")
        return found
