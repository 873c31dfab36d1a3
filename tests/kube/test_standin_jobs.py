"""The states of a RayJob on the stand-in follow one another as KubeRay's do."""

from tests.kube.standin.operator.job_status import overruled, retry, told

LONG_AGO = "2020-01-01T00:00:00Z"


def _failed(reason: str = "AppFailed", **fields) -> dict:
    return {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": reason, **fields}


def test_an_end_is_told_with_its_reason():
    seen = told({"status": "FAILED", "message": "exit code 1", "start_time": 1000, "end_time": 2000})
    assert (seen["jobDeploymentStatus"], seen["reason"], seen["message"]) == ("Failed", "AppFailed", "exit code 1")
    assert seen["endTime"] == "1970-01-01T00:00:02Z"
    assert told({"status": "SUCCEEDED"})["jobDeploymentStatus"] == "Complete"
    assert told({"status": "RUNNING"})["jobDeploymentStatus"] == "Running"


def test_a_failure_is_tried_again_as_often_as_allowed():
    first = _failed()
    retry({"backoffLimit": 1}, first, before="Running")
    assert (first["jobDeploymentStatus"], first["failed"]) == ("Retrying", 1)
    second = _failed(failed=1)
    retry({"backoffLimit": 1}, second, before="Running")
    assert (second["jobDeploymentStatus"], second["failed"]) == ("Failed", 2)


def test_a_job_that_is_late_is_not_tried_again():
    late = _failed("DeadlineExceeded")
    retry({"backoffLimit": 3}, late, before="Running")
    assert late["jobDeploymentStatus"] == "Failed"


def test_an_end_is_counted_once():
    ended = _failed(failed=1, succeeded=0)
    retry({}, ended, before="Failed")
    assert ended["failed"] == 1


def test_deadlines_end_a_job_and_a_wish_to_suspend_comes_first():
    running = {"jobDeploymentStatus": "Running", "startTime": LONG_AGO}
    assert overruled({"activeDeadlineSeconds": 5}, running)["reason"] == "DeadlineExceeded"
    assert overruled({"preRunningDeadlineSeconds": 5}, running) is None
    starting = {**running, "jobDeploymentStatus": "Initializing"}
    late = overruled({"preRunningDeadlineSeconds": 5}, starting)
    assert late["message"].endswith("StartTime: 2020-01-01T00:00:00Z. PreRunningDeadlineSeconds: 5")
    suspended = overruled({"suspend": True, "activeDeadlineSeconds": 5}, running)
    assert suspended["jobDeploymentStatus"] == "Suspending"
