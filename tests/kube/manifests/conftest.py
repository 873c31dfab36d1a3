"""What kustomize builds, and what the checker of the schemas says of it."""

import subprocess
import sys

import pytest

from tests.kube.manifests import (
    BOOTSTRAP,
    CHECKER,
    EVERYTHING,
    OVERLAYS,
    built,
    built_with,
    objects,
)


@pytest.fixture(params=OVERLAYS)
def overlay(request):
    return objects(built(request.param))


@pytest.fixture
def prod():
    return objects(built("overlays/prod"))


@pytest.fixture
def dev():
    return objects(built("overlays/dev"))


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    """What the checker of the schemas says of every build, by the name of the build."""
    if not CHECKER.exists():
        pytest.skip(f"no CRD schemas here: {CHECKER} is missing")
    folder = tmp_path_factory.mktemp("builds")
    texts = {name: built(name) for name in (*OVERLAYS, *BOOTSTRAP)}
    texts[EVERYTHING] = built_with(tmp_path_factory.mktemp("overlay"), "overlays/prod", "kueue", "jupyterhub")
    files = {name: folder / f"{number}.yaml" for number, name in enumerate(texts)}
    for name, file in files.items():
        file.write_text(texts[name])
    command = [sys.executable, CHECKER, *files.values()]
    *lines, summary = subprocess.run(command, capture_output=True, text=True, timeout=110).stdout.splitlines()
    assert f"objects checked in {len(files)} files" in summary
    return {name: [line for line in lines if line.startswith(f"{file}:")] for name, file in files.items()}
