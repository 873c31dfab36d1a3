"""Teams see and change what is theirs, as far as their token's role goes; every change is written down."""

import pytest

from platform_app.domain.team import token_digest
from tests.api.test_routes import TRAIN

DEPLOYMENT = {"model": "digits"}


def test_a_job_is_its_tokens_teams_unless_an_admin_names_another(api, made):
    assert api.post("/v1/jobs", json=TRAIN).json()["team"] == "default"
    assert api.post("/v1/jobs", json={**TRAIN, "team": "product"}).json()["team"] == "product"
    assert api.post("/v1/jobs", json=TRAIN, headers=made()).json()["team"] == "research"
    assert api.post("/v1/jobs", json={**TRAIN, "team": "research"}, headers=made()).status_code == 202
    refused = api.post("/v1/jobs", json={**TRAIN, "team": "product"}, headers=made())
    assert refused.status_code == 403
    assert "leave team out" in refused.json()["detail"]
    unknown = api.post("/v1/jobs", json={**TRAIN, "team": "reserch"})
    assert unknown.status_code == 422
    assert "did you mean 'research'?" in unknown.json()["errors"][0]["message"]


@pytest.mark.parametrize("route", ["", "/logs", "/events", "/trials", "/explain"])
def test_another_teams_job_is_not_there(api, made, route):
    job_id = api.post("/v1/jobs", json=TRAIN, headers=made("research")).json()["id"]
    missing = api.get(f"/v1/jobs/nothing{route}", headers=made("product"))
    hidden = api.get(f"/v1/jobs/{job_id}{route}", headers=made("product"))
    assert (hidden.status_code, hidden.json()["code"]) == (404, "not-found")
    assert hidden.json()["detail"] == missing.json()["detail"].replace("nothing", job_id)
    assert api.get(f"/v1/jobs/{job_id}{route}", headers=made("research", "viewer")).status_code == 200
    assert api.get(f"/v1/jobs/{job_id}{route}").status_code == 200


def test_another_teams_job_cannot_be_stopped(api, made):
    job_id = api.post("/v1/jobs", json=TRAIN, headers=made("research")).json()["id"]
    assert api.post(f"/v1/jobs/{job_id}/stop", headers=made("product")).status_code == 404
    assert api.get(f"/v1/jobs/{job_id}").json()["state"] == "QUEUED"
    assert api.post(f"/v1/jobs/{job_id}/stop", headers=made("research")).json()["state"] == "STOPPED"


def test_a_list_has_the_teams_own_jobs_and_an_admins_all(api, made):
    for team in ("research", "product", "research"):
        api.post("/v1/jobs", json=TRAIN, headers=made(team))

    def teams(query="", **options):
        return [job["team"] for job in api.get(f"/v1/jobs{query}", **options).json()["items"]]

    assert teams() == ["research", "product", "research"]
    assert teams("?team=product") == ["product"]
    assert teams(headers=made("research")) == ["research", "research"]
    assert teams("?team=product", headers=made("research")) == []


def test_an_idempotency_key_is_its_teams(api, made):
    key = {"Idempotency-Key": "k"}
    first, again, other = (
        api.post("/v1/jobs", json=TRAIN, headers=made(team) | key).json()
        for team in ("research", "research", "product")
    )
    assert first["id"] == again["id"]
    assert (other["id"] != first["id"], other["team"]) == (True, "product")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/jobs", TRAIN),
        ("POST", "/v1/jobs?dry_run=true", TRAIN),
        ("POST", "/v1/packages", None),
        ("POST", "/v1/jobs/x/stop", None),
        ("PUT", "/v1/deployments/digits", DEPLOYMENT),
        ("DELETE", "/v1/deployments/digits", None),
        ("POST", "/v1/models/digits/promote", None),
        ("POST", "/v1/models/digits/rollback", None),
    ],
)
def test_a_viewer_changes_nothing(api, plane, made, method, path, body):
    refused = api.request(method, path, json=body, headers=made(role="viewer"))
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "the role member" in refused.json()["detail"]
    assert plane.store.live() == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/teams/mine", {}),
        ("POST", "/v1/tokens", {"name": "t", "team": "research"}),
        ("DELETE", "/v1/tokens/t-000001", None),
    ],
)
def test_teams_and_tokens_are_for_admins_to_change(api, made, method, path, body):
    assert api.request(method, path, json=body, headers=made()).status_code == 403
    assert api.request(method, path, json=body, headers=made(role="viewer")).status_code == 403


def test_a_token_is_told_once_and_kept_as_its_digest(api, plane):
    made = api.post("/v1/tokens", json={"name": "ci", "team": "research"})
    token = made.json()["token"]
    assert made.headers["Cache-Control"] == "no-store"
    assert [stored.digest for stored in plane.database.teams.tokens()] == [token_digest(token)]
    assert token not in (plane.folder / "platform.db").read_bytes().decode(errors="ignore")
    listed = api.get("/v1/tokens")
    assert token not in listed.text
    assert token_digest(token) not in listed.text
    assert [(one["name"], one["role"], one["is_valid"]) for one in listed.json()] == [("ci", "member", True)]


