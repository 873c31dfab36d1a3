"""`slipway doctor` against an API server: what it reads, what it may not read, and what it says and exits with."""

import json
from importlib.resources import files

import pytest
from typer.testing import CliRunner

from platform_app.adapters.kubernetes import KubernetesApi
from platform_app.adapters.kubernetes import api as api_module
from platform_app.adapters.kubernetes.doctor import snapshot as read
from platform_app.cli.main import app
from platform_app.domain.doctor import examine
from platform_app.errors import TemporaryError
from platform_app.manifests.wanted import wanted
from platform_app.specs import load_catalog
from tests.kube.manifests import built, built_with, objects
from tests.kube.objects import namespace
from tests.kube.planted_faults import AT_ONCE, FAULTS
from tests.kube.right_cluster import bootstrapped, right_cluster, run, snapshot, surroundings
from tests.kube.standin import ApiError, kube_api
from tests.kube.standin.admission.schemas import schema_of

RIGHT = wanted(load_catalog())
# The stand-in has these by its own definitions.
CUSTOM = {"CustomResourceDefinition"}


def doctor(kube, *words, kubeconfig=None):
    return CliRunner().invoke(app, ["doctor", "--kubeconfig", str(kubeconfig or kube.kubeconfig), *words])


def report(kube, *words, **where):
    result = doctor(kube, "--json", *words, **where)
    return result.exit_code, json.loads(result.stdout)


def install(kube, found):
    """Apply objects, and write their status, which the server takes by a way of its own."""
    kube.apply(namespace(name) for name in ("kuberay-system", "gpu"))
    found = [one for one in found if one["kind"] not in CUSTOM]
    kube.apply(sorted(found, key=lambda one: one["kind"] != "Namespace"))
    for one in found:
        kind, metadata = kube.api.kinds.of(one), one["metadata"]
        if kind.has_status and "status" in one:
            kube.set_status(kind.resource, metadata["name"], one["status"], metadata.get("namespace"))


@pytest.fixture(scope="module")
def whole():
    """Give a right cluster; no test changes its objects."""
    with kube_api(groups=("ray.io", "karpenter.sh")) as kube:
        install(kube, right_cluster())
        yield kube


@pytest.fixture
def kube(whole):
    yield whole
    whole.heal()


class TestARightCluster:
    def test_nothing_is_wrong_and_the_next_step_is_said(self, kube):
        result = doctor(kube)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == "Nothing is wrong. Next: slipway submit jobs/examples/ddp.yaml\n"

    def test_what_is_read_over_the_wire_is_what_was_applied(self, kube):
        assert examine(read(KubernetesApi.from_kubeconfig(kube.kubeconfig), RIGHT), RIGHT) == ()

    def test_nothing_is_written(self, kube):
        before = len(kube.requests)
        doctor(kube)
        assert {seen.verb for seen in kube.requests[before:]} == {"get", "list"}

    def test_values_of_secrets_are_let_go_of_at_once(self, kube):
        found = read(KubernetesApi.from_kubeconfig(kube.kubeconfig), RIGHT).all("Secret")
        assert {value for one in found for value in one["data"].values()} == {""}


@pytest.mark.parametrize("overlay", ["overlays/dev", "overlays/prod"])
def test_an_overlay_as_kustomize_builds_it_has_no_findings(overlay):
    found = [*run([*bootstrapped(), *objects(built(overlay))]), *surroundings(secrets=("slipway-redis",))]
    if overlay.endswith("dev"):
        # A folder of the node is the storage: there is one node.
        found = [one for one in found if one["metadata"]["name"] != "gpu-1"]
    assert examine(snapshot(found), RIGHT) == ()


def test_production_with_kueue_and_notebooks_has_no_findings(tmp_path):
    overlay = objects(built_with(tmp_path, "overlays/prod", "kueue", "jupyterhub"))
    found = [*run([*bootstrapped(), *overlay]), *surroundings(secrets=("slipway-redis",))]
    assert examine(snapshot(found), RIGHT) == ()


def test_kuberays_own_definitions_know_every_field_that_is_written():
    found = right_cluster()
    for one in (one for one in found if one["kind"] == "CustomResourceDefinition"):
        (version,) = one["spec"]["versions"]
        schema = schema_of("ray.io", one["metadata"]["name"].partition(".")[0], "v1")
        if schema is None:
            pytest.skip("KubeRay's definitions are not beside the repository")
        version["schema"]["openAPIV3Schema"] = schema
    assert examine(snapshot(found), RIGHT) == ()


