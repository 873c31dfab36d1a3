"""Scripts at Ray's door that take more GPUs than they declared, and what becomes of them by their team's quota."""

import pytest
from ray.job_submission import JobStatus, JobSubmissionClient

from platform_app.client import Platform
from platform_app.domain.job import JobState, Reason
from platform_app.specs import Overuse, Quota, TokenSpec
from tests.running import eventually

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

TAKES_A_GPU = """
import ray, time
ray.init()

@ray.remote(num_gpus=1)
class Holder:
    def there(self): return True

holder = Holder.remote()
print("has it:", ray.get(holder.there.remote()), flush=True)
time.sleep(3600)
"""


@pytest.fixture(scope="module", params=list(Overuse))
def script(request, running, tmp_path_factory):
    """Give the policy of a team, the platform as it is to that team, and its script that has taken a GPU."""
    name = f"team-{request.param}"
    running.client.put_team(name, Quota(overuse=request.param))
    token = running.client.add_token(TokenSpec(name="tests", team=name)).token
    folder = tmp_path_factory.mktemp("code")
    (folder / "take.py").write_text(TAKES_A_GPU)
    door = JobSubmissionClient(running.state.api_url, headers={"Authorization": f"Bearer {token}"})
    submission_id = door.submit_job(
        entrypoint="python take.py",
        runtime_env={"working_dir": str(folder)},
        metadata={"slipway.gpus": "0.5", "slipway.name": "taker"},
    )
    platform = Platform(running.state.api_url, token)
    (job,) = platform.jobs().items
    yield request.param, platform, job.id
    door.stop_job(submission_id)
    eventually(lambda: door.get_job_status(submission_id) in (JobStatus.STOPPED, JobStatus.FAILED))


def test_a_script_that_takes_more_gpus_than_it_declared_is_seen_and_warned_or_stopped(script):
    policy, platform, job_id = script
    seen = eventually(lambda: [one for one in platform.events(job_id) if one.kind == "overuse"], timeout=240)
    assert "has it: True" in "".join(platform.logs(job_id))
    assert "it holds 1 GPUs" in seen[0].message
    assert "declared 0.5" in seen[0].message
    if policy is Overuse.WARN:
        assert platform.job(job_id).state is JobState.RUNNING
        return
    ended = platform.wait(job_id, timeout=120)
    assert (ended.state, ended.reason) == (JobState.FAILED, Reason.MORE_THAN_DECLARED)
    assert "declared 0.5" in ended.message
