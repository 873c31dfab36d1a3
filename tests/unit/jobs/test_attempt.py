"""What a driver is told."""

import json

import pytest

from jobs.attempt import Attempt, BadInput, attempt_from, load_spec
from platform_app.specs import SweepSpec, TrainSpec

SPEC = {"name": "digits", "workload": "a:b"}


def test_a_spec_is_inline_json_or_a_file_of_yaml_or_json(tmp_path):
    (tmp_path / "spec.yaml").write_text("name: digits\nworkload: a:b\n")
    (tmp_path / "spec.json").write_text(json.dumps(SPEC))
    specs = [
        load_spec(source, TrainSpec)
        for source in (json.dumps(SPEC), str(tmp_path / "spec.yaml"), str(tmp_path / "spec.json"))
    ]
    assert specs[0] == specs[1] == specs[2]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/nowhere/spec.yaml", "--spec: cannot be read: .*No such file"),
        ("{", "--spec: cannot be read"),
        (json.dumps(SPEC | {"epochs": 0}), "^epochs: .*greater than or equal to 1"),
        (json.dumps(SPEC | {"resources": {"num_workers": "two"}}), r"^resources\.num_workers: .*integer"),
        (json.dumps(SPEC | {"epoch": 3}), "^epoch: Extra inputs"),
        (json.dumps({"name": "digits"}), "exactly one of workload and train_loop"),
        (json.dumps(SPEC | {"kind": "sweep"}), "^kind: .*'train'"),
    ],
)
def test_a_bad_spec_is_told_by_its_field(source, message):
    with pytest.raises(BadInput, match=message):
        load_spec(source, TrainSpec)


def test_a_file_that_holds_no_mapping_is_told_so(tmp_path):
    (tmp_path / "spec.yaml").write_text("- a\n- b\n")
    with pytest.raises(BadInput, match="expected a mapping"):
        load_spec(str(tmp_path / "spec.yaml"), SweepSpec)


def test_without_the_platform_an_attempt_gets_an_id_and_places_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    attempt = attempt_from(TrainSpec.model_validate(SPEC), {})
    assert attempt.job_id.startswith("digits-")
    assert len(attempt.job_id) == len("digits-") + 6
    assert attempt.number == 1
    assert attempt.storage == f"{tmp_path}/.slipway/storage"
    assert attempt.tracking_uri == f"sqlite:///{tmp_path}/.slipway/storage/mlflow.db"


def test_the_platforms_variables_are_taken_and_survive_the_way_to_a_worker():
    environment = {
        "SLIPWAY_JOB_ID": "digits-abc123",
        "SLIPWAY_ATTEMPT": "2",
        "SLIPWAY_STORAGE": "/shared",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    }
    attempt = attempt_from(TrainSpec.model_validate(SPEC), environment)
    assert str(attempt.report_path) == "/shared/digits-abc123/attempt-2.json"
    assert Attempt.model_validate_json(attempt.model_dump_json()) == attempt


@pytest.mark.parametrize(
    ("environment", "message"),
    [({"SLIPWAY_STORAGE": "here"}, "SLIPWAY_STORAGE: .*absolute"), ({"SLIPWAY_ATTEMPT": "two"}, "SLIPWAY_ATTEMPT")],
)
def test_a_bad_variable_is_told_by_its_name(environment, message):
    with pytest.raises(BadInput, match=message):
        attempt_from(TrainSpec.model_validate(SPEC), environment)
