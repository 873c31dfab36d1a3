"""Working directories that people upload, so that their code goes along with a job."""

import re
from collections.abc import Iterable

from platform_app.errors import FieldProblem, InvalidRequest
from platform_app.ports import Storage

_OURS = frozenset({"platform_app", "jobs", "serve"})
"""What trains a user's workload imports these: a working directory must not hide them."""
_RAY_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,195}\.zip")
"""How Ray's clients name what they upload: `_ray_pkg_{digest}.zip`."""


class Packages:
    """The use cases of uploads."""

    def __init__(self, storage: Storage, limit_bytes: int = 512 * 2**20) -> None:
        self._storage = storage
        self.limit_bytes = limit_bytes

    def add(self, chunks: Iterable[bytes]) -> str:
        """Store a working directory's zip as it arrives and give its name. Raises InvalidRequest."""
        return self._storage.add_package(chunks, self.limit_bytes, _OURS)

    def put(self, team: str, protocol: str, name: str, chunks: Iterable[bytes]) -> None:
        """Store a zip as it arrives under the name that one of the team's clients gave it. Raises InvalidRequest."""
        if protocol != "gcs":
            raise InvalidRequest(FieldProblem("protocol", f"packages are uploaded to gcs://; got {protocol}://"))
        if not _RAY_NAME.fullmatch(name):
            expected = "letters, digits, `_`, `-`, `+` and `.`, at most 200, and .zip at the end"
            raise InvalidRequest(FieldProblem("package_name", f"expected {expected}; got {name!r}"))
        self._storage.name_package(team, name, self._storage.add_package(chunks, self.limit_bytes))

    def named(self, team: str, protocol: str, name: str) -> str | None:
        """Give the package that a name stands for within a team; None when there is none."""
        if protocol != "gcs" or not _RAY_NAME.fullmatch(name):
            return None
        package = self._storage.named_package(team, name)
        return package if package and self._storage.package_uri(package) else None
