"""A sweep's search space, search algorithm and scheduler, as Ray Tune's own."""

from collections.abc import Callable, Mapping
from typing import Any

from ray import tune
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

from platform_app.specs import Asha, Dimension, SweepSpec
from platform_app.specs.search import (
    Choice,
    Grid,
    HyperBand,
    Int,
    LogUniform,
    MedianStopping,
    PopulationBased,
    Uniform,
)

_EPOCH = "epoch"


def param_space(space: Mapping[str, Dimension]) -> dict[str, Any]:
    """Give a search space in Ray Tune's words."""
    return {name: _dimension(dimension) for name, dimension in space.items()}


def search_algorithm(spec: SweepSpec) -> Any:
    """Give what draws the trials."""
    # Trials that wait for each other all count as running.
    waiting = isinstance(spec.scheduler, HyperBand | PopulationBased)
    if spec.search.algorithm == "random":
        at_once = 0 if waiting else spec.search.max_concurrent
        return BasicVariantGenerator(max_concurrent=at_once, random_state=spec.search.seed)
    search = OptunaSearch(seed=spec.search.seed)
    return search if waiting else ConcurrencyLimiter(search, max_concurrent=spec.search.max_concurrent)


def trial_scheduler(spec: SweepSpec) -> TrialScheduler:
    """Give what stops, pauses and changes trials."""
    match spec.scheduler:
        case Asha(grace_period=grace_period, reduction_factor=factor):
            grace_period = min(grace_period, spec.epochs)
            return ASHAScheduler(_EPOCH, max_t=spec.epochs, grace_period=grace_period, reduction_factor=factor)
        case HyperBand(reduction_factor=factor):
            return HyperBandScheduler(_EPOCH, max_t=spec.epochs, reduction_factor=factor)
        case MedianStopping(grace_period=grace_period, min_samples_required=others):
            return MedianStoppingRule(_EPOCH, grace_period=grace_period, min_samples_required=others)
        case PopulationBased() as population:
            return PopulationBasedTraining(
                _EPOCH,
                perturbation_interval=population.perturbation_interval,
                hyperparam_mutations={name: _mutation(each) for name, each in spec.space.items()},
                quantile_fraction=population.quantile_fraction,
                resample_probability=population.resample_probability,
                custom_explore_fn=within(spec.space),
                log_config=False,
            )
        case _:
            return FIFOScheduler()


def within(space: Mapping[str, Dimension]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Give a function that moves a point back into a space: a population's changes know no bounds."""
    ranges = {name: each for name, each in space.items() if isinstance(each, Uniform | LogUniform | Int)}

    def clip(point: dict[str, Any]) -> dict[str, Any]:
        return point | {name: min(max(point[name], each.low), each.high) for name, each in ranges.items()}

    return clip


def _dimension(dimension: Dimension) -> Any:
    match dimension:
        case Uniform(low=low, high=high):
            return tune.uniform(low, high)
        case LogUniform(low=low, high=high):
            return tune.loguniform(low, high)
        case Int(low=low, high=high):
            return tune.randint(low, high + 1)  # Tune leaves the upper bound out
        case Choice(values=values):
            return tune.choice(list(values))
        case Grid(values=values):
            return tune.grid_search(list(values))


def _mutation(dimension: Dimension) -> Any:
    """Neighbours of a list's value are tried, those of a choice are not."""
    return list(dimension.values) if isinstance(dimension, Choice) else _dimension(dimension)
