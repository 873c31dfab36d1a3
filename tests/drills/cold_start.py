"""Deployments that have gone to zero, asked by several at once: every request is held and answered, and how late."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from platform_app.specs import DeploymentSpec
from tests.drills.finding import Finding
from tests.drills.versions import add_version, requests
from tests.running import Running, eventually

NAME = "sleeper"
AT_ONCE = 8
"""Requests that wake it together."""
SCALE_DOWN_SECONDS = 2.0
GAPS_SECONDS = tuple(range(4, 20, 2))
"""From one request to the next: on this side of its going to zero, on that side, and amid it."""


def cold_start(running: Running, count: int) -> list[Finding]:
    """Wake it from no replica, from no worker, and while it goes to sleep."""
    add_version(running, NAME)
    running.client.promote(NAME)
    spec = DeploymentSpec(model=NAME, cpus_per_replica=0.5, min_replicas=0, scale_down_delay_seconds=SCALE_DOWN_SECONDS)
    running.client.deploy(NAME, spec)
    running.client.wait_deployed(NAME, timeout=300)
    findings = []
    for what, is_asleep in (
        ("asked at no replica", lambda: not _replicas(running)),
        ("asked at no worker", lambda: not _replicas(running) and not running.workers()),
    ):
        answers = []
        for _ in range(max(1, count // 4)):
            eventually(is_asleep, timeout=300)
            answers += _ask(running)
        findings.append(_finding(what, answers))
    answers = []
    for gap in GAPS_SECONDS:
        time.sleep(gap)
        answers += _ask(running)
    findings.append(_finding(f"asked each {GAPS_SECONDS[0]} to {GAPS_SECONDS[-1]} s, amid its going to zero", answers))
    return findings


def _replicas(running: Running) -> list:
    return running.processes(f"ServeReplica:model-{NAME}:")


def _ask(running: Running) -> list[tuple[int, float, str]]:
    """Send requests at once, and give status, seconds and what is no success of each."""
    url = f"{running.state.api_url}/v2/models/{NAME}/infer"
    headers = {"authorization": f"Bearer {running.state.api_token}"}

    def ask(body: object) -> tuple[int, float, str]:
        began = time.monotonic()
        try:
            answer = httpx.post(url, json=body, headers=headers, timeout=300)
        except httpx.HTTPError as error:
            return 0, time.monotonic() - began, repr(error)
        told = "" if answer.status_code == 200 else answer.text[:100]
        return answer.status_code, time.monotonic() - began, told

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(ask, requests()[:AT_ONCE]))


def _finding(what: str, answers: list[tuple[int, float, str]]) -> Finding:
    failed = [answer for answer in answers if answer[0] != 200]
    why = f": {failed[0][0]} {failed[0][2]}" if failed else ""
    seconds = sorted(answer[1] for answer in answers)
    seen = f"{len(answers)} requests, {len(failed)} failed{why}; answered in {seconds[0]:.2f} to {seconds[-1]:.2f} s"
    print(what, seen, flush=True)  # noqa: T201
    return Finding("cold-start", what, f"{seen}, median {seconds[len(seconds) // 2]:.2f}", not failed)