def test_a_token_that_has_expired_lets_nobody_in_and_says_so(api, plane, made):
    token = made(expires_in_days=1)
    assert api.get("/v1/jobs", headers=token).status_code == 200
    plane.clock.advance(24 * 3600)
    refused = api.get("/v1/jobs", headers=token)
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "expired on 2026-05-05 12:00 UTC" in refused.json()["detail"]
    assert not api.get("/v1/tokens").json()[0]["is_valid"]


def test_a_revoked_token_lets_nobody_in_from_the_next_request_on(api, made):
    token = made()
    token_id = api.get("/v1/tokens").json()[0]["id"]
    assert api.delete(f"/v1/tokens/{token_id}").json()["is_valid"] is False
    refused = api.get("/v1/jobs", headers=token)
    assert refused.status_code == 401
    assert "was revoked" in refused.json()["detail"]
    assert api.delete(f"/v1/tokens/{token_id}").status_code == 200
    missing = api.delete("/v1/tokens/t-nothing")
    assert missing.status_code == 404


def test_the_settings_token_lets_in_while_the_database_is_away(api, plane, made):
    token = made()
    plane.folder.joinpath("platform.db").rename(plane.folder / "away.db")
    plane.database.close()
    assert api.get("/v2").status_code == 200
    assert api.get("/v2", headers=token).status_code == 503


def test_tokens_of_nobody_and_bad_ones_are_refused_by_their_fields(api):
    spec = {"name": "t", "team": "reserch", "role": "owner", "expires_in_days": 0}
    fields = [error["field"] for error in api.post("/v1/tokens", json=spec).json()["errors"]]
    assert fields == ["role", "expires_in_days"]
    unknown = api.post("/v1/tokens", json={"name": "t", "team": "reserch"})
    assert unknown.status_code == 422
    assert "did you mean 'research'?" in unknown.json()["errors"][0]["message"]


def test_model_servers_know_every_token_that_lets_in_and_no_other(api, plane, made):
    good, bad = made(), made(expires_in_days=1)
    plane.clock.advance(2 * 24 * 3600)
    text = good["Authorization"].removeprefix("Bearer ")
    assert token_digest(text) in plane.teams.digests()
    assert token_digest(bad["Authorization"].removeprefix("Bearer ")) not in plane.teams.digests()
    assert len(plane.teams.digests()) == 2


def test_a_team_has_the_quota_that_it_was_given_last(api, made):
    quota = {"gpus": {"A10G": 4, "A10G/on-demand": 1}, "cpus": 64, "jobs": 3, "borrow": True, "overuse": "stop"}
    assert api.put("/v1/teams/vision", json=quota).json()["quota"] == quota
    assert api.put("/v1/teams/vision", json={"jobs": 1}).json()["quota"]["gpus"] == {}
    assert [team["name"] for team in api.get("/v1/teams").json()] == ["default", "product", "research", "vision"]
    assert [team["name"] for team in api.get("/v1/teams", headers=made("vision")).json()] == ["vision"]
    assert api.get("/v1/teams/vision", headers=made("research")).status_code == 404
    assert api.put("/v1/teams/vision", json={"gpus": {"A10G/cheap": 1}}).status_code == 422
    assert api.put("/v1/teams/Not A Name", json={}).status_code == 422


def test_every_change_is_in_the_audit_log_with_who_and_when(api, plane, made):
    member = made()
    plane.clock.advance(1)
    viewer = made("product", "viewer")
    job_id = api.post("/v1/jobs", json=TRAIN, headers=member).json()["id"]
    api.post("/v1/jobs?dry_run=true", json=TRAIN, headers=member)
    api.get("/v1/jobs", headers=member)
    api.post("/v1/jobs", json={**TRAIN, "epochs": 0}, headers=member)
    plane.clock.advance(60)
    api.post(f"/v1/jobs/{job_id}/stop", headers=member)
    api.post("/v1/jobs", json=TRAIN, headers=viewer)
    api.put("/v1/teams/vision", json={"jobs": 1})
    entries = api.get("/v1/audit").json()["items"]
    told = [(one["team"], one["action"], one["path"], one["detail"], one["status"]) for one in reversed(entries)]
    ids = [token["id"] for token in api.get("/v1/tokens").json()]
    assert told == [
        ("default", "add_token", "/v1/tokens", f"{ids[0]}: member of research", 201),
        ("default", "add_token", "/v1/tokens", f"{ids[1]}: viewer of product", 201),
        ("research", "submit_job", "/v1/jobs", job_id, 202),
        ("research", "stop_job", f"/v1/jobs/{job_id}/stop", "", 202),
        ("product", "submit_job", "/v1/jobs", "", 403),
        ("default", "put_team", "/v1/teams/vision", '{"jobs":1}', 200),
    ]
    assert [one["token"] for one in entries] == [
        "of-the-settings", ids[1], ids[0], ids[0], "of-the-settings", "of-the-settings"
    ]  # fmt: skip
    assert entries[0]["at"] > entries[-1]["at"]
    assert len(api.get("/v1/audit", headers=member).json()["items"]) == 2


def test_the_audit_log_comes_in_pages(api, made):
    for _ in range(5):
        made()
    first = api.get("/v1/audit?limit=3").json()
    second = api.get(f"/v1/audit?limit=3&cursor={first['next_cursor']}").json()
    assert [len(first["items"]), len(second["items"]), second["next_cursor"]] == [3, 2, None]
    assert api.get("/v1/audit?cursor=x").status_code == 422
