"""Writing the report: the page from its templates, and its figures as PNG beside it."""

import os
from pathlib import Path
from typing import Any

import jax
import jinja2
import numpy as np
from markupsafe import Markup

from stzjax.evaluation import metrics
from stzjax.figures import atoms, chart, d2min, interactive, picture, run
from stzjax.figures.chart import Chart
from stzjax.io import archives
from stzjax.report import sections, study_sections, words
from stzjax.report.words import Interval
from stzjax.run_folder import contents
from stzjax.run_folder.contents import Contents


def write(out: str | os.PathLike) -> Path:
    """Write `report.html` and `figures/*.png` into a run folder from what is in it.

    A stage that has not run yet is named as missing; the page is written all the same.

    Args:
      out: run folder, finished or not.

    Returns:
      Path of the page.

    Raises:
      ValueError: `out` is not a folder, or a file in it is damaged.
    """
    found, path = contents.read(out), Path(out) / "report.html"
    page, charts = _render(found)
    drawn = {name: picture.draw(one) for name, one in charts.items()} | _only_pictures(found)
    for name, figure in drawn.items():
        picture.save(figure, path.parent / "figures" / f"{name}.png")
    archives.write_text(path, page)
    return path


def _render(found: Contents) -> tuple[str, dict[str, Chart]]:
    """The page, and the charts in it by name."""
    charts: dict[str, Chart] = {}

    def drawn(name: str, one: Chart) -> Markup:
        charts[name] = one
        return Markup(interactive.to_json(one))

    loader = jinja2.PackageLoader("stzjax.report")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    for name in "text number odds decimals percent share between duration".split():
        environment.filters[name] = getattr(words, name)
    environment.policies["json.dumps_kwargs"] = {}  # Keys in their order.
    environment.tests["known"] = words.known
    environment.globals |= {
        "run": found,
        "interval": _interval(found),
        "sections": sections,
        "studies": study_sections,
        "charts": run,
        "over_d2min": d2min,
        "paper": words.PAPER,
        "good": contents.GOOD,
        "dig": chart.dig,
        "percent": words.percent,
        "drawn": drawn,
        "plotly": lambda: Markup(interactive.library()),
        "source": lambda name: Markup(loader.get_source(environment, name)[0]),
    }
    return environment.get_template("page.html").render(), charts


def _interval(found: Contents) -> Interval:
    """Intervals over the test specimens, recorded or computed; nothing if these are under two."""
    if recorded := found.metrics.get("verdict"):
        return recorded["pooled"]["interval"] or {}
    test = found.test
    if test is None or len(np.unique(test.specimen)) < 2:
        return {}
    return metrics.bootstrap(test.label, test.confidence, test.specimen, key=jax.random.key(0))


def _only_pictures(found: Contents) -> dict[str, Any]:
    """The figures that the page shows otherwise: as another plot, or to be turned."""
    figures: dict[str, Any] = {}
    if fields := [s.event_d2min for s in found.shears if s.event_d2min is not None]:
        histogram = d2min.histogram(np.concatenate(fields), found.threshold)
        figures["d2min"] = picture.draw(histogram)
    if runs := sections.shown(found):
        one = next((one for one in runs if one.label.any()), runs[0])
        figures["atoms"] = atoms.figure(one, list(found.operating().values())[-1])
    return figures
