"""Baselines learn what is there and only from training; scikit-learn and plain loops judge them."""

import json
import subprocess
import sys

import numpy as np
import pytest
from reference import small_glass
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from stzjax.core.structure import Structure
from stzjax.descriptors import symmetry_functions
from stzjax.learning import baselines, graphs
from stzjax.neighbors import lists

COLUMNS = ("Cu", "Zr", "energy", "C44")
PLAIN = ("logistic", "trees", "logistic+neighbours", "trees+neighbours")
# float64 sums over a dozen neighbours, against the same sums in another order.
ROUNDING = 1e-12


def random_graph(rng, label_of, num_atoms=300, scale=1.0):
    """Atoms of two species with about six random neighbours each."""
    one, other = rng.integers(0, num_atoms, (2, 3 * num_atoms))
    pairs = np.unique(np.stack([one, other], 1)[one != other], axis=0)
    pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    species = rng.integers(0, 2, num_atoms)
    values = rng.normal(size=(num_atoms, 2))
    features = np.column_stack([species == 0, species == 1, scale * values])
    around = np.zeros((num_atoms, 2))
    np.add.at(around, pairs[:, 0], values[pairs[:, 1]])
    degree = np.bincount(pairs[:, 0], minlength=num_atoms)
    labels = label_of(values, around / np.maximum(degree, 1)[:, None], rng)
    glass = Structure.create(np.zeros((num_atoms, 3)), np.eye(3), species, ["Cu", "Zr"])
    return graphs.build(glass, features, labels, pairs)


def rare(score, share=0.1):
    return score > np.quantile(score, 1 - share)


def linear(values, around, rng):
    return rare(values[:, 1] + 0.5 * rng.normal(size=len(values)))


def reversed_linear(values, around, rng):
    return linear(-values, around, rng)


def of_neighbours(values, around, rng):
    return rare(around[:, 1])


def exclusive_or(values, around, rng):
    return rare(-values[:, 0] * values[:, 1], 0.2)


def chance(values, around, rng):
    return rare(rng.normal(size=len(values)))


def sample(seed, label_of, count=6, **settings):
    rng = np.random.default_rng(seed)
    return [random_graph(rng, label_of, **settings) for _ in range(count)]


def fit(name, train, *others, columns=COLUMNS, seed=0):
    return baselines.fit_predict(name, train, others, columns=columns, seed=seed)


def truth(members):
    return np.concatenate([graph.nodes.label for graph in members])


def column(members, name):
    return np.concatenate([g.nodes.features[:, COLUMNS.index(name)] for g in members])


def auc(name, label_of, **settings):
    """On fresh graphs of the same kind as in training."""
    train, test = sample(0, label_of, **settings), sample(1, label_of, **settings)
    return roc_auc_score(truth(test), np.concatenate(fit(name, train, test).confidences[0]))


def with_nodes(graph, **changes):
    return graph._replace(nodes=graph.nodes._replace(**changes))


def test_names():
    singles = tuple(f"feature:{c}" for c in COLUMNS)
    assert baselines.names(COLUMNS) == ("prevalence", *singles, *PLAIN, "softness")


@pytest.mark.parametrize("name", [n for n in baselines.names(COLUMNS) if n != "softness"])
def test_confidences_per_graph(name):
    sizes = (40, 57)
    parts = [[sample(k, linear, 1, num_atoms=n)[0] for n in sizes] for k in range(2)]
    found = fit(name, sample(9, linear), *parts, [])
    assert found.confidences[2] == []
    assert [[len(c) for c in part] for part in found.confidences[:2]] == [[40, 57]] * 2
    pooled = np.concatenate([c for part in found.confidences for c in part])
    assert ((pooled >= 0) & (pooled <= 1)).all()
    assert json.loads(json.dumps(found.numbers)) == found.numbers
    assert found.numbers["atoms"] == 1800 and found.numbers["positives"] == 180


def test_prevalence():
    train, test = sample(0, linear), sample(1, exclusive_or, 2)
    found = fit("prevalence", train, test)
    np.testing.assert_allclose(found.confidences[0], 0.1)
    assert found.numbers["prevalence"] == pytest.approx(0.1)


