"""Whatever goes wrong is told in one form, to whom it concerns, and without the insides."""

import json

import pytest

from tests.api.test_routes import SWEEP, TRAIN


def field_errors(answer) -> dict[str, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["type"] == f"urn:slipway:problem:{problem['code']}"
    assert {"title", "detail"} <= problem.keys()
    return {error["field"]: error["message"] for error in problem["errors"]}


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({**TRAIN, "epoch": 3}, "epoch", "unknown field; did you mean 'epochs'?"),
        ({**TRAIN, "resources": {"num_worker": 2}}, "resources.num_worker", "did you mean 'num_workers'?"),
        ({**TRAIN, "epochs": "many"}, "epochs", "expected a valid integer"),
        ({**TRAIN, "epochs": 0}, "epochs", "greater than or equal to 1; got 0"),
        ({**TRAIN, "precision": "fp17"}, "precision", "did you mean 'fp16'?"),
        ({**TRAIN, "kind": "trian"}, "kind", "did you mean 'train'?"),
        ({key: TRAIN[key] for key in TRAIN if key != "kind"}, "kind", "required, one of: train, sweep"),
        ({key: TRAIN[key] for key in TRAIN if key != "name"}, "name", "required, but not given"),
        ({**TRAIN, "workload": "no colon"}, "workload", "should match pattern"),
        ({**TRAIN, "config": {"a": [1]}}, "config.a", "got [1]"),
        ({**TRAIN, "env_vars": {"RAY_X": "1"}}, "env_vars", "are the platform's: RAY_X"),
        ({**TRAIN, "train_loop": "a:b"}, "body", "give exactly one of workload and train_loop"),
        ({**TRAIN, "tier": "developmnt"}, "tier", "did you mean 'development'?"),
        ({**TRAIN, "resources": {"num_workers": 7}}, "resources.num_workers", "at most 6"),
        ({**TRAIN, "resources": {"gpus_per_worker": 2}}, "resources.gpus_per_worker", "largest worker has 1 GPUs"),
        ({**TRAIN, "resources": {"accelerator_type": "H900"}}, "resources.accelerator_type", "has A10G"),
        ({**TRAIN, "working_dir": f"package:{'0' * 64}"}, "working_dir", "upload it first"),
        ({**SWEEP, "space": {}}, "space", "at least 1 item"),
        (
            {**SWEEP, "space": {"lr": {"type": "unifrm", "low": 0, "high": 1}}},
            "space.lr.type",
            "did you mean 'uniform'?",
        ),
        (
            {**SWEEP, "space": {"lr": {"type": "uniform", "low": 1, "high": 1}}},
            "space.lr",
            "low must be less than high",
        ),
        ({**SWEEP, "space": {"lr": {"type": "choice", "values": []}}}, "space.lr.values", "at least 1 item"),
        ({**SWEEP, "resources": {"num_workers": [1, 2]}}, "body", "num_workers must be one number"),
        (["not", "an", "object"], "body", "expected a valid dictionary"),
        (None, "body", "required"),
    ],
)
def test_a_bad_spec_is_refused_by_its_field_what_was_expected_and_the_nearest_value(api, plane, spec, field, message):
    answer = api.post("/v1/jobs", json=spec)
    assert answer.status_code == 422
    assert message in field_errors(answer)[field]
    assert plane.store.live() == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_json_lacks_are_refused(api, number):
    body = json.dumps({**TRAIN, "config": {"lr": "HERE"}}).replace('"HERE"', number)
    answer = api.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert "finite" in field_errors(answer)["config.lr"]


@pytest.mark.parametrize(
    ("query", "field"),
    [("state=DONE", "state.0"), ("limit=201", "limit"), ("limit=0", "limit"), ("cursor=x", "cursor")],
)
def test_a_bad_query_is_refused_by_its_parameter(api, query, field):
    answer = api.get(f"/v1/jobs?{query}")
    assert answer.status_code == 422
    assert field in field_errors(answer)


def test_a_body_that_is_not_json_is_told_where_it_stops_being_json(api):
    answer = api.post("/v1/jobs", content="{'kind'", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    field_errors(answer)
    assert "not JSON" in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"\xff\xfe{", b"[" * 100_000])
def test_a_body_that_no_parser_takes_is_refused(api, body):
    answer = api.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    field_errors(answer)


