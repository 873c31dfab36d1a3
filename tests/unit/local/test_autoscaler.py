"""The catalog as the configuration of Ray's autoscaler."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from platform_app.local.autoscaler import HEAD, autoscaling_config
from platform_app.specs import Catalog, Market, Tier, WorkerGroup, load_catalog

MARKET = Path("/tmp/sw-1/market")
TIERS = (Tier(name="development", priority=100),)


@st.composite
def worker_groups(draw, name):
    most = draw(st.integers(1, 50))
    return WorkerGroup(
        name=name,
        market=draw(st.sampled_from(Market)),
        accelerator_type=draw(st.sampled_from([None, "A100", "T4"])),
        cpus=draw(st.integers(1, 128)),
        gpus=draw(st.integers(0, 8)),
        memory_gib=draw(st.floats(0.5, 1024)),
        min_workers=draw(st.integers(0, most)),
        max_workers=most,
        idle_timeout_seconds=draw(st.integers(1, 3600)),
        price_per_hour=1.0,
        priority=draw(st.integers(-10, 10)),
    )


@st.composite
def catalogs(draw):
    names = draw(st.lists(st.from_regex(r"[a-z]{1,8}-[a-z]{1,8}", fullmatch=True), min_size=1, max_size=5, unique=True))
    return Catalog(worker_groups=tuple(draw(worker_groups(name)) for name in names), tiers=TIERS)


@given(catalogs())
def test_every_group_is_a_node_type_and_every_bound_is_kept(catalog):
    config = autoscaling_config(catalog, "127.0.0.1:6379", MARKET)
    types = config["available_node_types"]
    assert set(types) == {HEAD, *(group.name for group in catalog.worker_groups)}
    assert config["max_workers"] == sum(group.max_workers for group in catalog.worker_groups)
    for group in catalog.worker_groups:
        node_type = types[group.name]
        assert (node_type["min_workers"], node_type["max_workers"]) == (group.min_workers, group.max_workers)
        assert node_type["idle_timeout_s"] == group.idle_timeout_seconds
        assert node_type["priority"] == group.priority
        assert node_type["resources"]["CPU"] == group.cpus
        assert node_type["resources"].get("GPU", 0) == group.gpus
        assert node_type["labels"]["ray.io/node-group"] == group.name
        assert node_type["labels"]["ray.io/market-type"] == group.market.value
        assert node_type["labels"].get("ray.io/accelerator-type") == group.accelerator_type


@given(catalogs())
def test_all_amounts_are_whole_numbers_as_ray_demands(catalog):
    types = autoscaling_config(catalog, "127.0.0.1:6379", MARKET)["available_node_types"]
    assert all(isinstance(amount, int) for kind in types.values() for amount in kind["resources"].values())


@given(catalogs())
def test_the_same_catalog_gives_the_same_file(catalog):
    assert json.loads(json.dumps(autoscaling_config(catalog, "h:1", MARKET))) == autoscaling_config(
        catalog, "h:1", MARKET
    )


def test_the_head_is_never_started_by_the_autoscaler():
    assert autoscaling_config(load_catalog(), "h:1", MARKET)["available_node_types"][HEAD]["max_workers"] == 0


def test_a_spot_gpu_worker_looks_like_this():
    config = autoscaling_config(load_catalog(), "127.0.0.1:7000", MARKET)
    assert config["provider"]["gcs_address"] == "127.0.0.1:7000"
    assert config["available_node_types"]["gpu-spot"] == {
        "resources": {
            "CPU": 4,
            "GPU": 1,
            "memory": 16 * 2**30,
            "object_store_memory": 200_000_000,
            "accelerator_type:A10G": 1,
        },
        "labels": {
            "ray.io/market-type": "spot",
            "ray.io/node-group": "gpu-spot",
            "ray.io/accelerator-type": "A10G",
            "slipway.io/gpus": "true",
        },
        "node_config": {},
        "min_workers": 0,
        "max_workers": 4,
        "idle_timeout_s": 20,
        "priority": 10,
    }
