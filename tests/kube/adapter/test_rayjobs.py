"""Submitting RayJobs, and reading what becomes of them."""

import kubernetes.config.kube_config
import pytest

from platform_app.adapters.kubernetes import KubeRayJobs, KubernetesApi
from platform_app.adapters.kubernetes import api as api_module
from platform_app.adapters.kubernetes.rayjobs import observation
from platform_app.domain.job import Reason
from platform_app.errors import PermanentError, TemporaryError
from platform_app.ports import RayJobStatus
from tests.kube.adapter.objects import NAME, NAMESPACE, a_request
from tests.kube.objects import quota
from tests.kube.standin import ApiError, kube_api


class TestSubmitting:
    def test_without_a_kubeconfig_says_what_to_set(self, tmp_path):
        runner = KubeRayJobs(KubernetesApi.from_kubeconfig(tmp_path / "none"))
        with pytest.raises(TemporaryError, match=r"no usable kubeconfig.*SLIPWAY_KUBECONFIG"):
            runner.observe()

    def test_outside_of_a_pod_says_what_to_set(self, monkeypatch):
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        with pytest.raises(TemporaryError, match="SLIPWAY_KUBERNETES=kubeconfig"):
            KubeRayJobs(KubernetesApi.in_cluster()).observe()

    def test_a_token_that_is_not_known_is_said(self, kube, tmp_path):
        config = tmp_path / "config"
        config.write_text(kube.kubeconfig.read_text().replace('"token": "', '"token": "x'))
        with pytest.raises(TemporaryError, match="does not accept our credentials"):
            KubeRayJobs(KubernetesApi.from_kubeconfig(config)).observe()

    @pytest.mark.parametrize(("verb", "act"), [("create", "submit"), ("list", "observe")])
    def test_a_missing_permission_names_verb_resource_and_role(self, kube, verb, act):
        runner = KubeRayJobs(KubernetesApi.from_kubeconfig(kube.service_account("slipway", "slipway")))
        with pytest.raises(
            TemporaryError, match=f"system:serviceaccount:slipway:slipway may not {verb} rayjobs"
        ) as told:
            getattr(runner, act)(*([a_request()] if act == "submit" else []))
        assert f"add verb {verb} on rayjobs (apiGroup ray.io) to its" in str(told.value)

    def test_a_quota_of_jobs_that_is_used_up_is_said_with_its_numbers(self, kube, runner):
        kube.apply(quota({"count/rayjobs.ray.io": "0"}, name="jobs", where=NAMESPACE))
        with pytest.raises(
            TemporaryError, match=r"quota jobs .* count/rayjobs.ray.io=1, used is count/rayjobs.ray.io=0"
        ):
            runner.submit(a_request())
        kube.delete("resourcequotas", "jobs", NAMESPACE)
        runner.submit(a_request())
        assert list(runner.observe()) == [NAME]

    def test_a_namespace_that_is_not_there_says_so(self, kube, runner):
        kube.delete("namespaces", NAMESPACE)
        with pytest.raises(TemporaryError, match=rf"(no namespace {NAMESPACE}|{NAMESPACE} is being deleted)"):
            runner.submit(a_request())

    def test_a_namespace_that_is_being_deleted_says_so(self, kube, runner):
        message = f"unable to create new content in namespace {NAMESPACE} because it is being terminated"
        kube.fault(verb="create", error=ApiError(403, "Forbidden", f'rayjobs.ray.io "{NAME}" is forbidden: {message}'))
        with pytest.raises(TemporaryError, match=f"the namespace {NAMESPACE} is being deleted; it starts when"):
            runner.submit(a_request())

    def test_a_cluster_without_kuberay_says_what_to_install(self):
        with kube_api(groups=()) as bare:
            runner = KubeRayJobs(KubernetesApi.from_kubeconfig(bare.kubeconfig))
            with pytest.raises(TemporaryError, match=r"knows no rayjobs.*install the KubeRay operator"):
                runner.observe()

    def test_an_older_kuberay_says_which_fields_it_does_not_know(self, kube, runner):
        unknown = 'unknown field "spec.rayClusterSpec.authOptions"'
        message = f'RayJob in version "v1" cannot be handled: strict decoding error: {unknown}'
        kube.fault(verb="create", error=ApiError(400, "BadRequest", message))
        with pytest.raises(
            TemporaryError, match=r"older than KubeRay 1.7 and does not know spec.rayClusterSpec.authOptions"
        ):
            runner.submit(a_request())

    def test_what_kubernetes_finds_invalid_is_refused_for_ever(self, kube, runner):
        kube.fault(verb="create", error=ApiError(422, "Invalid", "RayJob is invalid: spec.entrypoint"))
        with pytest.raises(PermanentError, match=r"spec.entrypoint"):
            runner.submit(a_request())

    def test_kuberays_own_client_takes_the_same_object(self, kube, runner, monkeypatch):
        client = pytest.importorskip(
            "python_client.kuberay_job_api", reason="KubeRay's Python client is not installed (it is on no index)"
        )
        monkeypatch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(kube.kubeconfig))
        client.RayjobApi().submit_job(NAMESPACE, dict(a_request().manifest))
        assert list(runner.observe()) == [NAME]

    def test_what_the_operator_would_refuse_is_not_sent(self, kube, runner):
        request = a_request()
        request.manifest["spec"]["backoffLimit"] = -1
        with pytest.raises(PermanentError, match=r"spec.backoffLimit"):
            runner.submit(request)
        assert kube.list("rayjobs.ray.io") == []

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_an_overloaded_server_is_temporary(self, kube, runner, status):
        kube.fault(error=ApiError(status, "x", "etcdserver: request timed out"))
        with pytest.raises(TemporaryError, match=f"overloaded or broken \\(HTTP {status}"):
            runner.submit(a_request())

    def test_a_server_that_answers_too_late_is_temporary(self, kube, runner, monkeypatch):
        monkeypatch.setattr(api_module, "_READ_SECONDS", 0.1)
        kube.fault(delay_seconds=1)
        with pytest.raises(TemporaryError, match="does not answer"):
            runner.observe()


