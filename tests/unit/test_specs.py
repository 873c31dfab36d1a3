"""What a user may write, and what a refusal says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from platform_app.specs import Catalog, DeploymentSpec, TrainSpec, digest, job_spec_adapter, load_catalog

TRAIN = {"kind": "train", "name": "digits", "workload": "jobs.workloads.digits:make"}
SWEEP = {**TRAIN, "kind": "sweep", "space": {"lr": {"type": "uniform", "low": 0, "high": 1}}}


def refusal(fields):
    with pytest.raises(ValidationError) as caught:
        job_spec_adapter.validate_python(fields)
    return " ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in caught.value.errors())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({**TRAIN, "epoch": 3}, "epoch: Extra inputs"),
        ({**TRAIN, "name": "Digits!"}, "name: String should match"),
        ({**TRAIN, "workload": "digits.py"}, "workload: String should match"),
        ({**TRAIN, "train_loop": "a:b"}, "exactly one of workload and train_loop"),
        ({**TRAIN, "workload": None}, "exactly one of workload and train_loop"),
        (
            {**TRAIN, "workload": None, "train_loop": "a:b", "registered_model": "m"},
            "registered_model needs a workload",
        ),
        ({**TRAIN, "batch_size": 1, "resources": {"num_workers": 2}}, "take at least 2"),
        ({**TRAIN, "resources": {"num_workers": 0}}, "num_workers: Value error, expected an integer from 1, or [min"),
        ({**TRAIN, "resources": {"num_workers": [1, 2, 3]}}, "got [1, 2, 3]"),
        ({**TRAIN, "resources": {"num_workers": [3, 1]}}, "min 3 is more than max 1: write [1, 3]"),
        ({**TRAIN, "resources": {"gpus_per_worker": 1.5}}, "got 1.5, take 2"),
        ({**TRAIN, "env_vars": {"SLIPWAY_JOB_ID": "x"}}, "SLIPWAY_JOB_ID"),
        ({**TRAIN, "working_dir": "file:///etc"}, "working_dir: String should match"),
        ({**SWEEP, "space": {}}, "space: Dictionary should have at least 1"),
        ({**SWEEP, "space": {"lr": {"type": "choice", "values": []}}}, "at least 1 item"),
        ({**SWEEP, "space": {"lr": {"type": "uniform", "low": 1, "high": 1}}}, "low must be less than high"),
        ({**SWEEP, "space": {"lr": {"type": "loguniform", "low": 0, "high": 1}}}, "greater than 0"),
        ({**SWEEP, "space": {"lr": {"type": "int", "low": 3, "high": 2}}}, "low=3, high=2"),
        ({**SWEEP, "space": {"lr": {"type": "grid", "values": [1]}}}, "optuna does not walk a grid (lr)"),
        ({**SWEEP, "config": {"lr": 1}}, "both in space and in config: lr"),
        ({**SWEEP, "resources": {"num_workers": [1, 2]}}, "num_workers must be one number; got [1, 2], take 1"),
        ({"kind": "batch"}, "'train', 'sweep'"),
    ],
)
def test_a_refusal_names_the_field_and_what_would_do(fields, words):
    assert words in refusal(fields)


def test_a_grid_is_walked_as_often_as_samples_are_asked():
    grid = {"type": "grid", "values": [1, 2, 3]}
    fields = {**SWEEP, "space": {"a": grid, "b": grid}, "search": {"algorithm": "random", "num_samples": 2}}
    assert job_spec_adapter.validate_python(fields).num_trials == 18


def test_a_spec_survives_its_own_json():
    spec = job_spec_adapter.validate_python(SWEEP)
    assert job_spec_adapter.validate_json(spec.model_dump_json()) == spec


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_a_digest_names_the_content(first, second):
    specs = [TrainSpec(name="a", workload="a:b", epochs=epochs) for epochs in (first, second)]
    assert (digest(specs[0]) == digest(specs[1])) == (first == second)


def test_a_default_written_out_gives_the_same_digest():
    assert digest(TrainSpec(**TRAIN)) == digest(TrainSpec(**TRAIN, epochs=10))


def test_a_deployment_cannot_have_fewer_replicas_at_most_than_at_least():
    with pytest.raises(ValidationError, match="min_replicas 3 is more than max_replicas 1"):
        DeploymentSpec(model="m", min_replicas=3)


def test_the_catalog_that_comes_along_starts_every_group_at_zero():
    catalog = load_catalog()
    assert [group.name for group in catalog.worker_groups] == ["gpu-spot", "gpu-ondemand", "cpu"]
    assert all(group.min_workers == 0 for group in catalog.worker_groups)


def test_a_catalog_with_a_name_twice_is_refused_by_that_name(tmp_path):
    group = load_catalog().worker_groups[0].model_dump()
    with pytest.raises(ValidationError, match="given twice: gpu-spot"):
        Catalog.model_validate({"worker_groups": [group, group], "tiers": [{"name": "a", "priority": 1}]})


def test_a_catalog_file_that_is_wrong_names_its_field(tmp_path):
    path = tmp_path / "catalog.yaml"
    path.write_text("worker_groups: [{name: gpu}]\ntiers: [{name: a, priority: 1}]\n")
    with pytest.raises(ValidationError, match=r"worker_groups.0.market"):
        load_catalog(path)
