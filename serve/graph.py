"""An inference graph in one replica: the nodes of `platform_app.specs.graph` as one model, each node a call.

Rows stay in their order. Where nodes share the rows between them (switch, splitter), each is called once for its own
rows, so requests that were batched are still answered by few calls.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from platform_app.specs import (
    EnsembleNode,
    FunctionNode,
    ModelNode,
    Node,
    SequenceNode,
    ServedModel,
    SplitterNode,
    SwitchNode,
    children,
)
from serve.flavors import Arrays
from serve.model import LoadedModel, ModelDoesNotLoad, attribute, load_model, named
from serve.protocol import Array, ModelMetadata, TensorMetadata

Outputs = dict[str, Array]
NodeCall = Callable[[Arrays], Outputs]


def load_served(served: ServedModel) -> LoadedModel:
    """Load what a deployment serves: its model, or the graph that its model is a part of.

    Raises:
        ModelDoesNotLoad: a model or a function of it is not there, or cannot be loaded.
    """
    own = load_model(served)
    return own if served.spec.graph is None else GraphModel(served.spec.graph, own, served)


class GraphModel:
    """A graph that answers as a model does."""

    def __init__(
        self,
        graph: Node,
        own: LoadedModel,
        served: ServedModel,
        load: Callable[[ServedModel], LoadedModel] = load_model,
        chance: random.Random | None = None,
    ) -> None:
        """Load all that is in it.

        Args:
            graph: its root.
            own: the deployment's own model.
            served: what the other models are loaded like.
            load: loads one.
            chance: draws the rows of a splitter.
        """
        self._models: list[LoadedModel] = [own]
        self._own, self._served, self._load = own, served, load
        self._chance = chance or random.Random()  # noqa: S311  # no secret hangs on it
        self._others: dict[ModelNode, LoadedModel] = {}
        try:
            self._call = self._built(graph)
        except Exception:
            self.close()
            raise
        inputs, outputs = self._tensors(graph, 0), self._tensors(graph, -1)
        update = {"platform": "slipway_graph", "inputs": inputs, "outputs": outputs}
        self.metadata: ModelMetadata = own.metadata.model_copy(update=update)
        self.example = own.example if inputs and inputs == own.metadata.inputs else None

    def predict(self, inputs: Arrays) -> Outputs:
        """Give the outputs of the last nodes for inputs that fit the first."""
        return self._call(inputs)

    def close(self) -> None:
        """Let go of what its models hold."""
        for model in self._models:
            model.close()

    def _built(self, node: Node) -> NodeCall:
        match node:
            case FunctionNode():
                function = _imported(node.function)
                return lambda inputs: named(function(dict(inputs)), [])
            case SequenceNode():
                return _in_turn([self._built(inner) for inner in node.sequence])
            case EnsembleNode():
                return _together([self._built(inner) for inner in node.ensemble], _combiner(node.combine))
            case SwitchNode():
                cases = {name: self._built(inner) for name, inner in node.cases.items()}
                return _shared(cases, _imported(node.switch))
            case SplitterNode():
                calls = {str(place): self._built(share.node) for place, share in enumerate(node.splitter)}
                return _shared(calls, self._drawn([share.weight for share in node.splitter]))
            case _:
                return _of_model(self._model(node))

    def _model(self, node: Node) -> LoadedModel:
        if not isinstance(node, ModelNode):
            return self._own
        if node not in self._others:
            self._others[node] = self._load(self._served.other(node))
            self._models.append(self._others[node])
        return self._others[node]

    def _drawn(self, weights: Sequence[float]) -> Callable[[Arrays], Sequence[str]]:
        names = [str(place) for place in range(len(weights))]
        return lambda inputs: self._chance.choices(names, weights, k=_num_rows(inputs))

    def _tensors(self, graph: Node, at: int) -> tuple[TensorMetadata, ...]:
        """Say what the graph takes (`at` 0) or gives (-1), where all nodes there agree; nothing where it is unknown."""
        found = [node and self._model(node).metadata for node in _ends(graph, at)]
        tensors = {(one.inputs if at == 0 else one.outputs) if one else () for one in found}
        return tensors.pop() if len(tensors) == 1 else ()


def _ends(node: Node, at: int) -> Iterator[Node | None]:
    """Give the nodes that take the graph's inputs (`at` 0) or give its outputs (-1); None for what is no model's."""
    match node:
        case FunctionNode():
            yield None
        case SequenceNode():
            yield from _ends(node.sequence[at], at)
        case EnsembleNode() if at == -1 and node.combine != "mean":
            yield None
        case EnsembleNode() | SwitchNode() | SplitterNode():
            for inner in children(node):
                yield from _ends(inner, at)
        case _:
            yield node


def _of_model(model: LoadedModel) -> NodeCall:
    """Call a model with what the node before it gave: one array is its one input, of whatever name."""
    expected = {tensor.name: tensor.datatype.dtype for tensor in model.metadata.inputs}

    def call(inputs: Arrays) -> Outputs:
        if len(expected) == len(inputs) == 1:
            inputs = dict(zip(expected, inputs.values(), strict=True))
        fitting = {name: np.ascontiguousarray(array, expected.get(name)) for name, array in inputs.items()}
        return model.predict(fitting)

    return call


def _in_turn(calls: Sequence[NodeCall]) -> NodeCall:
    def call(inputs: Arrays) -> Outputs:
        given = dict(inputs)
        for each in calls:
            given = each(given)
        return given

    return call


def _together(calls: Sequence[NodeCall], combine: Callable[[list[Outputs]], Outputs]) -> NodeCall:
    return lambda inputs: combine([each(inputs) for each in calls])


def _combiner(how: str) -> Callable[[list[Outputs]], Outputs]:
    if how in _COMBINE:
        return _COMBINE[how]
    function = _imported(how)
    return lambda answers: named(function(answers), [])


def _mean(answers: list[Outputs]) -> Outputs:
    stacked = zip(*(answer.values() for answer in answers), strict=True)
    means = [np.mean(arrays, axis=0, dtype=np.result_type(*arrays, np.float32)) for arrays in stacked]
    return {name: mean.astype(answers[0][name].dtype) for name, mean in zip(answers[0], means, strict=True)}


def _vote(answers: list[Outputs]) -> Outputs:
    named_by_each = [_classes(next(iter(answer.values()))) for answer in answers]
    return {"output": np.array([max(row, key=list(row).count) for row in zip(*named_by_each, strict=True)])}


def _classes(array: Array) -> list[object]:
    return list((array.argmax(axis=-1) if array.ndim > 1 else array).tolist())


_COMBINE: dict[str, Callable[[list[Outputs]], Outputs]] = {"mean": _mean, "vote": _vote}


def _shared(calls: Mapping[str, NodeCall], choose: Callable[[Arrays], Sequence[str]]) -> NodeCall:
    """Share the rows between nodes, and put the answers back into the rows' order."""

    def call(inputs: Arrays) -> Outputs:
        chosen = np.array([str(one) for one in choose(dict(inputs))])
        if len(chosen) != _num_rows(inputs):
            raise ValueError(f"a switch named {len(chosen)} cases for {_num_rows(inputs)} rows")
        if unknown := sorted(set(chosen.tolist()) - calls.keys()):
            raise ValueError(f"a switch named {', '.join(unknown)}; its cases are {', '.join(calls)}")
        rows = {name: np.flatnonzero(chosen == name) for name in calls if name in chosen}
        parts = [calls[name]({key: array[its] for key, array in inputs.items()}) for name, its in rows.items()]
        order = np.argsort(np.concatenate(list(rows.values())))
        outputs = zip(*(part.values() for part in parts), strict=True)
        return {name: np.concatenate(arrays)[order] for name, arrays in zip(parts[0], outputs, strict=True)}

    return call


def _num_rows(inputs: Arrays) -> int:
    return len(next(iter(inputs.values())))


def _imported(path: str) -> Callable[..., Any]:
    try:
        function: Callable[..., Any] = attribute(path)
    except (ImportError, AttributeError) as error:
        raise ModelDoesNotLoad(f"graph: {path} is not there: {error}") from error
    return function
