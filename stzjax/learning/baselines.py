"""Simple predictors with which a graph network is compared: same graphs, same splits.

They are fitted on the training graphs alone, by scikit-learn, which comes with the extra
`baselines`.
"""

import functools
import importlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jraph
import numpy as np
import scipy.sparse
import scipy.special
import scipy.stats

from stzjax.descriptors import symmetry_functions, table
from stzjax.learning import graphs, losses, sampling, splits

FEATURE = "feature:"
"""Beginning of the name of a predictor that is a single column."""

RADIAL, ANGULAR = 16, 12
"""Numbers of symmetry functions of softness, by species and by pair of species: 68 in all."""

TREES = {
    "max_iter": 200,
    "learning_rate": 0.05,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 40,
    "l2_regularization": 1.0,
    "early_stopping": False,
}
"""Settings of boosted trees: shallow and slow, because positives are few, about a thousand."""

_NEIGHBOURS = "+neighbours"
_TABLES = ("logistic", "trees", "logistic+neighbours", "trees+neighbours")
_SPECIES = table.COLUMNS[:2]
_ALL = "all"
_MAX_ITERATIONS = 10_000
_TOLERANCE = 1e-7
"""Largest gradient of the mean loss: coefficients then have about six digits."""
_LEAST_SLOPE = 1e-3
"""Slope of a feature per standard deviation, where outliers turn the fit against the ranking."""
_CERTAIN = 15.0
"""Decision value beyond which confidences would be rounded to 1."""


class Fitted(NamedTuple):
    """Confidences of a fitted predictor, and the fitted numbers.

    Attributes:
      confidences: (N,) float64 in [0, 1] of each graph, for each sequence of graphs to score. Atoms
        with different decision values have different confidences, also close to 0 and 1.
      numbers: fitted numbers, plain values for a JSON file; see `fit_predict`.
    """

    confidences: list[list[np.ndarray]]
    numbers: dict[str, Any]


_PerAtom = Callable[[jraph.GraphsTuple], np.ndarray]


def names(columns: Sequence[str]) -> tuple[str, ...]:
    """Names of the predictors for features of these columns.

    - prevalence: the share of positives among the training atoms, for every atom.
    - feature:C44 and so on: one column alone; training decides whether high or low is positive.
    - logistic, trees: logistic regression and boosted trees on the features of the atom.
    - logistic+neighbours, trees+neighbours: with the mean and the standard deviation of each
      feature over the atoms that share a Voronoi face, too.
    - softness: a linear support vector machine on symmetry functions of the surroundings, which
      the graphs must carry. Cubuk et al., Phys. Rev. Lett. 114, 108001 (2015); Schoenholz et al.,
      Nature Physics 12, 469 (2016).
    """
    return ("prevalence", *(FEATURE + column for column in columns), *_TABLES, "softness")


def fit_predict(
    name: str,
    train: Sequence[jraph.GraphsTuple],
    others: Sequence[Sequence[jraph.GraphsTuple]],
    *,
    columns: Sequence[str],
    seed: int = 0,
) -> Fitted:
    """Fit a predictor on the training graphs and score the atoms of others.

    Inputs are standardised on the training graphs; atoms weigh inversely to the frequency of their
    class there. A confidence is the logistic function of the decision value, so 0.5 is the balance
    between the weighted classes.

    `numbers` holds the training atoms and positives; for a linear predictor also the offset and the
    coefficients of standardised inputs; for a single feature its sign and its AUC in training. In
    softness each species has a plane of its own, as in the literature, if the columns tell the
    species and each species has both classes in training; else a single plane, "all", serves all
    atoms.

    Args:
      name: one of `names(columns)`.
      train: labelled, unpadded graphs with raw features.
      others: sequences of graphs to score, such as validation and test; labels are not used.
      columns: names of the features.
      seed: seed of the atoms whose values place the bins of boosted trees, if there are more than
        200,000; nothing else is random.

    Raises:
      ValueError: unknown name, graphs that cannot be learned from or have other columns, a fit
        that did not converge, or no scikit-learn.
    """
    if name not in names(columns):
        raise ValueError(f"no predictor {name!r}; choose from {', '.join(names(columns))}")
    _check(train, others, columns)
    labels = np.concatenate([graph.nodes.label for graph in train])
    weights = losses.class_weights(sampling.counts([labels]))[labels]
    counts = {"atoms": len(labels), "positives": int(labels.sum())}
    if name == "prevalence":
        share = float(labels.mean())
        same = [[np.full(len(graph.nodes.label), share) for graph in part] for part in others]
        return Fitted(same, {**counts, "prevalence": share})
    # Threads wait for each other in busy loops: on shared cores two took 30 times as long as one.
    with _import("threadpoolctl").threadpool_limits(1):
        models, confidence = _train(name, train, columns, labels, weights, seed)
        scored = [[confidence(graph) for graph in part] for part in others]
    titles, _ = _inputs(name, columns)
    planes = {title: _numbers(model, titles) for title, model in models.items()}
    numbers = {"planes": planes} if name == "softness" else planes[_ALL]
    return Fitted(scored, {**counts, **numbers})


