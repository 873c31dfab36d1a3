"""Teams' namespaces with their quotas, as the manifests have them."""

from platform_app.adapters.kubernetes.api import KubernetesApi, Resource
from platform_app.errors import TemporaryError
from platform_app.manifests import team_objects
from platform_app.specs import Catalog, TeamNamespace

_PLURALS = {
    "Namespace": "namespaces",
    "ResourceQuota": "resourcequotas",
    "LimitRange": "limitranges",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "NetworkPolicy": "networkpolicies",
    "RoleBinding": "rolebindings",
}


def apply_team(api: KubernetesApi, team: TeamNamespace, catalog: Catalog) -> None:
    """Make a team's namespace, quota and defaults be as the catalog says; the same again changes nothing.

    Raises:
        TemporaryError: Kubernetes is away or refuses; the message names the object. Those before it are applied.
    """
    for body in team_objects(team, catalog):
        resource = Resource(_PLURALS[body["kind"]], body["apiVersion"])
        try:
            api.apply(resource, body, body["metadata"].get("namespace"))
        except TemporaryError as error:
            raise TemporaryError(f"{body['kind']} {body['metadata']['name']} of {team.name}: {error}") from error