def test_averages_over_neighbours_are_those_of_a_loop():
    graph = sample(3, linear, 1, num_atoms=40)[0]
    # Atom 0 loses its neighbours: it stands for them itself.
    kept = ((graph.senders != 0) & (graph.receivers != 0)) | (graph.senders == graph.receivers)
    graph = graph._replace(senders=graph.senders[kept], receivers=graph.receivers[kept])
    features = graph.nodes.features.astype(float)
    expected = []
    for i in range(40):
        near = [s for s, r in zip(graph.senders, graph.receivers, strict=True) if r == i != s]
        around = features[near or [i]]
        expected.append(np.concatenate([features[i], around.mean(axis=0), around.std(axis=0)]))
    titles, describe = baselines._inputs("logistic+neighbours", COLUMNS)
    np.testing.assert_allclose(describe(graph), expected, atol=ROUNDING)
    assert titles[3::4] == ["C44", "mean of C44", "deviation of C44"]


@pytest.mark.parametrize("label_of", [linear, reversed_linear, chance])
@pytest.mark.parametrize("name", COLUMNS)
def test_a_single_feature_ranks_as_it_is(name, label_of):
    train, test = sample(0, label_of), sample(1, label_of)
    found = fit(f"feature:{name}", train, test)
    sign, auc_of = found.numbers["sign"], roc_auc_score(truth(train), column(train, name))
    assert sign == (1 if auc_of >= 0.5 else -1)
    assert found.numbers["train_auc"] == pytest.approx(auc_of, abs=ROUNDING)
    confidence, feature = np.concatenate(found.confidences[0]), sign * column(test, name)
    order = np.argsort(feature, kind="stable")
    rises = np.diff(feature[order]) > 0
    np.testing.assert_array_equal(np.diff(confidence[order]) > 0, rises)
    np.testing.assert_array_equal(np.diff(confidence[order])[~rises], 0.0)
    assert roc_auc_score(truth(test), confidence) == roc_auc_score(truth(test), feature)


def test_the_sign_is_that_of_the_training():
    train, test = sample(0, linear), sample(1, reversed_linear)
    found = fit("feature:C44", train, test)
    assert found.numbers["sign"] == 1
    assert roc_auc_score(truth(test), np.concatenate(found.confidences[0])) < 0.2


def test_outliers_turn_neither_the_sign_nor_the_ranking():
    """The mean of the positives is below, nearly all of them are above; one value is far out."""
    train, test = sample(0, linear), sample(1, linear)
    for members in (train, test):
        features = members[0].nodes.features.copy()
        features[np.argmax(members[0].nodes.label), 3] = -1e4
        features[np.argmin(members[0].nodes.label), 3] = 2e4
        members[0] = with_nodes(members[0], features=features)
    found = fit("feature:C44", train, test)
    assert found.numbers["sign"] == 1
    assert found.numbers["coefficients"]["C44"] > 0
    confidence = np.concatenate(found.confidences[0])
    assert len(np.unique(confidence)) == len(np.unique(column(test, "C44")))
    expected = average_precision_score(truth(test), column(test, "C44"))
    assert average_precision_score(truth(test), confidence) == expected


def test_confidences_of_sure_atoms_do_not_run_together():
    decision = np.concatenate([-np.logspace(2, -3, 50), np.logspace(-3, 2, 50)])
    confidence = baselines._confidence(decision)
    assert (np.diff(confidence) > 0).all() and 0 < confidence[0] and confidence[-1] < 1
    np.testing.assert_allclose(confidence[40:60], 1 / (1 + np.exp(-decision[40:60])))


def test_a_constant_column_says_nothing():
    train, test = sample(0, linear), sample(1, linear)
    for members in (train, test):
        for k, graph in enumerate(members):
            features = graph.nodes.features.copy()
            features[:, 2] = 0.1
            members[k] = with_nodes(graph, features=features)
    found = fit("feature:energy", train, test)
    assert found.numbers["train_auc"] == 0.5
    np.testing.assert_allclose(np.concatenate(found.confidences[0]), 0.5)


