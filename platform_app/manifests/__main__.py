"""Writes the files under `k8s/` that depend on the catalog: `python -m platform_app.manifests [--catalog FILE]`."""

import argparse
import sys
from pathlib import Path

import yaml
from pydantic import ValidationError

from platform_app.manifests.files import rendered_files
from platform_app.specs import load_catalog

ROOT = Path(__file__).parents[2]
CATALOG, MANIFESTS = ROOT / "platform_app" / "catalog.yaml", ROOT / "k8s"


def main() -> None:
    """Render, write what differs, and name it."""
    parser = argparse.ArgumentParser(prog="python -m platform_app.manifests", description=__doc__)
    parser.add_argument("--catalog", type=Path, default=CATALOG, help="a catalog file (default: %(default)s)")
    parser.add_argument("--into", type=Path, default=MANIFESTS, help="folder to write to (default: %(default)s)")
    options = parser.parse_args()
    try:
        source = options.catalog.read_text(encoding="utf-8")
        files = rendered_files(load_catalog(options.catalog), source)
    except (OSError, yaml.YAMLError, ValidationError) as error:
        parser.exit(2, f"{options.catalog} is no catalog: {error}\n")
    for name, text in files.items():
        path = options.into / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path}\n")


if __name__ == "__main__":
    main()