def _check(train, others, columns: Sequence[str]) -> None:
    if not train:
        raise ValueError("no training graphs: give at least one")
    if len(set(columns)) != len(columns):
        raise ValueError(f"columns hold a name twice: {', '.join(columns)}")
    titled = [(f"training graph {n}", graph, True) for n, graph in enumerate(train)]
    titled += [
        (f"graph {n} of others[{place}]", graph, False)
        for place, part in enumerate(others)
        for n, graph in enumerate(part)
    ]
    for title, graph, labelled in titled:
        if (width := graph.nodes.features.shape[1]) != len(columns):
            raise ValueError(
                f"{title} has {width} feature columns, but {len(columns)} are named: describe all "
                "graphs with the same table"
            )
        graphs.check(title, graph, labelled, columns)


def _train(
    name: str, train, columns: Sequence[str], labels, weights, seed: int
) -> tuple[dict[str, Any], _PerAtom]:
    """The fitted models by name, and the confidences (N,) that they give to a graph."""
    _, describe = _inputs(name, columns)
    raw = [describe(graph) for graph in train]
    scaler = splits.fit_scaler(raw)
    scaled = scaler.apply(np.concatenate(raw))
    titles, number_of = _planes(name, train, columns, labels)
    number = np.concatenate([number_of(graph) for graph in train])
    models = {}
    for own, title in enumerate(titles):
        here = number == own
        models[title] = _fit(name, scaled[here], labels[here], weights[here], seed)

    def confidence(graph: jraph.GraphsTuple) -> np.ndarray:
        scaled, number = scaler.apply(describe(graph)), number_of(graph)
        decision = np.empty(len(scaled))
        for own, model in enumerate(models.values()):
            here = number == own
            if here.any():
                decision[here] = model.decision_function(scaled[here])
        return _confidence(decision)

    return models, confidence


def _planes(name: str, train, columns: Sequence[str], labels) -> tuple[Sequence[str], _PerAtom]:
    """Names of the models, and the function that gives the number (N,) of each atom's model."""
    places = [columns.index(species) for species in _SPECIES if species in columns]

    def species(graph: jraph.GraphsTuple) -> np.ndarray:
        return graph.nodes.features[:, places].argmax(axis=1)

    if name == "softness" and len(places) == len(_SPECIES):
        found = np.concatenate([species(graph) for graph in train])
        if len(set(zip(found, labels, strict=True))) == 2 * len(_SPECIES):
            return _SPECIES, species
    return (_ALL,), lambda graph: np.zeros(len(graph.nodes.label), int)


def _inputs(name: str, columns: Sequence[str]) -> tuple[list[str], _PerAtom]:
    """Titles of the C inputs of a predictor, and the function from a graph to them (N, C)."""
    if name.startswith(FEATURE):
        column = columns.index(name.removeprefix(FEATURE))
        return [columns[column]], lambda graph: _features(graph)[:, [column]]
    if name == "softness":
        return _structure_titles(), _structure_functions
    if name.endswith(_NEIGHBOURS):
        kinds = ("{}", "mean of {}", "deviation of {}")
        return [k.format(c) for k in kinds for c in columns], _with_neighbours
    return list(columns), _features


def _features(graph: jraph.GraphsTuple) -> np.ndarray:
    # In float32, standardisation would make equal what was not.
    return graph.nodes.features.astype(np.float64)


def _with_neighbours(graph: jraph.GraphsTuple) -> np.ndarray:
    """Features, and their means and deviations over the neighbours, (N, 3 F).

    An atom without neighbours takes the place of its neighbours.
    """
    features = _features(graph)
    others = graph.senders != graph.receivers
    senders, receivers = graph.senders[others], graph.receivers[others]
    edges, atoms = len(senders), len(features)
    into = scipy.sparse.csr_array(
        (np.ones(edges), (receivers, np.arange(edges))), shape=(atoms, edges)
    )
    degree = np.bincount(receivers, minlength=atoms)[:, None]
    share = 1.0 / np.maximum(degree, 1)
    mean = np.where(degree > 0, share * (into @ features[senders]), features)
    variance = share * (into @ (features[senders] - mean[receivers]) ** 2)
    return np.concatenate([features, mean, np.sqrt(variance)], axis=1)


