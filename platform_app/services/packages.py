"""Working directories that people upload, so that their code goes along with a job."""

from collections.abc import Iterable

from platform_app.ports import Storage


class Packages:
    """The use case of uploads."""

    def __init__(self, storage: Storage, limit_bytes: int = 512 * 2**20) -> None:
        self._storage = storage
        self.limit_bytes = limit_bytes

    def add(self, chunks: Iterable[bytes]) -> str:
        """Store a working directory's zip as it arrives and give its name. Raises InvalidRequest."""
        return self._storage.add_package(chunks, self.limit_bytes)