def test_each_predictor_finds_what_it_can_see():
    # 180 positives of 1,800: chance is an AUC of 0.5 ± 0.02.
    assert auc("logistic", linear) > 0.9
    assert auc("trees", linear) > 0.9
    assert 0.4 < auc("logistic", of_neighbours) < 0.6
    assert 0.4 < auc("trees", of_neighbours) < 0.6
    assert auc("logistic+neighbours", of_neighbours) > 0.95
    assert auc("trees+neighbours", of_neighbours) > 0.95
    assert 0.4 < auc("logistic", exclusive_or) < 0.6
    assert auc("trees", exclusive_or) > 0.9


def null_interval(labels, confidence, draws=500):
    """Extremes of AP over permuted labels: chance leaves them once in 250 cases."""
    rng = np.random.default_rng(0)
    drawn = [average_precision_score(rng.permutation(labels), confidence) for _ in range(draws)]
    return min(drawn), max(drawn)


@pytest.mark.parametrize("name", ["feature:C44", *PLAIN])
def test_labels_by_chance_score_at_chance(name):
    train, test = sample(4, chance), sample(5, chance)
    labels, confidence = truth(test), np.concatenate(fit(name, train, test).confidences[0])
    low, high = null_interval(labels, confidence)
    assert 0.7 < low / labels.mean() < 1 < high / labels.mean() < 1.5
    assert low <= average_precision_score(labels, confidence) <= high


def test_classes_weigh_alike():
    """The offset of a balanced fit does not follow the prevalence."""
    for share in (0.05, 0.5):
        train = sample(0, lambda v, a, rng, share=share: rare(rng.normal(size=len(v)), share))
        for name in ("feature:C44", "logistic", "trees"):
            confidence = np.concatenate(fit(name, train, train).confidences[0])
            classes = [confidence[truth(train) == c].mean() for c in (0, 1)]
            assert np.mean(classes) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("name", ["feature:C44", "logistic", "logistic+neighbours"])
def test_coefficients_are_those_of_standardised_inputs(name):
    """Other units: the same coefficients, the same confidences."""
    one, other = sample(0, linear), sample(0, linear, scale=1000.0)
    found, same = fit(name, one, one), fit(name, other, other)
    assert same.numbers["coefficients"] == pytest.approx(found.numbers["coefficients"], rel=1e-4)
    np.testing.assert_allclose(same.confidences[0], found.confidences[0], rtol=1e-4)
    assert len(found.numbers["coefficients"]) == {"feature:C44": 1, "logistic": 4}.get(name, 12)


@pytest.mark.parametrize("name", ["logistic", "feature:C44"])
def test_logistic_regression_is_that_of_scikit_learn(name):
    """Its own scaler and class weights, another solver."""
    train, test = sample(0, linear), sample(1, linear)
    found = fit(name, train, test)
    picked = slice(3, 4) if ":" in name else slice(None)
    reference = make_pipeline(
        StandardScaler(),
        LogisticRegression(C=0.2, class_weight="balanced", solver="newton-cholesky", tol=1e-10),
    )
    features = [np.concatenate([g.nodes.features[:, picked] for g in m]) for m in (train, test)]
    reference.fit(features[0].astype(float), truth(train))
    expected = reference.predict_proba(features[1].astype(float))[:, 1]
    np.testing.assert_allclose(np.concatenate(found.confidences[0]), expected, atol=1e-6)
    coefficients = list(found.numbers["coefficients"].values())
    np.testing.assert_allclose(coefficients, reference[-1].coef_[0], atol=1e-5)


CUTOFF, ANGULAR = 4.5, 3.6


def glasses(seed, count=12, of_species=(1, 1), columns=COLUMNS):
    """Periodic boxes of 54 atoms; the label follows the density, per species with a sign."""
    boxes = [small_glass.rough(small_glass.CUBIC, 100 * seed + k, 0.05) for k in range(count)]
    # Wide enough for every box, so that train and test are of one shape.
    shape = symmetry_functions.Shape(CUTOFF, ANGULAR, places=50, angular_places=30)
    found = []
    for box in boxes:
        near = lists.allocate(box, CUTOFF, skin=0.0)
        around = symmetry_functions.surroundings(box, near, shape)
        species = np.asarray(box.species)
        density = np.asarray(around.weight.sum(axis=1))
        labels = rare(np.array(of_species)[species] * (density - density.mean()), 0.2)
        features = np.column_stack([species == 0, species == 1, 0 * species, 0 * species])
        found.append(graphs.build(box, features, labels, surroundings=around))
    return found


