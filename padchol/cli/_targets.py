"""Devices that programs can be compiled for while none is there: `python -m padchol bench --for`.

A TPU needs the package libtpu, an H100 JAX's plug-in for CUDA and NVIDIA's compiler: extras
`aot-tpu` and `aot-cuda`. Neither needs a driver.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any, NamedTuple

import equinox as eqx

from padchol.cli._errors import InputError
from padchol.numeric.shards import AXIS
from padchol.plan import Plan


class Target(NamedTuple):
    """platform, what JAX calls it; module, needed; environment, before JAX looks for devices;
    topology, what `jax.experimental.topologies` is asked for; options of the compiler."""

    platform: str
    module: str
    extra: str
    environment: dict[str, str]
    topology: dict[str, Any]
    options: dict[str, str | bool]


# NVIDIA H100 SXM5 with 80 GB: NVIDIA H100 Tensor Core GPU Architecture (2022), table 3, and the
# CUDA C++ Programming Guide, table of technical specifications for compute capability 9.0.
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352000000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84942979072
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
TARGETS = {
    "h100": Target(
        "cuda",
        "jax_plugins.xla_cuda13",
        "aot-cuda",
        {"JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1"},
        {"platform": "cuda", "target_config": H100, "topology": "1x1x1", "topology_name": ""},
        {"xla_gpu_autotune_level": "0"},  # it would have to run kernels
    ),
    "v5e": Target(
        "tpu",
        "libtpu",
        "aot-tpu",
        {
            "TPU_SKIP_MDS_QUERY": "1",
            "TPU_WORKER_HOSTNAMES": "localhost",
            "TPU_ACCELERATOR_TYPE": "v5litepod-4",
        },
        {"platform": "tpu", "topology_name": "v5e:2x2"},
        {},
    ),
}


def installed(name: str) -> bool:
    """Whether programs can be compiled for this target here."""
    try:
        return importlib.util.find_spec(TARGETS[name].module) is not None
    except ModuleNotFoundError:  # of its parent
        return False


class Compiler:
    """Compiles functions for one or several devices of a target, of which none needs to be here."""

    def __init__(self, name: str, shards: int = 1):
        self.target = target = TARGETS[name]
        if not installed(name):
            raise InputError(
                f"compiling for {name} needs the package {target.module}: "
                f"pip install 'padchol[{target.extra}]'"
            )
        os.environ.update(target.environment)
        import jax
        from jax.experimental import topologies

        topology: Any = topologies.get_topology_desc(**target.topology)
        devices = topology.devices[:shards]
        if len(devices) < shards:
            raise InputError(f"expected {shards} devices; {name} is compiled for {len(devices)}")
        self.mesh = jax.sharding.Mesh(devices, (AXIS,)) if shards > 1 else None
        self.place = jax.sharding.SingleDeviceSharding(devices[0])

    def compile(self, f: Any, *args: Any) -> Any:
        """f compiled for arguments of the shapes and types of these."""
        import jax

        def shape(x, *cut):
            x, place = jax.typeof(x), self.place
            if self.mesh is not None:
                place = jax.sharding.NamedSharding(self.mesh, jax.sharding.PartitionSpec(*cut))
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)

        shapes = jax.tree.map(shape, args)
        if self.mesh is not None:
            tables = lambda x: [each.table for each in x if isinstance(each, Plan)]
            shapes = eqx.tree_at(tables, shapes, [shape(x, AXIS) for x in tables(args)])
        traced = jax.jit(f).trace(*shapes)
        lowered = traced.lower(lowering_platforms=(self.target.platform,))
        return lowered.compile(compiler_options=self.target.options)
