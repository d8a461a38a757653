"""Derivatives of a finished run are those of the features that its network was trained on."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import synthetic
from reference import small_glass

import stzjax
from stzjax.descriptors import table
from stzjax.descriptors.feature_config import FeatureConfig
from stzjax.learning import sensitivity, training
from stzjax.pipeline import differentiate, stages, train_evaluate
from stzjax.pipeline.dataset import Dataset
from stzjax.pipeline.work_queue import Workers
from stzjax.run_folder.folder import prepare


@pytest.fixture
def radical(tmp_path, monkeypatch):
    """A trained run of 54 atoms, with radical cells, merged edges, and modes of its own."""
    monkeypatch.setattr(stages, "load_potential", lambda folder: small_glass.potential())
    settings = synthetic.SETTINGS.changed(
        num_atoms=54,
        num_specimens=3,
        directions=("+xy",),
        radii=(1.28, 1.6),
        edge_threshold=0.4,
        mode_fraction=0.05,
        epochs=3,
    )
    folder = prepare(tmp_path / "run", settings, "smoke")
    rng = np.random.default_rng(0)
    for number in range(3):
        glass = small_glass.relaxed(small_glass.TILTED, seed=number)
        folder.save(folder.specimen(number), "quench", stzjax.io.structure_arrays(glass))
        field = 0.2 * rng.random(54)
        run = synthetic._run(glass, "+xy", field)
        run = dataclasses.replace(run, pairs=synthetic.PAIRS % 54)
        stages.write_run(folder, (number, "+xy"), run)
    stages.describe_stage(folder, Workers())
    train_evaluate.train_stage(folder)
    return folder


@pytest.mark.slow
def test_the_confidence_is_of_the_features_of_the_run(radical, monkeypatch):
    """The gradient has a test of its own, and takes a minute to compile."""

    def values(*args):
        return sensitivity.confidence(*args[:-1]), jnp.ones((54, 3))

    monkeypatch.setattr(sensitivity, "confidence_gradient", values)
    found = differentiate.confidence(radical, atom=7).numbers
    lane = found["specimen"], found["direction"]
    result = stzjax.learning.checkpoints.load(radical.model)
    graph = Dataset(radical).graphs[lane]
    # Soft modes are iterated here and diagonalised there.
    expected = training.predict(result.params, result.config, [graph])[0][7]
    np.testing.assert_allclose(found["confidence"], expected, atol=1e-4)
    # With plain cells it would be another confidence.
    glass, potential = stages.glass(radical, lane[0]), small_glass.potential()
    plain = table.features(glass, potential, lane[1], config=FeatureConfig(mode_fraction=0.05))
    other = graph._replace(nodes=graph.nodes._replace(features=np.asarray(plain, np.float32)))
    assert abs(training.predict(result.params, result.config, [other])[0][7] - expected) > 1e-3