@pytest.fixture(scope="module")
def boxes():
    """Training and test boxes whose dense copper and loose zirconium is positive."""
    return glasses(0, of_species=(1, -1)), glasses(1, 6, of_species=(1, -1))


def softness_auc(train, test, columns):
    found = fit("softness", train, test, columns=columns)
    return found, roc_auc_score(truth(test), np.concatenate(found.confidences[0]))


def test_softness_sees_the_surroundings_and_each_species_has_its_plane(boxes):
    """One plane cannot have both signs."""
    found, both = softness_auc(*boxes, COLUMNS)
    alone, one = softness_auc(*boxes, ("a", "b", "c", "d"))
    assert list(found.numbers["planes"]) == ["Cu", "Zr"] and list(alone.numbers["planes"]) == [
        "all"
    ]
    assert both > 0.85 and one < both - 0.05


def test_planes_are_those_of_scikit_learn(boxes):
    """Fitted species by species, atoms weighed by the classes of all of them."""
    train, test = boxes
    found = fit("softness", train, test)
    _, describe = baselines._inputs("softness", COLUMNS)
    inputs = [np.concatenate([describe(g) for g in members]) for members in boxes]
    scaler, labels = StandardScaler().fit(inputs[0]), truth(train)
    weights = np.where(labels == 1, 0.5 / labels.mean(), 0.5 / (1 - labels.mean()))
    decision = np.zeros(len(inputs[1]))
    for name in ("Cu", "Zr"):
        here, there = (column(members, name) == 1 for members in boxes)
        cost = 2 * labels[here].mean()
        plane = LinearSVC(C=cost, dual=False).fit(
            scaler.transform(inputs[0][here]), labels[here], sample_weight=weights[here]
        )
        coefficients = list(found.numbers["planes"][name]["coefficients"].values())
        np.testing.assert_allclose(coefficients, plane.coef_[0], atol=1e-3)
        decision[there] = plane.decision_function(scaler.transform(inputs[1][there]))
    np.testing.assert_allclose(
        np.concatenate(found.confidences[0]), 1 / (1 + np.exp(-decision)), atol=1e-3
    )


def test_titles_of_structure_functions(boxes):
    """By their definition from the distances and angles of one box."""
    titles, describe = baselines._inputs("softness", COLUMNS)
    around, found = boxes[0][0].nodes.surroundings, describe(boxes[0][0])
    assert len(titles) == len(set(titles)) == found.shape[1] == 68
    gauss = np.exp(-((around.length - 2.2) ** 2) / (2 * (0.6 * 2.4 / 15) ** 2))
    radial = (around.weight * (around.other == 1) * gauss).sum(axis=1)
    np.testing.assert_allclose(found[:, titles.index("radial 2.20 Å of 1")], radial, atol=1e-5)
    for number, pair in enumerate(("0, 0", "0, 1", "1, 1")):
        shape = 2.0**-3 * (1 - around.cosine) ** 4 * np.exp(-around.square / 16)
        angular = (around.angular_weight * (around.kind == number) * shape).sum(axis=1)
        place = titles.index(f"angular ζ=4 λ=-1 of {pair}")
        np.testing.assert_allclose(found[:, place], angular, atol=1e-5)
        assert np.abs(angular).max() > 0.01


def test_a_species_without_positives_shares_the_plane(boxes):
    quiet = [
        with_nodes(g, label=np.where(g.nodes.features[:, 1] == 1, 0, g.nodes.label))
        for g in boxes[0]
    ]
    found = fit("softness", quiet, boxes[1])
    assert list(found.numbers["planes"]) == ["all"]