class TestFindings:
    @pytest.fixture
    def bare(self):
        with kube_api(groups=()) as kube:
            yield kube

    def test_an_empty_cluster_is_told_with_what_mends_it(self, bare):
        result = doctor(bare)
        assert result.exit_code == 1
        assert "operator-absent" in result.stdout
        after = result.stdout.partition("in this order:\n")[2].splitlines()
        assert after[0].startswith("helm upgrade --install kuberay-operator"), "the first thing first"
        assert after[0].endswith("k8s/bootstrap/kuberay-operator.yaml"), "one line, to be copied"

    def test_each_of_many_faults_planted_in_one_cluster_is_found(self):
        planted = right_cluster()
        for name in AT_ONCE:
            FAULTS[name][0](planted)
        with kube_api(groups=("ray.io", "karpenter.sh")) as kube:
            install(kube, planted)
            code, told = report(kube)
        assert code == 1
        assert {one["name"] for one in told["findings"]} == set(AT_ONCE)

    def test_json_has_each_finding_with_evidence_and_what_mends_it(self, bare):
        code, told = report(bare)
        assert code == 1
        assert told["errors"] == sum(one["severity"] == "error" for one in told["findings"]) > 5
        assert all(one["what"] and one["evidence"] and one["mend"] for one in told["findings"])

    def test_warnings_alone_are_exit_code_0(self, kube, tmp_path):
        # The catalog of whoever asks wants a bigger group than the cluster has.
        text = (files("platform_app") / "catalog.yaml").read_text().replace("max_workers: 4", "max_workers: 5")
        (tmp_path / "catalog.yaml").write_text(text)
        code, told = report(kube, "--catalog", str(tmp_path / "catalog.yaml"))
        assert (code, [one["name"] for one in told["findings"]]) == (0, ["group-differs"])

    def test_another_namespace_than_the_platforms_is_said(self, kube):
        code, told = report(kube, "--namespace", "slipwya")
        assert code == 1
        absent = [one for one in told["findings"] if one["name"] == "ray-service-absent"]
        assert "--namespace" in absent[0]["mend"]


class TestWhatCannotBeRead:
    def test_a_forbidden_read_names_verb_and_resource_and_the_rest_is_looked_at(self, kube):
        kube.forbid("list", "nodes")
        code, told = report(kube)
        assert code == 1
        (finding,) = told["findings"]
        assert finding["name"] == "cannot-read"
        assert "may not list nodes in all namespaces" in finding["evidence"][0]
        assert "tolerations" in finding["evidence"][1]
        assert 'add verb list on nodes (apiGroup "")' in finding["mend"]

    def test_a_read_forbidden_in_one_namespace_names_it(self, kube):
        kube.forbid("list", "resourcequotas", namespace="team-product")
        _, told = report(kube)
        (finding,) = told["findings"]
        assert finding["what"] == "ResourceQuota of team-product could not be read"

    def test_a_server_that_fails_at_one_kind_is_a_finding(self, kube):
        kube.fault(resource="daemonsets", error=ApiError(500, "InternalError", "etcd is slow"))
        code, told = report(kube)
        assert (code, [one["name"] for one in told["findings"]]) == (1, ["cannot-read"])
        assert "etcd is slow" in told["findings"][0]["evidence"][0]

    def test_who_may_read_nothing_is_told_once_and_what_to_ask_for(self, kube):
        result = doctor(kube, kubeconfig=kube.user("intern"))
        assert (result.exit_code, result.stdout) == (2, "")
        assert "nothing of the cluster can be read: intern may not list nodes" in result.stderr

    def test_no_kubeconfig_says_what_to_set(self, kube, tmp_path):
        result = doctor(kube, kubeconfig=tmp_path / "none")
        assert result.exit_code == 2
        assert "no usable kubeconfig" in result.stderr

    def test_a_context_that_is_not_there_is_said(self, kube):
        result = doctor(kube, "--context", "elsewhere")
        assert result.exit_code == 2
        assert "elsewhere" in result.stderr

    def test_a_token_that_is_not_known_is_said(self, kube, tmp_path):
        config = tmp_path / "config"
        config.write_text(kube.kubeconfig.read_text().replace('"token": "', '"token": "x'))
        result = doctor(kube, kubeconfig=config)
        assert result.exit_code == 2
        assert "does not accept our credentials" in result.stderr

    def test_a_server_that_does_not_answer_in_time_is_said_and_asked_once(self, kube, monkeypatch):
        monkeypatch.setattr(api_module, "_READ_SECONDS", 0.1)
        kube.fault(delay_seconds=0.4)
        before = len(kube.requests)
        result = doctor(kube)
        assert result.exit_code == 2
        assert f"the Kubernetes API at {kube.url} does not answer" in result.stderr
        assert len(kube.requests) - before <= 1

    def test_a_server_that_goes_away_in_the_middle_is_said_and_not_waited_for(self, kube):
        kube.fault(resource="persistentvolumeclaims", cut=True)
        with pytest.raises(TemporaryError, match="does not answer"):
            read(KubernetesApi.from_kubeconfig(kube.kubeconfig), RIGHT)
        assert doctor(kube).exit_code == 2
