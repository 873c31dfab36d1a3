"""What stands between a request and the store: it completes objects, or refuses them in Kubernetes' words."""

from tests.kube.standin.admission.defaults import Defaults
from tests.kube.standin.admission.limits import LimitRanges
from tests.kube.standin.admission.namespaces import Namespaces
from tests.kube.standin.admission.priority import Priorities
from tests.kube.standin.admission.quota import Quotas
from tests.kube.standin.admission.schemas import Schemas
from tests.kube.standin.admission.service_accounts import ServiceAccounts
from tests.kube.standin.api.objects import Admission


def default_admission() -> tuple[Admission, ...]:
    """Give the steps that every cluster has, in their order."""
    return Namespaces(), Schemas(), Defaults(), Priorities(), LimitRanges(), ServiceAccounts(), Quotas()
