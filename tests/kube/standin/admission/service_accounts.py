"""A pod runs as a service account, which must be there."""

from tests.kube.standin.api.objects import Api, Writing


class ServiceAccounts:
    """Refuses pods of an unknown service account; every namespace has the one called `default`."""

    def admit(self, api: Api, writing: Writing) -> None:
        """See `Admission`."""
        if writing.verb != "create" or writing.kind.resource != "pods":
            return
        name, namespace = writing.obj["spec"]["serviceAccountName"], writing.obj["metadata"]["namespace"]
        if name != "default" and api.find("serviceaccounts", namespace, name) is None:
            raise writing.refuse(
                f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
            )
