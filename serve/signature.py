"""What a model's MLflow signature says, as the protocol's tensors."""

from typing import Any

from serve.protocol import Datatype, TensorMetadata

_COLUMN_DATATYPES = {
    "boolean": Datatype.BOOL,
    "integer": Datatype.INT32,
    "long": Datatype.INT64,
    "float": Datatype.FP32,
    "double": Datatype.FP64,
    "string": Datatype.BYTES,
    "datetime": Datatype.BYTES,  # as ISO 8601
}


def tensors_of(schema: Any, default_name: str) -> tuple[TensorMetadata, ...]:
    """Read an MLflow schema: of tensors as they are, of columns each as a tensor of one dimension; None is unknown."""
    if schema is None:
        return ()
    return tuple(
        TensorMetadata(
            name=spec.name or position(default_name, index, len(schema.inputs)),
            datatype=Datatype.of(spec.type) if schema.is_tensor_spec() else _column(spec),
            shape=tuple(spec.shape) if schema.is_tensor_spec() else (-1,),
            # MLflow calls a column optional where the data that it was inferred from had missing values.
            allows_nan=schema.is_tensor_spec() or not spec.required,
        )
        for index, spec in enumerate(schema.inputs)
    )


def _column(spec: Any) -> Datatype:
    kind = getattr(spec.type, "name", str(spec.type))
    if kind not in _COLUMN_DATATYPES:
        raise ValueError(f"column {spec.name!r} of its signature is {kind}, which the protocol has no datatype for")
    return _COLUMN_DATATYPES[kind]


def position(default_name: str, index: int, count: int) -> str:
    """Name one of several that have no names."""
    return default_name if count == 1 else f"{default_name}-{index}"