@functools.cache
def _basis() -> symmetry_functions.Basis:
    # In float32 whether x64 is on or not, as in a network.
    return jax.tree.map(
        lambda x: np.asarray(x, np.float32), symmetry_functions.initial(RADIAL, ANGULAR)
    )


_functions = jax.jit(symmetry_functions.functions, static_argnames="num_species")


def _structure_functions(graph: jraph.GraphsTuple) -> np.ndarray:
    around = graph.nodes.surroundings
    if around is None:
        raise ValueError("softness needs graphs built with surroundings: see `graphs.build`")
    if around.other.max(initial=0) >= len(_SPECIES):
        raise ValueError(f"softness is for two species, got {around.other.max() + 1}")
    return np.asarray(_functions(_basis(), around, len(_SPECIES)), np.float64)


def _structure_titles() -> list[str]:
    """Titles in the order of `symmetry_functions.functions`, species as in `Structure.elements`."""
    basis, both = _basis(), range(len(_SPECIES))
    radial = [f"radial {r:.2f} Å" for r in basis.centre]
    angular = [f"angular ζ={z:g} λ={s:g}" for z, s in zip(basis.exponent, basis.sign, strict=True)]
    pairs = [(s, t) for t in both for s in both if s <= t]
    return [f"{r} of {s}" for s in both for r in radial] + [
        f"{a} of {s}, {t}" for s, t in pairs for a in angular
    ]


def _fit(name: str, inputs, labels, weights, seed: int):
    """A fitted model with a `decision_function`, from standardised inputs (n, C)."""
    # The penalty weighs as if the common class had been thinned to the size of the rare one.
    cost = 2.0 * min(labels.mean(), 1.0 - labels.mean())
    if name.startswith("trees"):
        model = _import("sklearn.ensemble").HistGradientBoostingClassifier(
            **TREES, random_state=seed
        )
    elif name == "softness":
        # The primal problem, because atoms are far more than inputs; it needs the squared hinge.
        model = _import("sklearn.svm").LinearSVC(C=cost, dual=False, max_iter=_MAX_ITERATIONS)
    else:
        model = _import("sklearn.linear_model").LogisticRegression(
            C=cost, tol=_TOLERANCE, max_iter=_MAX_ITERATIONS
        )
    unfinished = _import("sklearn.exceptions").ConvergenceWarning
    with warnings.catch_warnings():
        warnings.simplefilter("error", unfinished)
        try:
            model.fit(inputs, labels, sample_weight=weights)
        except unfinished as error:
            raise ValueError(f"the fit of {name} did not converge: {error}") from error
    if name.startswith(FEATURE):
        _orient(model, inputs, labels, weights)
    return model


def _import(module: str):
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"baselines are fitted by scikit-learn ({error}): pip install 'stzjax[baselines]'"
        ) from error


def _orient(model, inputs, labels, weights) -> None:
    """Let the logistic map of a single input (n, 1) rise or fall as its AUC requires."""
    positive = labels == 1
    pairs = int(positive.sum()) * int((~positive).sum())
    # The test statistic counts the pairs in which the positive is higher, ties half.
    ranked = scipy.stats.mannwhitneyu(
        inputs[positive, 0], inputs[~positive, 0], method="asymptotic"
    )
    auc = float(ranked.statistic / pairs)
    sign = 1.0 if auc >= 0.5 else -1.0
    if sign * model.coef_.item() < _LEAST_SLOPE:
        model.coef_[:] = sign * _LEAST_SLOPE
        model.intercept_[:] = -model.coef_ @ np.average(inputs, axis=0, weights=weights)
    model.train_auc_ = auc


def _confidence(decision: np.ndarray) -> np.ndarray:
    # Near 1 doubles are far apart; a slower rise keeps the ranking.
    beyond = np.log1p(np.maximum(decision - _CERTAIN, 0.0))
    return scipy.special.expit(np.minimum(decision, _CERTAIN) + beyond)


def _numbers(model, titles: Sequence[str]) -> dict[str, Any]:
    if not hasattr(model, "coef_"):
        return {"rounds": int(model.n_iter_)}
    coefficients = dict(zip(titles, map(float, model.coef_[0]), strict=True))
    line = {"offset": float(model.intercept_[0]), "coefficients": coefficients}
    if not hasattr(model, "train_auc_"):
        return line
    return {"sign": 1 if model.coef_.item() > 0 else -1, "train_auc": model.train_auc_, **line}
