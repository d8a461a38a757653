"""The compiled programs of the pipeline with arguments of their shapes, to be lowered for a GPU."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stzjax import potentials
from stzjax.core import loads
from stzjax.core.structure import Structure
from stzjax.descriptors import inputs, participation, table
from stzjax.dynamics import npt, nve
from stzjax.learning import graphs, losses, sampling, train_step
from stzjax.learning.models import gat
from stzjax.learning.train_config import TrainConfig
from stzjax.mechanics import energetics, expansion, fire
from stzjax.neighbors import lists
from stzjax.numerics import platform
from stzjax.numerics.batching import cast
from stzjax.potentials.potential import Potential
from stzjax.shear import aqs, compiled_loop, nonaffine


class Program(NamedTuple):
    """A program and what it is compiled for.

    Attributes:
      function: pure function of arrays.
      args: arguments, or their shapes.
      donated: whether the first argument is given up, as the program of the library does.
      whole: whether the program is one step, though there are loops in it.
    """

    function: Callable
    args: tuple[Any, ...]
    donated: bool = False
    whole: bool = False


def programs(
    structure: Structure, potential: Potential, lanes: int, precision: str = "float32"
) -> dict[str, Program]:
    """Every program that a run compiles for its hot loops, by name.

    Args:
      structure: N relaxed atoms.
      potential: a potential.
      lanes: places of the batches.
      precision: of forces and dynamics; all others are float64.
    """
    return {
        **_forces(structure, potential, lanes, precision),
        **_dynamics(structure, potential, lanes, precision),
        **_shear(structure, potential, lanes),
        **_features(structure, potential),
        **_training(structure.num_atoms),
    }


def lowered(program: Program) -> jax.stages.Lowered:
    """A program as it is for an NVIDIA GPU of Hopper's generation, which need not be there."""
    card = jax.sharding.AbstractDevice("NVIDIA H100", 132, "gpu")
    mesh = jax.sharding.AbstractMesh((), (), abstract_device=card)
    with platform.compiling_for("gpu"), jax.sharding.use_abstract_mesh(mesh):
        given_up = (0,) if program.donated else ()
        traced = jax.jit(program.function, donate_argnums=given_up).trace(*program.args)
        return traced.lower(lowering_platforms=("cuda",))


