"""What Ray's clients send, read as commands."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.dashboard.modules.job.common import JobSubmitRequest

from platform_app.domain.capacity import demand
from platform_app.domain.ray_submission import RaySubmission, command, submission
from platform_app.errors import InvalidRequest
from platform_app.specs import CommandSpec, MarketPolicy

PACKAGE = f"package:{'0' * 64}"
HERE = {"_ray_pkg_1.zip": PACKAGE}


def read(**fields) -> CommandSpec:
    return command(submission({"entrypoint": "python train.py", **fields}), "research", HERE.get)


def refused(**fields) -> list[str]:
    with pytest.raises(InvalidRequest) as caught:
        read(**fields)
    return [problem.field for problem in caught.value.problems]


def test_its_fields_are_those_of_rays_own_request():
    theirs = {field.name for field in dataclasses.fields(JobSubmitRequest)}
    assert set(RaySubmission.model_fields) == theirs


def test_a_bare_command_holds_a_cpu_and_nothing_more():
    spec = read()
    assert (spec.name, spec.team, spec.tier, spec.entrypoint) == (
        "ray-job",
        "research",
        "development",
        "python train.py",
    )
    assert (spec.driver.cpus_per_worker, spec.driver.gpus_per_worker, spec.workers) == (1, 0, None)


def test_fields_that_are_null_count_as_absent():
    assert read(metadata=None, runtime_env=None, submission_id=None, entrypoint_num_gpus=None) == read()


def test_what_the_entrypoint_asks_for_is_what_it_holds():
    spec = read(entrypoint_num_gpus=1, entrypoint_num_cpus=2, entrypoint_memory=2**30)
    assert (spec.driver.gpus_per_worker, spec.driver.cpus_per_worker, spec.driver_memory) == (1, 2, 2**30)


def test_metadata_says_what_ray_has_no_field_for_and_is_kept_as_it_came():
    metadata = {"slipway.name": "mine", "slipway.tier": "training-critical", "slipway.experiment": "e", "other": "x"}
    spec = read(metadata=metadata)
    assert (spec.name, spec.tier, spec.experiment, spec.metadata) == ("mine", "training-critical", "e", metadata)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"slipway.gpus": "2"}, (2, 1, 1)),
        ({"slipway.gpus": "0.5"}, (1, 0.5, 1)),
        ({"slipway.gpus": "4", "slipway.workers": "2", "slipway.cpus": "6"}, (2, 2, 3)),
        ({"slipway.cpus": "3"}, (3, 0, 1)),
    ],
)
def test_what_the_script_asks_for_inside_is_declared_by_metadata(metadata, expected):
    workers = read(metadata=metadata).workers
    assert (workers.num_workers, workers.gpus_per_worker, workers.cpus_per_worker) == expected


@given(gpus=st.integers(0, 64), inside=st.integers(0, 64))
def test_all_declared_gpus_are_demanded(gpus, inside):
    need = demand(read(entrypoint_num_gpus=gpus, metadata={"slipway.gpus": str(inside)}))
    of_workers = need.at_least * need.per_worker.gpus_per_worker
    assert of_workers + (need.driver.gpus_per_worker if need.driver else 0) == gpus + inside


def test_which_workers_will_do_is_said_by_label_or_by_metadata():
    labels = {"ray.io/market-type": "on-demand", "ray.io/accelerator-type": "A10G"}
    by_label = read(entrypoint_num_gpus=1, entrypoint_label_selector=labels)
    metadata = {"slipway.market": "on-demand", "slipway.accelerator": "A10G"}
    by_metadata = read(entrypoint_num_gpus=1, metadata=metadata)
    assert by_label.driver == by_metadata.driver
    assert by_label.driver.market is MarketPolicy.ON_DEMAND


def test_a_command_without_gpus_runs_where_it_can_whatever_its_workers_need():
    spec = read(metadata={"slipway.gpus": "2", "slipway.market": "spot"})
    assert (spec.driver.market, spec.workers.market) == (MarketPolicy.PREFER_SPOT, MarketPolicy.SPOT)


def test_a_deadline_is_said_by_metadata():
    assert read(metadata={"slipway.deadline_seconds": "60"}).deadline_seconds == 60
    assert read().deadline_seconds is None


def test_names_of_uploads_are_told_what_they_stand_for():
    uri = "gcs://_ray_pkg_1.zip"
    spec = read(runtime_env={"working_dir": uri, "py_modules": [uri, "https://elsewhere/x.zip"]})
    assert spec.packages == {uri: PACKAGE}
    assert spec.runtime_env["working_dir"] == uri


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"entrypoint": ""}, "entrypoint"),
        ({"entrypoint": 5}, "entrypoint"),
        ({"command": "ls"}, "command"),
        ({"submission_id": "../../etc"}, "submission_id"),
        ({"submission_id": "a\nb"}, "submission_id"),
        ({"submission_id": "a" * 201}, "submission_id"),
        ({"entrypoint_num_gpus": -1}, "entrypoint_num_gpus"),
        ({"entrypoint_num_gpus": 1.5}, "entrypoint_num_gpus"),
        ({"entrypoint_resources": {"TPU": 1}}, "entrypoint_resources"),
        ({"entrypoint_label_selector": {"region": "eu"}}, "entrypoint_label_selector"),
        ({"entrypoint_label_selector": {"ray.io/market-type": "!spot"}}, "metadata slipway.market"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {"slipway.gpu": "1"}}, "metadata"),
        ({"metadata": {"slipway.gpus": "two"}}, "metadata slipway.gpus"),
        ({"metadata": {"slipway.deadline_seconds": "-1"}}, "metadata slipway.deadline_seconds"),
        ({"metadata": {"slipway.gpus": "nan"}}, "metadata slipway.gpus"),
        ({"metadata": {"slipway.gpus": "3", "slipway.workers": "1.5"}}, "metadata slipway.workers"),
        ({"metadata": {"slipway.workers": "2"}}, "metadata slipway.workers"),
        ({"metadata": {"slipway.name": "Not A Name"}}, "metadata slipway.name"),
        ({"runtime_env": {"working_dir": "gcs://_ray_pkg_2.zip"}}, "runtime_env.working_dir"),
        ({"runtime_env": {"working_dir": "./here"}}, "runtime_env.working_dir"),
        ({"runtime_env": {"py_modules": ["gcs://nowhere.zip"]}}, "runtime_env.py_modules"),
        ({"runtime_env": {"py_modules": 5}}, "runtime_env"),
        ({"runtime_env": {"env_vars": {"SLIPWAY_JOB_ID": "x"}}}, "runtime_env"),
        ({"runtime_env": {"env_vars": {"A": 1}}}, "runtime_env"),
    ],
)
def test_what_cannot_be_run_is_refused_by_the_field_that_was_sent(fields, field):
    assert refused(**fields) == [field]


def test_a_misspelt_key_is_answered_with_the_nearest():
    with pytest.raises(InvalidRequest, match=r"did you mean 'slipway\.gpus'"):
        read(metadata={"slipway.gpu": "1"})


@pytest.mark.parametrize("body", [None, [], "x", {}])
def test_what_is_no_submission_is_refused(body):
    with pytest.raises(InvalidRequest):
        submission(body)
