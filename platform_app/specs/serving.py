"""What serves a model, and which version leads."""

from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from platform_app.specs.base import Name, Spec
from platform_app.specs.graph import OWN, ModelNode, Node, walk
from platform_app.specs.rollout import Candidate, RolloutSpec, Split, Strategy


class BatchingSpec(Spec):
    """How requests that wait at the same time are answered by one call of the model."""

    max_rows: int = Field(ge=1, le=65536, default=256)
    """Rows in one call; 1 for a model whose rows depend on each other. A larger request is a call of its own."""
    wait_ms: float = Field(ge=0, le=1000, default=0)
    """How long a batch that is not full waits for more, where the one before it had company."""


class MultiplexSpec(Spec):
    """Other registered models in the same replicas, each brought into memory when it is first asked for.

    A request names one by Ray Serve's header `serve_multiplexed_model_id`, or with hyphens; one without the header is
    for the deployment's own model, whose promotion and rollouts are as ever.
    """

    models: tuple[ModelNode, ...] = Field(min_length=1, max_length=10_000)
    """By name, each at one version."""
    max_num_models_per_replica: int = Field(ge=1, le=10_000, default=3)
    """In memory at one time; the one that was asked longest ago makes room. The deployment's own is not counted."""

    @field_validator("models")
    @classmethod
    def _named_once(cls, given: tuple[ModelNode, ...]) -> tuple[ModelNode, ...]:
        names = [node.model for node in given]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{twice[0]} is there twice: a request names a model, not its version")
        return given


_ENGINES_OWN = {
    "model": "the registered model's version is served",
    "served_model_name": "callers name the deployment",
    "tensor_parallel_size": "set gpus_per_replica",
    "pipeline_parallel_size": "set gpus_per_replica: a replica is on one node",
}


class LanguageModelSpec(Spec):
    """A language model, served by `ray.serve.llm` behind OpenAI's routes at `/llm/{deployment}/v1`."""

    engine_kwargs: dict[str, Any] = {}
    """Arguments of vLLM's engine, by its own names, such as `max_model_len`."""

    @field_validator("engine_kwargs")
    @classmethod
    def _leaves_what_the_deployment_says(cls, given: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(given.keys() & _ENGINES_OWN.keys()):
            raise ValueError(f"{taken[0]} is not given here: {_ENGINES_OWN[taken[0]]}")
        return given


class DeploymentSpec(Spec):
    """Desired serving of a registered model: the version that an MLflow alias names, kept up to date."""

    model: Name
    alias: str = Field(pattern=r"^[A-Za-z][\w-]*$", max_length=64, default="champion")
    cpus_per_replica: float = Field(gt=0, default=1)
    gpus_per_replica: float = Field(ge=0, default=0)
    min_replicas: int = Field(ge=0, default=1)
    """0 lets the deployment scale to zero; a request then waits for a replica to start."""
    max_replicas: int = Field(ge=1, le=1000, default=1)
    target_ongoing_requests: float = Field(gt=0, default=8)
    """Requests in work per replica at which Serve adds a replica."""
    scale_down_delay_seconds: float = Field(ge=0, default=300)
    batching: BatchingSpec = BatchingSpec()
    request_timeout_seconds: float = Field(gt=0, le=3600, default=60)
    """A prediction that takes longer is answered by an error; its replica goes on."""
    max_body_mib: float = Field(gt=0, le=1024, default=64)
    """A larger request is refused."""
    rollout: RolloutSpec = RolloutSpec()
    """How a new version takes over."""
    graph: Node | None = None
    """What comes before, after, beside or instead of the model; None: nothing (see `platform_app.specs.graph`)."""

    multiplexed: MultiplexSpec | None = None
    """Other models that the replicas hold in turn, such as one for each customer; None: none."""
    llm: LanguageModelSpec | None = None
    """Says that it is a language model, which `slipway[llm]` serves; `{}` is enough."""

    @model_validator(mode="after")
    def _is_a_language_model_alone(self) -> Self:
        if self.llm is None:
            return self
        if self.graph is not None:
            raise ValueError("graph: a language model has none: it is asked by OpenAI's routes, not by tensors")
        if self.rollout.strategy is not Strategy.IMMEDIATE:
            raise ValueError("rollout: a language model's is immediate: texts have no score to compare versions by")
        if self.gpus_per_replica > 1 and self.gpus_per_replica % 1:
            raise ValueError(f"gpus_per_replica: expected a part of one or whole ones; got {self.gpus_per_replica:g}")
        return self

    @model_validator(mode="after")
    def _multiplexes_others(self) -> Self:
        if self.multiplexed is None:
            return self
        if self.llm is not None:
            raise ValueError("multiplexed: a language model's engine holds one model: deploy the others by themselves")
        if self.model in {node.model for node in self.multiplexed.models}:
            raise ValueError(f"multiplexed: {self.model} is the deployment's own model: it is asked without a header")
        return self

    @model_validator(mode="after")
    def _has_own_model(self) -> Self:
        if self.graph is not None and all(node != OWN for node in walk(self.graph)):
            raise ValueError(f"graph: the deployment's own model is nowhere in it: put {OWN!r} where it belongs")
        return self

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is more than max_replicas {self.max_replicas}")
        return self


def route_prefix(deployment: str, spec: DeploymentSpec) -> str:
    """Name the path below which a deployment answers."""
    return f"/llm/{deployment}" if spec.llm else f"/v2/models/{deployment}"


class RollbackSpec(Spec):
    """Where to go back to; without one, to what served before, or out of a rollout that is under way."""

    revision: int | None = Field(ge=1, default=None)


class PromotionSpec(Spec):
    """Which version becomes `champion`; without one, the newest."""

    version: int | None = Field(ge=1, default=None)


class ServedModel(Spec):
    """The argument of the serving application's builder: one pinned version of one deployment."""

    deployment: Name
    spec: DeploymentSpec
    version: int = Field(ge=1)
    tracking_uri: str
    token_digests: tuple[str, ...]
    """SHA-256 (hexadecimal) of the API tokens that may ask for predictions."""
    revision: int = Field(ge=1, default=1)
    """What the platform calls this version with this spec, in the answers' `slipway-revision`."""
    candidate: Candidate | None = None
    """A version that is being tried, with replicas of its own."""
    split: Split | None = None
    """None: the candidate gets nothing."""
    champion: int | None = Field(ge=1, default=None)
    """Of a candidate's own replicas: the version whose place it would take, and whose signature it must fit."""

    def other(self, node: ModelNode) -> Self:
        """Give what another model in the same replica is loaded by."""
        spec = self.spec.model_copy(update={"model": node.model, "graph": None, "multiplexed": None})
        return self.model_copy(update={"spec": spec, "version": node.version, "champion": None})
