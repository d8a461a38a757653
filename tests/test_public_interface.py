"""The README's examples run as they stand there, and give what the parts give."""

import operator
import re
from pathlib import Path

import numpy as np
import pytest

import stzjax

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.slow
def test_the_examples_of_the_readme(tmp_path, monkeypatch, reference):
    glass = stzjax.io.structure_from(dict(np.load(reference / "glass.npz")))
    monkeypatch.chdir(tmp_path)
    stzjax.io.write("glass.data", glass)
    names: dict = {}
    for block in BLOCKS:
        exec(compile(block, str(README), "exec"), names)
    assert names["relaxed"].converged
    assert names["x"].shape == (500, 19) == (500, len(stzjax.descriptors.table.COLUMNS))
    assert np.isfinite(np.asarray(names["x"])).all()
    assert names["labels"].sum() == np.asarray(names["graph"].nodes.label).sum() > 0
    assert names["graph"].n_node.tolist() == [500]
    assert isinstance(names["slope"], stzjax.potentials.EAM)
    assert names["sheared"].outcome == "final strain reached"
    energies = names["sheared"].energy
    assert np.isfinite(energies).all() and np.ptp(energies) > 0.0
    energy = stzjax.energetics.energy(names["structure"], names["potential"])
    np.testing.assert_allclose(names["joules"], 1.602e-19 * energy, rtol=1e-10)
    push = np.asarray(names["push"])
    assert push.shape == (500, 3) and np.isfinite(push).all() and np.abs(push).max() > 0.0
    judged = stzjax.metrics.evaluate(names["labels"], np.linspace(0, 1, 500))
    assert judged["prevalence"] == names["labels"].mean()


PUBLIC = (
    "io.read io.write potentials.mendelev2019 potentials.read_setfl potentials.write_setfl "
    "potentials.kob_andersen potentials.pair potentials.to_jax_md potentials.from_jax_md "
    "energetics.energy energetics.forces energetics.atomic_energy energetics.atomic_virial "
    "energetics.stress relax.relax aqs.shear aqs.ShearConfig descriptors.table.features "
    "descriptors.table.COLUMNS graphs.build metrics.evaluate neighbors.allocate implicit.minimum "
    "Structure.create"
).split()
"""Names that users call as attributes of `stzjax`, wherever the modules stand."""


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_there_after_import(name):
    found = operator.attrgetter(name)(stzjax)
    assert callable(found) or name.endswith("COLUMNS")
