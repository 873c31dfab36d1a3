"""`slipway doctor`: what is missing or wrong in a Kubernetes cluster, and what mends each."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from platform_app.cli.output import complain, complaints, console
from platform_app.domain.doctor import Finding, Severity, examine
from platform_app.errors import TemporaryError
from platform_app.manifests.wanted import wanted
from platform_app.specs import load_catalog

app = typer.Typer()

_CANNOT_LOOK = 2
_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow"}


@app.command()
def doctor(
    kubeconfig: Annotated[
        Path | None,
        typer.Option(envvar="SLIPWAY_KUBECONFIG", help="Default: $KUBECONFIG, else ~/.kube/config."),
    ] = None,
    context: Annotated[
        str | None, typer.Option(envvar="SLIPWAY_KUBE_CONTEXT", help="Context of the kubeconfig; absent: its current.")
    ] = None,
    namespace: Annotated[str, typer.Option(help="Where the platform runs.")] = "slipway",
    catalog: Annotated[
        Path | None,
        typer.Option(envvar="SLIPWAY_CATALOG", exists=True, help="The catalog that the manifests were made from."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Look at a Kubernetes cluster, and say what is missing or wrong and what mends it. Nothing is changed.

    Exit code: 0 when nothing is wrong (warnings aside), 1 when something is, 2 when the cluster cannot be looked at.
    """
    # The client takes as long to import as all the rest, and no other command needs it.
    from platform_app.adapters.kubernetes import KubernetesApi
    from platform_app.adapters.kubernetes.doctor import snapshot

    right = wanted(load_catalog(catalog), namespace)
    try:
        with complaints.status("Looking at the cluster"):
            found = examine(snapshot(KubernetesApi.from_kubeconfig(kubeconfig, context), right), right)
    except TemporaryError as error:
        complain(str(error))
        raise typer.Exit(_CANNOT_LOOK) from None
    # Errors first; in each, in the order of an installation.
    found = tuple(sorted(found, key=lambda one: one.severity is not Severity.ERROR))
    _print_json(found) if as_json else _show(found)
    raise typer.Exit(1 if _count(found, Severity.ERROR) else 0)


def _print_json(found: Sequence[Finding]) -> None:
    errors, warnings = _count(found, Severity.ERROR), _count(found, Severity.WARNING)
    report = {"errors": errors, "warnings": warnings, "findings": [asdict(one) for one in found]}
    typer.echo(json.dumps(report, indent=2))


def _show(found: Sequence[Finding]) -> None:
    if not found:
        console.print("[green]Nothing is wrong.[/] Next: [bold]slipway submit jobs/examples/ddp.yaml[/]")
        return
    table = Table("", "WHAT IS WRONG", box=None, header_style="bold", pad_edge=False, padding=(0, 1, 1, 0))
    for one in found:
        evidence = "".join(f"\n[dim]{escape(line)}[/]" for line in one.evidence)
        table.add_row(
            f"[{_COLOURS[one.severity]}]{one.severity}[/]", f"[bold]{one.name}[/]: {escape(one.what)}{evidence}"
        )
    console.print(table)
    counts = f"{_count(found, Severity.ERROR)} error(s), {_count(found, Severity.WARNING)} warning(s)"
    console.print(f"{counts}. Next, what mends them, in this order:")
    for mend in dict.fromkeys(one.mend for one in found):
        # Not broken by us, so that it can be copied.
        console.print(mend, style="cyan", markup=False, highlight=False, soft_wrap=True)


def _count(found: Sequence[Finding], severity: Severity) -> int:
    return sum(one.severity is severity for one in found)
