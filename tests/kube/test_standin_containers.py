"""What a container's process gets on the stand-in is what it would find in a container. No process is started."""

import pytest

from tests.kube.objects import namespace, pod
from tests.kube.standin.admission import default_admission
from tests.kube.standin.api.objects import Api
from tests.kube.standin.kubelet.environment import ConfigError, expand, variables
from tests.kube.standin.kubelet.network import Network
from tests.kube.standin.kubelet.volumes import Volumes, relocate


@pytest.fixture
def api():
    api = Api(default_admission())
    for obj in (
        namespace("team-a"),
        {
            "kind": "ConfigMap",
            "metadata": {"name": "settings", "namespace": "team-a"},
            "data": {"a.yaml": "a: 1", "B": "2"},
        },
        {"kind": "Secret", "metadata": {"name": "token", "namespace": "team-a"}, "stringData": {"key": "s3cret"}},
    ):
        full = {"apiVersion": "v1", **obj}
        api.create(api.kinds.of(full), obj["metadata"].get("namespace"), full)
    return api


def _container(**fields):
    made = pod("w")
    made["metadata"] |= {"uid": "1", "labels": {"ray.io/group": "gpu"}}
    made["spec"]["containers"][0] |= fields
    return made, made["spec"]["containers"][0]


def test_variables_come_from_everywhere_and_later_ones_count(api):
    secret = {"secretKeyRef": {"name": "token", "key": "key"}}
    made, container = _container(
        envFrom=[{"configMapRef": {"name": "settings"}}],
        env=[
            {"name": "TOKEN", "valueFrom": secret},
            {"name": "GROUP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['ray.io/group']"}}},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "URL", "value": "db://$(TOKEN)@host/$(UNKNOWN)"},
            {"name": "B", "value": "3"},
        ],
        resources={"limits": {"cpu": "1500m"}},
    )
    found = variables(api, made, container)
    assert found["URL"] == "db://s3cret@host/$(UNKNOWN)"
    assert (found["GROUP"], found["NAME"], found["CPUS"], found["B"]) == ("gpu", "w", "2", "3")
    assert expand("run $(NAME)", found) == "run w"


def test_a_secret_that_is_not_there_is_said(api):
    made, container = _container(env=[{"name": "T", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k"}}}])
    with pytest.raises(ConfigError, match='secret "no" not found'):
        variables(api, made, container)


def test_volumes_are_folders(api, tmp_path):
    made, container = _container(
        volumeMounts=[
            {"name": "settings", "mountPath": "/etc/slipway/"},
            {"name": "storage", "mountPath": "/mnt/slipway"},
            {"name": "shm", "mountPath": "/dev/shm"},
        ]
    )
    made["spec"]["volumes"] = [
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "storage", "persistentVolumeClaim": {"claimName": "slipway-storage"}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]
    volumes = Volumes(api, lambda namespace, name: tmp_path / namespace / name, tmp_path / "shared")
    mounts = volumes.mounts(made, container)
    assert mounts == {
        "/etc/slipway": str(tmp_path / "team-a/w/volumes/settings"),
        "/mnt/slipway": str(tmp_path / "shared/slipway-storage"),
    }
    assert (tmp_path / "team-a/w/volumes/settings/a.yaml").read_text() == "a: 1"
    here = relocate("/etc/slipway/a.yaml:/mnt/slipway-other:file:///mnt/slipway/x", mounts)
    assert here == f"{mounts['/etc/slipway']}/a.yaml:/mnt/slipway-other:file://{mounts['/mnt/slipway']}/x"


def test_services_are_addresses_however_they_are_named():
    services = {"mlflow.slipway:5000": "127.0.0.1:5012"}
    network = Network()
    for name in ("mlflow.slipway", "mlflow.slipway.svc", "mlflow.slipway.svc.cluster.local"):
        assert network.rewrite_services(f"http://{name}:5000/x", services) == "http://127.0.0.1:5012/x"
    assert network.rewrite_services("http://my-mlflow.slipway:5000", services) == "http://my-mlflow.slipway:5000"


def test_a_pods_own_address_is_its_port_here_where_it_declares_that_port():
    made, _ = _container(ports=[{"containerPort": 8265}])
    network = Network()
    here = network.address(made, 8265)
    assert network.rewrite_loopback(made, "http://127.0.0.1:8265/api") == f"http://{here}/api"
    assert network.rewrite_loopback(made, "localhost:8265") == here
    for other in ("http://127.0.0.1:5000", "http://127.0.0.1:82650", "http://my-localhost:8265"):
        assert network.rewrite_loopback(made, other) == other