@pytest.mark.parametrize("name", baselines.names(COLUMNS))
def test_graphs_that_are_scored_do_not_change_the_fit(name, boxes):
    train, test = boxes if name == "softness" else (sample(0, linear), sample(1, linear))
    rng = np.random.default_rng(0)
    unlabelled = [with_nodes(g, label=np.full_like(g.nodes.label, -1)) for g in test]
    shuffled = [with_nodes(g, label=rng.permutation(g.nodes.label)) for g in test]
    moved = [with_nodes(g, features=100 * g.nodes.features[::-1]) for g in test]
    found, relabelled = fit(name, train, test), fit(name, train, unlabelled, shuffled)
    for part in relabelled.confidences:
        np.testing.assert_array_equal(part, found.confidences[0])
    alone, other = fit(name, train), fit(name, train, moved, test)
    assert alone.numbers == found.numbers == relabelled.numbers == other.numbers
    np.testing.assert_array_equal(other.confidences[1], found.confidences[0])


def test_same_seed_same_trees_and_another_seed_others(monkeypatch):
    train, test = sample(0, linear), sample(1, linear)
    # On fewer than 200,000 atoms nothing is drawn, unless columns are.
    monkeypatch.setitem(baselines.TREES, "max_features", 0.5)
    one, same, other = (fit("trees", train, test, seed=s).confidences for s in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert np.ptp(np.subtract(one, other)) > 0


def bad_cases():
    good = sample(0, linear, 2, num_atoms=30)
    nodes = good[1].nodes
    broken = nodes.features.copy()
    broken[3, 2] = np.nan
    wide = np.concatenate([nodes.features, nodes.features], axis=1)

    def second(**changes):
        return [good[0], with_nodes(good[1], **changes)]

    zero, one = 0 * nodes.label, 0 * nodes.label + 1
    yield "kriging", good, [], "no predictor 'kriging'; choose from prevalence, feature:Cu, "
    yield "feature:C55", good, [], "no predictor 'feature:C55'"
    yield "logistic", [], [good], "no training graphs"
    yield "logistic", [with_nodes(good[0], label=zero)], [], "no training atom has label 1"
    yield "trees", [with_nodes(good[0], label=one)], [], "no training atom has label 0"
    yield "logistic", second(label=zero - 1), [], "training graph 1 has no labels"
    yield (
        "logistic",
        second(features=broken),
        [],
        "training graph 1 has a value of energy that is not",
    )
    yield (
        "trees",
        good,
        [good, second(features=broken)],
        r"graph 1 of others\[1\] has a value of energy",
    )
    yield "logistic", second(features=wide), [], "training graph 1 has 8 feature columns, but 4"
    yield "logistic", good, [second(features=wide)], r"graph 1 of others\[0\] has 8 feature"
    yield "logistic", [graphs.pad(good[0], 64, 512)], [], "training graph 0 is padded"
    yield "softness", good, [], "softness needs graphs built with surroundings"


@pytest.mark.parametrize("case", list(bad_cases()), ids=lambda case: case[3][:30])
def test_bad_input(case):
    name, train, others, message = case
    with pytest.raises(ValueError, match=message):
        fit(name, train, *others)


def test_more_bad_input(boxes):
    with pytest.raises(ValueError, match="hold a name twice: a, a, b, c"):
        fit("logistic", sample(0, linear), columns=("a", "a", "b", "c"))
    around = boxes[0][0].nodes.surroundings
    third = with_nodes(boxes[0][0], surroundings=around._replace(other=around.other + 1))
    with pytest.raises(ValueError, match="softness is for two species, got 3"):
        fit("softness", [third])
    plain = with_nodes(boxes[1][0], surroundings=None)
    with pytest.raises(ValueError, match="softness needs graphs built with surroundings"):
        fit("softness", boxes[0], [plain])


def test_a_fit_that_does_not_converge_is_an_error(monkeypatch):
    monkeypatch.setattr(baselines, "_MAX_ITERATIONS", 1)
    with pytest.raises(ValueError, match="the fit of logistic did not converge"):
        fit("logistic", sample(0, linear))


@pytest.mark.parametrize("module", ["sklearn.linear_model", "threadpoolctl"])
def test_without_scikit_learn(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=r"pip install 'stzjax\[baselines\]'"):
        fit("logistic", sample(0, linear, 1))
    assert fit("prevalence", sample(0, linear, 1)).confidences == []


def test_importing_does_not_need_scikit_learn():
    code = "import sys; sys.modules['sklearn'] = None; import stzjax.learning.baselines"
    subprocess.run([sys.executable, "-c", code], check=True)