def _many(tree: Any, lanes: int) -> Any:
    """Shapes of a batch of like trees."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((lanes, *x.shape), x.dtype), tree)


def _forces(structure, potential, lanes: int, precision: str) -> dict[str, Program]:
    potential = potentials.compact(potential, structure.elements, precision)
    bonds = lists.allocate(structure, potential.cutoff, 0.5, 1.06, potential.inner_cutoff)
    atoms, bonds = cast((structure, bonds), precision)

    def forces(atoms, bonds, potential):
        return energetics.forces_and_trace(atoms, potential, bonds)

    def product(atoms, bonds, potential, field):
        return energetics.hessian_vector_product(atoms, potential, field, bonds)

    def search(atoms):
        return lists.make(bonds.spec, atoms)

    many = _many((atoms, bonds), lanes)
    return {
        "forces x 1": Program(forces, (atoms, bonds, potential)),
        f"forces x {lanes}": Program(jax.vmap(forces, in_axes=(0, 0, None)), (*many, potential)),
        "Hessian product": Program(product, (atoms, bonds, potential, atoms.fractional)),
        "neighbour search": Program(search, (atoms,)),
        f"neighbour search x {lanes}": Program(jax.vmap(search), (many[0],)),
    }


def _dynamics(structure, potential, lanes: int, precision: str) -> dict[str, Program]:
    potential = potentials.compact(potential, structure.elements, precision)
    bonds = lists.allocate(structure, potential.cutoff, 0.5, 1.06, potential.inner_cutoff)
    atoms, bonds = cast((structure, bonds), precision)
    key, ensemble, hot = jax.random.key(0), npt.Ensemble(), jnp.asarray(1000.0)
    initial = key, atoms, potential, bonds, hot
    steps, width = jnp.full(lanes, 100, jnp.int32), max(1, lanes // 8)
    states = jax.eval_shape(functools.partial(npt.init, ensemble=ensemble), *initial)
    moving = jax.eval_shape(nve.init, *initial)

    def at_pressure(states, potential, steps):
        return npt.run_many(states, potential, steps, hot, jnp.zeros(()), ensemble, width)

    def at_energy(states, potential, steps):
        return nve.run_many(states, potential, steps, jnp.asarray(0.002), width)

    return {
        f"NPT x {lanes}": Program(at_pressure, (_many(states, lanes), potential, steps), True),
        f"NVE x {lanes}": Program(at_energy, (_many(moving, lanes), potential, steps), True),
    }


def _shear(structure, potential, lanes: int) -> dict[str, Program]:
    potential, config = potentials.compact(potential, structure.elements), aqs.ShearConfig()
    bonds = lists.allocate(structure, potential.cutoff, 0.5, 1.06, potential.inner_cutoff)
    near = lists.allocate(structure, config.d2min_cutoff)
    tilt = jnp.asarray(loads.generator("+xy"))
    begin = functools.partial(compiled_loop.begin, config=config)
    lane = jax.eval_shape(begin, structure, potential, tilt, bonds, near)

    def minimise(structure, potential, bonds):
        return fire.minimise(structure, potential, bonds, fire.RelaxConfig())

    def advance(lanes_, potential):
        turns = jnp.asarray(100, jnp.int32)
        return compiled_loop.advance(lanes_, potential, config, max(1, lanes // 8), turns)

    def squares(before, after, bonds):
        return nonaffine.d2min(before, after, bonds)

    return {
        "relaxation": Program(minimise, (structure, potential, bonds)),
        f"shear x {lanes}": Program(advance, (_many(lane, lanes), potential), True),
        "D²min": Program(squares, (structure, structure, near)),
    }


def _features(structure, potential) -> dict[str, Program]:
    bonds = lists.allocate(structure, potential.cutoff)
    shape = inputs.allocate(structure, bonds)
    expand = functools.partial(expansion.expand, tiling=shape.tiling)
    around = jax.eval_shape(expand, structure, potential, bonds)
    count = participation.num_modes(structure.num_atoms, 0.01)

    def modes(around):
        return participation.lowest(around, count)

    def describe(structure, potential, bonds):
        found = table.describe(structure, potential, neighbors=bonds, shape=shape)
        return [table.rotate_to(found, direction) for direction in loads.DIRECTIONS]

    return {
        "soft modes": Program(modes, (around,)),
        "features of six loads": Program(describe, (structure, potential, bonds)),
    }


def _training(num_atoms: int) -> dict[str, Program]:
    """A step and a prediction of the middle shape of the search, on a graph of 14 faces an atom."""
    rng = np.random.default_rng(0)
    config = TrainConfig(model=gat.Config(4, 15, 9))
    atoms = np.arange(num_atoms)
    pairs = np.concatenate([np.stack([atoms, (atoms + k) % num_atoms], 1) for k in range(1, 8)])
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    ring = Structure.create(np.zeros((num_atoms, 3)), np.eye(3), np.zeros(num_atoms, int), ["Cu"])
    features, labels = rng.normal(size=(num_atoms, 19)), np.arange(num_atoms) % 100 == 0
    graph = graphs.build(ring, features, labels, pairs)
    graph = graphs.pad(graph, *graphs.bucket_shape([graph]))
    rate = np.float32(config.learning_rate)
    start = functools.partial(train_step.start, model=config.model)
    state = jax.eval_shape(start, jax.random.key(0), graph, rate)
    step = train_step.Step(graph, jax.random.key(1), np.bool_(True))
    terms = losses.terms(sampling.counts([labels]), config)
    loss = losses.LOSSES[config.loss].value
    learn = functools.partial(train_step.take, model=config.model, loss=loss, many=False)
    guess = functools.partial(train_step.forward, model=config.model, many=False)
    return {
        "training step": Program(learn, (state, step, terms, rate, np.float32(0.0)), whole=True),
        "prediction": Program(guess, (state.network, graph), whole=True),
    }
