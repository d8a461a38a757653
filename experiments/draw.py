"""Figures 2, 3 and 4 of the paper from a finished run, and its test atoms for OVITO.

    python experiments/draw.py --out=runs/quickstart

Figures go to `figures/` as PNG and PDF, with the numbers in them as JSON; the unsheared glass of
every test run goes to `export/` as extended XYZ and as LAMMPS dump, with label, confidence, D²min
and the features of each atom. Figure 4 needs `thresholds/thresholds.json`.
"""

import options  # Before jax loads.

# isort: split
from absl import flags

from stzjax import io, report
from stzjax.figures import picture
from stzjax.figures.atoms import Scene
from stzjax.io import archives
from stzjax.pipeline import draw
from stzjax.run_folder.folder import Folder

import flag_help

_RUN = flags.DEFINE_string(
    "run", None, "Test run drawn in space, such as 0003_+xy; the first with an event if not given."
)
_SECTION = flags.DEFINE_float(
    "section",
    None,
    "Height z of the cross-sections [Å]; through the most mobile atom if not given.",
)
_THICKNESS = flags.DEFINE_float("thickness", 3.0, "Thickness of the cross-sections [Å].")
_EXPORT = flag_help.define_list(
    "export", ("all",), "Test runs to export for OVITO, or all, or none."
)


def _exported(runs: list[Scene]) -> list[Scene]:
    """The runs that --export asks for."""
    if _EXPORT.value in (("all",), ("none",)):
        return runs if _EXPORT.value == ("all",) else []
    return [draw.pick(runs, name) for name in _EXPORT.value]


def _write_figures(folder: Folder, runs: list[Scene]) -> None:
    shown = draw.pick(runs, _RUN.value)
    drawn = draw.figures(folder, runs, shown, _SECTION.value, _THICKNESS.value)
    for name, (figure, numbers) in drawn.items():
        path = folder.path / "figures" / name
        picture.save(figure, path.with_suffix(".png"))
        picture.save(figure, path.with_suffix(".pdf"))
        archives.write_json(path.with_suffix(".json"), numbers)
        print(f"{name}: {path}.png, .pdf, .json")
    if "figure4" not in drawn:
        print("figure4: not drawn, thresholds/thresholds.json is missing")


def _write_tables(folder: Folder, runs: list[Scene]) -> None:
    for run in runs:
        glass, columns = draw.table(folder, run)
        for ending in ("extxyz", "dump"):
            io.write(folder.path / "export" / f"{run.name}.{ending}", glass, columns)
    if runs:
        print(f"{len(runs)} test runs: {folder.path / 'export'}/*.extxyz, *.dump")


def _draw(folder: Folder) -> None:
    runs = draw.judged(folder)
    wanted = _exported(runs)
    _write_figures(folder, runs)
    _write_tables(folder, wanted)
    print(f"report: {report.write(folder.path)}")


if __name__ == "__main__":
    options.main(_draw)
