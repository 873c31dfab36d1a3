"""An inference graph: a deployment's own model, with what comes before, after, beside or instead of it.

    graph:
      sequence:
        - function: my_module:normalize                       # pre-process
        - ensemble: [model, {model: forest, version: 3}]      # the deployment's own model, and another
          combine: mean
        - function: my_module:labels                          # post-process

`model` is the deployment's own model at the version that it serves, so promotion, rollouts and lineage are as ever;
any other model is pinned. All nodes live in one replica: a graph is one hop.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from platform_app.specs.base import ImportPath, Name, Spec

OWN = "model"
"""The node that is the deployment's own model."""


class ModelNode(Spec):
    """Another registered model."""

    model: Name
    version: int = Field(ge=1)


class FunctionNode(Spec):
    """A function from named arrays to named arrays, or to one array; from what is installed, or the model's code."""

    function: ImportPath


class SequenceNode(Spec):
    """Nodes one after the other; each takes what the one before it gave."""

    sequence: tuple["Node", ...] = Field(min_length=1, max_length=32)


class EnsembleNode(Spec):
    """Nodes that all take the same, and whose answers are made one."""

    ensemble: tuple["Node", ...] = Field(min_length=2, max_length=32)
    combine: Literal["mean", "vote"] | ImportPath = "mean"
    """The mean of numbers; the class that most name (of a vector, its largest element's position; the first of several
    that are named equally often); or a function of the list of all answers."""


class SwitchNode(Spec):
    """For each row the one node that a function names."""

    switch: ImportPath
    """A function from named arrays to one name for each row."""
    cases: dict[str, "Node"] = Field(min_length=1, max_length=32)


class Share(Spec):
    """A node with its part of a splitter's rows."""

    weight: float = Field(gt=0)
    """Of the sum of all weights."""
    node: "Node"


class SplitterNode(Spec):
    """For each row one node, drawn by chance."""

    splitter: tuple[Share, ...] = Field(min_length=2, max_length=32)


_KINDS = ("function", "sequence", "ensemble", "switch", "splitter", "model")


def _kind(given: Any) -> str | None:
    if given == OWN:
        return "own"
    fields = given if isinstance(given, dict) else getattr(given, "model_fields_set", ())
    return next((kind for kind in _KINDS if kind in fields), None)


Node = Annotated[
    Annotated[Literal["model"], Tag("own")]
    | Annotated[FunctionNode, Tag("function")]
    | Annotated[SequenceNode, Tag("sequence")]
    | Annotated[EnsembleNode, Tag("ensemble")]
    | Annotated[SwitchNode, Tag("switch")]
    | Annotated[SplitterNode, Tag("splitter")]
    | Annotated[ModelNode, Tag("model")],
    Discriminator(
        _kind,
        custom_error_type="node",
        custom_error_message="expected `model` (the deployment's own), or a mapping with one of function, sequence, "
        "ensemble, switch, splitter, or model and version",
    ),
]


def children(node: Node) -> tuple[Node, ...]:
    """Give the nodes that are directly in a node."""
    match node:
        case SequenceNode():
            return node.sequence
        case EnsembleNode():
            return node.ensemble
        case SwitchNode():
            return tuple(node.cases.values())
        case SplitterNode():
            return tuple(share.node for share in node.splitter)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """Give a node and all that are in it, at any depth."""
    yield node
    for inner in children(node):
        yield from walk(inner)