def test_a_body_of_another_type_is_told_what_to_send(api):
    answer = api.post("/v1/jobs", content=b"kind=train", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status_code == 415
    assert "Content-Type: application/json" in answer.json()["detail"]


@pytest.mark.parametrize("honest", [True, False])
@pytest.mark.parametrize("size", [2**20 + 1, 10_000_000])
def test_a_body_that_is_too_large_is_refused_whether_or_not_it_says_so(api, honest, size):
    body = b" " * size
    answer = api.post(
        "/v1/jobs", content=body if honest else iter([body]), headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    field_errors(answer)


def test_a_route_that_is_not_there_is_told_as_a_problem(api):
    answer = api.get("/v1/jbos")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    field_errors(answer)


def test_a_method_that_a_route_lacks_is_told_with_those_it_has(api):
    answer = api.delete("/v1/cluster")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert "it takes GET" in answer.json()["detail"]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["", "/logs", "/events", "/trials", "/stop"])
def test_a_job_that_is_not_there_is_not_found(api, method, path):
    if (method == "POST") is not (path == "/stop"):
        return
    answer = api.request(method, f"/v1/jobs/nope-000000{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_a_system_that_is_away_is_told_as_such(api, plane):
    plane.registry.power.away = True
    answer = api.put("/v1/deployments/digits", json={"model": "digits"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["code"] == "temporarily-unavailable"


def test_a_bug_is_told_without_its_insides(api, plane, monkeypatch, caplog):
    def bug(*_):
        raise RuntimeError("secret insides")

    monkeypatch.setattr(plane.jobs, "list", bug)
    answer = api.get("/v1/jobs")
    assert answer.status_code == 500
    field_errors(answer)
    assert "secret" not in answer.text
    assert "secret insides" in caplog.text


class TestTokens:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/v1/jobs"),
            ("GET", "/v1/jobs"),
            ("GET", "/v1/jobs/x"),
            ("GET", "/v1/jobs/x/logs"),
            ("POST", "/v1/jobs/x/stop"),
            ("GET", "/v1/models"),
            ("POST", "/v1/models/x/promote"),
            ("PUT", "/v1/deployments/x"),
            ("DELETE", "/v1/deployments/x"),
            ("GET", "/v1/cluster"),
            ("POST", "/v1/packages"),
            ("GET", "/no/such/route"),
        ],
    )
    @pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer ", "Basic a-token", "a-token", "Bearer ä"])
    def test_are_needed_before_anything_else_is_looked_at(self, anyone, method, path, header):
        headers = {"Authorization": header.encode()} if header else {}
        answer = anyone.request(method, path, headers=headers, content=b"{not json")
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert field_errors(answer) == {}

    def test_are_taken_from_rays_header_too(self, anyone, token):
        assert anyone.get("/v1/jobs", headers={"X-Ray-Authorization": f"Bearer {token}"}).status_code == 200

    def test_are_taken_whatever_the_case_of_the_scheme(self, anyone, token):
        assert anyone.get("/v1/jobs", headers={"Authorization": f"bearer {token}"}).status_code == 200

    def test_are_not_needed_for_the_description(self, anyone):
        assert anyone.get("/docs").status_code == 200
        assert anyone.get("/openapi.json").status_code == 200


class TestDescription:
    @pytest.fixture
    def described(self, anyone):
        return anyone.get("/openapi.json").json()

    def test_names_every_operation_once(self, described):
        operations = [operation for path in described["paths"].values() for operation in path.values()]
        names = [operation["operationId"] for operation in operations]
        assert len(names) == len(set(names))
        assert all(operation.get("tags") and operation.get("summary") for operation in operations)

    def test_says_which_routes_need_a_token(self, described):
        for path, operations in described["paths"].items():
            for operation in operations.values():
                is_open = path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
                assert ("security" in operation) is not is_open

    def test_resolves_every_reference(self, described):
        def references(node):
            if isinstance(node, dict):
                yield from (value for key, value in node.items() if key == "$ref")
                node = list(node.values())
            if isinstance(node, list):
                for one in node:
                    yield from references(one)

        for reference in set(references(described)):
            node = described
            for part in reference.removeprefix("#/").split("/"):
                node = node[part]

    def test_describes_errors_as_problems_and_never_as_the_frameworks(self, described):
        assert "ProblemView" in described["components"]["schemas"]
        assert "HTTPValidationError" not in str(described["paths"])
