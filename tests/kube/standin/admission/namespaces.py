"""Objects need a namespace that is there and stays."""

from tests.kube.standin.api.errors import not_found
from tests.kube.standin.api.objects import Api, Writing


class Namespaces:
    """Refuses new objects where there is no namespace, or it is being deleted."""

    def admit(self, api: Api, writing: Writing) -> None:
        """See `Admission`."""
        if writing.verb != "create" or not writing.kind.namespaced:
            return
        name = writing.obj["metadata"]["namespace"]
        namespace = api.store.find(api.kinds.named("namespaces"), None, name)
        if namespace is None:
            raise not_found("namespaces", name)
        if namespace["metadata"].get("deletionTimestamp"):
            terminating = f"namespace {name} is being terminated"
            causes = [{"reason": "NamespaceTerminating", "message": terminating, "field": "metadata.namespace"}]
            raise writing.refuse(
                f"unable to create new content in namespace {name} because it is being terminated", causes
            )
