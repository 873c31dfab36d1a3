"""A dedicated job as the RayJob that Kubernetes is given."""

from datetime import UTC, datetime

import pytest
import yaml

from platform_app.dedicated import attempt_request, worker_maxima
from platform_app.domain.job import Job
from platform_app.domain.preflight import preflight
from platform_app.launch import DedicatedContext, LaunchContext, ray_job
from platform_app.specs import load_catalog
from tests.control_plane import sweep_spec, train_spec

CATALOG = load_catalog()
DEDICATED = DedicatedContext(image="here/slipway:1", cuda_image="here/slipway-cuda:1")
CONTEXT = LaunchContext(storage="/mnt/slipway", tracking_uri="http://mlflow", dedicated=DEDICATED)
PACKAGE = f"package:{'0' * 64}"
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def a_job(**fields) -> Job:
    spec = train_spec(**{"cluster": "dedicated", "team": "research", **fields})
    return Job("digits-000001", spec, NOW).admitted(NOW)


def manifest(context: LaunchContext = CONTEXT, **fields) -> dict:
    rendered = attempt_request(a_job(**fields), context, CATALOG).manifest
    assert rendered is not None
    return dict(rendered)


def pods(ray_job: dict) -> list[dict]:
    cluster = ray_job["spec"]["rayClusterSpec"]
    return [
        ray_job["spec"]["submitterPodTemplate"],
        cluster["headGroupSpec"]["template"],
        *(group["template"] for group in cluster["workerGroupSpecs"]),
    ]


def test_a_shared_job_has_no_manifest():
    assert attempt_request(a_job(cluster="shared"), CONTEXT, CATALOG).manifest is None


def test_the_ray_job_inside_is_that_of_the_shared_cluster():
    job = a_job(working_dir=PACKAGE)
    request = ray_job(job, CONTEXT, CATALOG, {PACKAGE: "file:///package.zip"})
    spec = attempt_request(job, CONTEXT, CATALOG, {PACKAGE: "file:///package.zip"}).manifest["spec"]
    assert spec["entrypoint"] == request.entrypoint
    assert yaml.safe_load(spec["runtimeEnvYAML"]) == request.runtime_env
    assert spec["metadata"] == request.metadata
    assert spec["jobId"] == request.submission_id


def test_it_is_named_by_its_submission_id_in_its_teams_namespace():
    metadata = manifest()["metadata"]
    assert (metadata["name"], metadata["namespace"]) == ("digits-000001-1", "team-research")


def test_the_longest_name_fits_after_many_attempts():
    job = Job(f"{'a' * 36}-000001", a_job().spec, NOW)
    for _ in range(100):
        job = job.admitted(NOW)
        assert preflight(attempt_request(job, CONTEXT, CATALOG).manifest) == ()
        job = Job(job.id, job.spec, NOW, attempts=job.attempts)


@pytest.mark.parametrize(
    "fields",
    [{}, {"resources": {"num_workers": [1, 4]}}, {"resources": {"gpus_per_worker": 0}}, {"tier": "training-critical"}],
)
def test_the_operator_would_take_it(fields):
    assert preflight(manifest(**fields)) == ()


def test_a_sweep_too():
    job = Job("sweep-000001", sweep_spec(cluster="dedicated", team="research"), NOW).admitted(NOW)
    assert preflight(attempt_request(job, CONTEXT, CATALOG).manifest) == ()


def test_its_workers_come_from_zero_to_what_the_job_can_use():
    groups = manifest(resources={"num_workers": 3})["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    sizes = {g["groupName"]: (g["replicas"], g["minReplicas"], g["maxReplicas"]) for g in groups}
    assert sizes == {"gpu-spot": (0, 0, 3), "gpu-ondemand": (0, 0, 2)}


def test_workers_that_share_a_gpu_need_fewer_pods():
    spec = a_job(resources={"num_workers": 4, "gpus_per_worker": 0.5}).spec
    assert worker_maxima(spec, CATALOG) == {"gpu-spot": 2, "gpu-ondemand": 2}


def test_a_job_for_spot_alone_has_spot_workers_alone():
    groups = manifest(resources={"market": "spot"})["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert [group["groupName"] for group in groups] == ["gpu-spot"]


def test_every_pod_has_the_jobs_priority_and_labels_to_be_found_by():
    for pod in pods(manifest(tier="training-critical")):
        assert pod["spec"]["priorityClassName"] == "training-critical"
        assert pod["metadata"]["labels"]["app.kubernetes.io/instance"] == "digits-000001-1"
        assert pod["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "slipway"


def test_every_container_says_what_it_wants_so_that_a_quota_takes_it():
    for pod in pods(manifest()):
        for container in pod["spec"]["containers"]:
            assert container["resources"]["requests"] == container["resources"]["limits"]


def test_no_pod_needs_a_config_map_of_the_platforms_namespace():
    for pod in pods(manifest()):
        assert all("envFrom" not in container for container in pod["spec"]["containers"])


def test_attempts_are_the_platforms_and_waiting_has_no_deadline():
    spec = manifest()["spec"]
    assert spec["backoffLimit"] == 0
    assert not {"preRunningDeadlineSeconds", "activeDeadlineSeconds"} & spec.keys()


def test_the_cluster_scales_by_autoscaler_v2_with_token_authentication():
    cluster = manifest()["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["autoscalerOptions"]["version"] == "v2"
    assert cluster["authOptions"] == {"mode": "token"}


def test_it_goes_through_kueue_where_a_queue_is_named():
    queued = LaunchContext("/mnt/slipway", "http://mlflow", DedicatedContext("i", "c", queue="default"))
    found = manifest(queued, tier="training-critical")
    assert found["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "default"
    assert found["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "training-critical"
    assert preflight(found) == ()
    assert "kueue.x-k8s.io/queue-name" not in manifest()["metadata"]["labels"]


def test_it_is_plain_data():
    assert yaml.safe_load(yaml.safe_dump(manifest())) == manifest()