class TestObserving:
    def test_jobs_of_others_are_not_ours(self, kube, runner):
        kube.apply({**a_request().manifest, "metadata": {"name": "theirs", "namespace": NAMESPACE}})
        assert runner.observe() == {}

    def test_what_a_lagging_cache_misses_is_looked_for_again(self, kube, runner):
        runner.submit(a_request())
        runner.observe()
        kube.server.seen.clear()
        kube.delete("rayjobs.ray.io", NAME, NAMESPACE)
        assert runner.observe() == {}
        assert [seen.verb for seen in kube.requests] == ["list", "list"]

    def test_a_head_that_was_replaced_is_a_lost_cluster(self, kube, runner):
        runner.submit(a_request())
        for head, lost in (("head-a", False), ("head-a", False), ("head-b", True)):
            status = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
            kube.set_status(
                "rayjobs.ray.io", NAME, status | {"rayClusterStatus": {"head": {"podName": head}}}, NAMESPACE
            )
            assert (runner.observe()[NAME].cause is Reason.CLUSTER_LOST) == lost

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            ({}, (RayJobStatus.PENDING, None)),
            ({"jobDeploymentStatus": "Initializing"}, (RayJobStatus.PENDING, None)),
            ({"jobDeploymentStatus": "Suspended"}, (RayJobStatus.PENDING, None)),
            ({"jobDeploymentStatus": "Running", "jobStatus": "PENDING"}, (RayJobStatus.PENDING, None)),
            ({"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}, (RayJobStatus.RUNNING, None)),
            # Ray is done, the submitter still writes: its output is not whole yet.
            ({"jobDeploymentStatus": "Running", "jobStatus": "SUCCEEDED"}, (RayJobStatus.RUNNING, None)),
            ({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, (RayJobStatus.SUCCEEDED, None)),
            ({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, (RayJobStatus.STOPPED, None)),
            (
                {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed"},
                (RayJobStatus.FAILED, None),
            ),
            (
                {"jobDeploymentStatus": "Failed", "jobStatus": "RUNNING", "reason": "JobStatusCheckTimeoutExceeded"},
                (RayJobStatus.FAILED, Reason.CLUSTER_LOST),
            ),
            (
                {"jobDeploymentStatus": "Failed", "reason": "SubmissionFailed"},
                (RayJobStatus.FAILED, Reason.CLUSTER_LOST),
            ),
            (
                {"jobDeploymentStatus": "Failed", "jobStatus": "RUNNING", "reason": "DeadlineExceeded"},
                (RayJobStatus.FAILED, Reason.DRIVER_FAILED),
            ),
            ({"jobDeploymentStatus": "ValidationFailed"}, (RayJobStatus.FAILED, Reason.SUBMISSION_REFUSED)),
        ],
    )
    def test_a_status_of_the_operator_is_read_as(self, status, expected):
        seen = observation(status)
        assert (seen.status, seen.cause) == expected
