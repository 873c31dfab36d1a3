"""What all specs share: frozen, no unknown fields, and a digest that names their content."""

import hashlib
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=36)]
"""A DNS-1035 label. 36 characters leave room for `-{6 random}-{attempt}` within KubeRay's limit of 47 for a RayJob."""

ImportPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")]
"""`package.module:attribute`, as in entry points."""


class Spec(BaseModel):
    """A value a user wrote: immutable, and refused when it holds a field that nobody knows or what JSON cannot hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


def digest(spec: Spec) -> str:
    """Name a spec by its content: SHA-256 over its JSON with defaults filled in, as 64 hexadecimal digits."""
    return hashlib.sha256(spec.model_dump_json().encode()).hexdigest()
