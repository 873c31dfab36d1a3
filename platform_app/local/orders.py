"""What passes between those who play the market and the provider, which is in the autoscaler's process: small files.

They write a limit for a group, or a notice for a node; the provider acts and writes what there is. Every file has one
kind of writer and is replaced as a whole, so nobody locks and nobody reads half of one. They are gone with the cluster.
"""

import shutil
from pathlib import Path

from platform_app.local.spot import Limit, Market


class Orders:
    """The folder of one cluster's market.

    Args:
        folder: made when first written to. The names of groups and nodes in it were checked by the caller.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._limits = folder / "limits"
        self._notices = folder / "notices"
        self._market = folder / "market.json"

    def limits(self) -> dict[str, Limit]:
        """Read the limit of every group that has one."""
        return {name: Limit.model_validate_json(text) for name, text in _read(self._limits).items()}

    def limit(self, group: str, limit: Limit | None) -> None:
        """Limit a group; None takes the limit away."""
        if limit is None:
            (self._limits / group).unlink(missing_ok=True)
        else:
            _replace(self._limits / group, limit.model_dump_json())

    def notices(self) -> dict[str, float]:
        """Read the notices that are to be given: seconds until the kill, by node."""
        return {name: float(text) for name, text in _read(self._notices).items()}

    def give_notice(self, node: str, seconds: float) -> None:
        """Ask for a notice."""
        _replace(self._notices / node, str(seconds))

    def notice_given(self, node: str) -> None:
        """Take the order for a notice away."""
        (self._notices / node).unlink(missing_ok=True)

    def market(self) -> Market | None:
        """Read what there is; None before the provider has written it for the first time."""
        try:
            return Market.model_validate_json(self._market.read_bytes())
        except FileNotFoundError:
            return None

    def publish(self, market: Market) -> None:
        """Write what there is, and by that the limits that are kept now."""
        _replace(self._market, market.model_dump_json())

    def forget_nodes(self) -> None:
        """Take everything away that is about nodes: they have ended with their autoscaler. Limits stay."""
        shutil.rmtree(self._notices, ignore_errors=True)
        self._market.unlink(missing_ok=True)


def _read(folder: Path) -> dict[str, str]:
    found = {}
    for path in folder.glob("*") if folder.is_dir() else ():
        try:
            if path.suffix != ".new":
                found[path.name] = path.read_text()
        except FileNotFoundError:  # Taken away since it was listed.
            continue
    return found


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.new")
    aside.write_text(text)
    aside.replace(path)
