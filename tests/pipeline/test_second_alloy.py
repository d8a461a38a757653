"""A whole run of another alloy, from settings to the judgement: nothing is of Cu-Zr alone."""

import dataclasses

import numpy as np
import pytest
from reference import tables

from stzjax.io import archives
from stzjax.pipeline import runner, stages
from stzjax.run_folder.folder import prepare
from stzjax.run_folder.settings import PRESETS

NICKEL_ALUMINIUM = dataclasses.replace(tables.ASYMMETRIC, elements=("Al", "Ni"))
"""A synthetic eam/fs table of other elements, in another order than that of the run."""


@pytest.mark.slow
def test_a_run_of_another_alloy(tmp_path):
    table = tmp_path / "NiAl.eam.fs"
    table.write_text(NICKEL_ALUMINIUM.text(fs=True, points=2000))
    settings = PRESETS["smoke"].changed(
        potential=str(table),
        elements=("Ni", "Al"),
        fractions=(0.75, 0.25),
        num_atoms=160,
        melt_temperature=3000.0,
        melt_time=0.3,
        snapshot_interval=0.1,
        directions=("+xy",),
        final_strain=0.2,
        strain_step=1e-3,
        # The first event of so small a glass is an avalanche: label its largest moves.
        threshold=5.0,
        stop_threshold=5.0,
        epochs=2,
    )
    folder = prepare(tmp_path / "run", settings, "smoke")
    judged = runner.run(folder)
    glass = stages.glass(folder, 0)
    assert glass.elements == ("Ni", "Al")
    assert np.bincount(glass.species).tolist() == [120, 40]
    assert stages.load_potential(folder).elements == ("Al", "Ni")
    found, _ = archives.load_archive(folder.features(0, "+xy"))
    # The first two columns say of which element an atom is, in the order of the settings.
    assert found["features"][:, :2].sum(axis=0).tolist() == [120, 40]
    assert np.isfinite(found["features"]).all()
    assert judged["events"]["triggered"] == 3
    assert 0 < judged["test"]["prevalence"] < 1 and np.isfinite(judged["test"]["auc"])
