"""Verdicts against scikit-learn, SciPy, loops over orders and resamples, and closed forms."""

import decimal
import itertools
import json
import math

import jax
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as sklearn_metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from stzjax.evaluation import averages, metrics, verdict
from stzjax.evaluation.averages import Trial
from stzjax.io import archives
from stzjax.run_folder import contents

# Sums and quotients of counts in another order.
TOLERANCE = 1e-12
KEY = jax.random.key(5)


def _pooled(
    seed=0,
    specimens=(3, 4, 7, 9),
    directions=("+xy", "-yz", "-xz"),
    size=60,
    prevalence=0.06,
    decimals=None,
    signal=1.5,
):
    """Runs of 60 to 90 atoms by default; every number of the specimens and directions differs."""
    rng = np.random.default_rng(seed)
    columns = []
    for number, direction in itertools.product(specimens, directions):
        num = size + 10 * int(rng.integers(4))
        label = (rng.random(num) < prevalence).astype(int)
        confidence = 1 / (1 + np.exp(1.0 - rng.normal(size=num) - signal * label))
        if decimals is not None:
            confidence = confidence.round(decimals)
        columns.append((label, confidence, np.full(num, number), np.full(num, direction)))
    return verdict.Predictions(*(np.concatenate(c) for c in zip(*columns, strict=True)))


def _one(label, confidence, specimen=0, direction="+xy"):
    num = len(label)
    return verdict.Predictions(label, confidence, np.full(num, specimen), [direction] * num)


def _with(predictions, **changes):
    return verdict.Predictions(*({**vars(predictions), **changes}.values()))


def _reference(label, confidence, threshold):
    predicted = confidence >= threshold
    return {
        "recall": sklearn_metrics.recall_score(label, predicted),
        "precision": sklearn_metrics.precision_score(label, predicted),
        "f1": sklearn_metrics.f1_score(label, predicted),
        "mcc": sklearn_metrics.matthews_corrcoef(label, predicted),
        "auc": sklearn_metrics.roc_auc_score(label, confidence),
        "ap": sklearn_metrics.average_precision_score(label, confidence),
    }


def hit_rates(*args):
    return verdict.hits(*args).rates()


def _resampled_atoms(specimen, num_samples, key=KEY):
    """Atoms of each bootstrap sample, one array for each specimen drawn."""
    names = np.unique(specimen)
    draws = jax.random.randint(key, (num_samples, len(names)), 0, len(names), jax.numpy.int32)
    return [[np.flatnonzero(specimen == names[g]) for g in draw] for draw in np.asarray(draws)]


# Predictions


def test_predictions_know_their_runs():
    pooled = verdict.Predictions([0, 1, 0], [0.1, 0.2, 0.3], [2, 2, 5], ["+xy", "-xy", "-xy"])
    assert pooled.runs() == [
        (2, "+xy", slice(0, 1)),
        (2, "-xy", slice(1, 2)),
        (5, "-xy", slice(2, 3)),
    ]
    assert pooled.along("-xy").confidence.tolist() == [0.2, 0.3]
    assert verdict.Predictions([], [], [], []).runs() == []


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([0, 1], [0.1], [1, 1], ["+xy", "+xy"]), r"label \(2,\), confidence \(1,\)"),
        (([[0]], [[0.1]], [[1]], [["+xy"]]), r"label \(1, 1\)"),
        (([0, 1], [0.1, 0.2], [1, 1], ["+xy", "xy"]), "direction 'xy' at atom 1 is none of"),
        (([0] * 3, [0.1] * 3, [4, 5, 4], ["+xy"] * 3), "specimen 4 in \\+xy .* at atom 2"),
    ],
)
def test_predictions_refuse(columns, message):
    with pytest.raises(ValueError, match=message):
        verdict.Predictions(*columns)


def test_damaged_archive_is_named(tmp_path):
    columns = {"label": [0, 1], "confidence": [0.5], "specimen": [1, 1], "direction": ["+xy"] * 2}
    path = tmp_path / "test.npz"
    archives.save_archive(path, columns, {})
    with pytest.raises(ValueError, match=r"test\.npz: columns must be of one length"):
        contents.predictions(path, archives.load_archive(path)[0])


# Hits


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 2)), min_size=1, max_size=5).filter(
        lambda atoms: any(label for label, _ in atoms)
    ),
    st.integers(1, 5),
)
def test_hits_are_the_mean_over_all_orders(atoms, count):
    label, confidence = (np.array(column) for column in zip(*atoms, strict=True))
    count = min(count, len(label))
    orders = list(itertools.permutations(range(len(label))))
    by_confidence = [sorted(order, key=lambda i: -confidence[i])[:count] for order in orders]
    found = hit_rates(_one(label, confidence / 2), [(count - 0.5) / len(label)])
    (row,) = found.values()
    assert row["rate"] == pytest.approx(np.mean([label[o].any() for o in by_confidence]))
    assert row["chance"] == pytest.approx(np.mean([label[list(o[:count])].any() for o in orders]))
    assert row["events"] == 1


@pytest.mark.parametrize("num", [7, 300, 10_000])
@pytest.mark.parametrize("positive", [1, 5, 7])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.5, 0.9, 1.0])
def test_chance_is_hypergeometric(num, positive, share):
    label = np.arange(num) < positive
    (row,) = hit_rates(_one(label, np.zeros(num)), [share]).values()
    count = math.ceil(decimal.Decimal(str(share)) * num)
    expected = scipy.stats.hypergeom(num, positive, count).sf(0)
    assert row["chance"] == pytest.approx(expected, rel=TOLERANCE)
    assert row["rate"] == row["chance"]  # All tied: the ranking is a random one.


@pytest.mark.parametrize(
    ("num", "share", "count"),
    [
        (1000, 0.001, 1),
        (1001, 0.001, 2),
        (50, 0.01, 1),
        (100, 0.07, 7),  # 7.000000000000001 in floating point
        (300, 0.01, 3),
        (20, 1.0, 20),
    ],
)
def test_number_of_atoms_looked_at(num, share, count):
    for rank in (count, count + 1):
        if rank <= num:
            label = np.arange(num) == rank - 1
            (row,) = hit_rates(_one(label, np.arange(num)[::-1]), [share]).values()
            assert row["rate"] == (rank == count)


def test_hit_rate_is_a_mean_over_runs_with_an_event():
    pooled = _pooled(decimals=1, prevalence=0.01)
    spans = [span for *_, span in pooled.runs()]
    events = [span for span in spans if pooled.label[span].any()]
    assert 0 < len(events) < len(spans)
    found = hit_rates(pooled)
    assert list(found) == ["0.001", "0.01", "0.05"]
    for share, row in found.items():
        rates, chances = [], []
        for span in events:
            alone = _one(pooled.label[span], pooled.confidence[span])
            rates.append(hit_rates(alone, [float(share)])[share]["rate"])
            num, positive = span.stop - span.start, pooled.label[span].sum()
            looked = math.ceil(decimal.Decimal(share) * num)
            chances.append(scipy.stats.hypergeom(num, positive, looked).sf(0))
        expected = {"rate": np.mean(rates), "chance": np.mean(chances), "events": len(events)}
        assert row == pytest.approx(expected, rel=TOLERANCE)


def test_hits_do_not_depend_on_order():
    pooled = _pooled(decimals=1)
    rng = np.random.default_rng(1)
    runs = [np.arange(s.start, s.stop) for *_, s in pooled.runs()]
    atoms = np.concatenate([rng.permutation(runs[i]) for i in rng.permutation(len(runs))])
    turned = verdict.Predictions(*(column[atoms] for column in vars(pooled).values()))
    for share, row in hit_rates(turned).items():
        assert row == pytest.approx(hit_rates(pooled)[share], abs=TOLERANCE)


def test_no_event_is_undefined():
    for row in hit_rates(_one([0, 0, 0], [0.1, 0.5, 0.9])).values():
        assert math.isnan(row["rate"]) and math.isnan(row["chance"]) and row["events"] == 0


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5, math.nan])
def test_share_out_of_range(share):
    with pytest.raises(ValueError, match=f"got {share}"):
        hit_rates(_one([0, 1], [0.1, 0.2]), [0.01, share])


def test_hits_refuse_what_metrics_refuse():
    with pytest.raises(ValueError, match="entry 1 is nan"):
        hit_rates(_one([0, 1], [0.1, math.nan]))
    with pytest.raises(ValueError, match="0 or 1; entry 0"):
        hit_rates(_one([2, 1], [0.1, 0.2]))


# Comparison


def _rivals(seed=3):
    first = _pooled(seed, prevalence=0.15, decimals=2)
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 0.1, len(first.label))
    return first, _with(first, confidence=(first.confidence + noise).round(2))


def contrast(first, second, num_samples):
    """Paired difference of two models, thresholds chosen on the atoms that they are judged on."""
    sides = ([Trial(model, model, {})] for model in (first, second))
    return averages.contrast(*sides, KEY, num_samples)


def test_comparison_is_the_resampling_by_hand():
    first, second = _rivals()
    found = contrast(first, second, 60)
    best = [metrics.best_threshold(m.label, m.confidence, "mcc") for m in (first, second)]
    assert best[0] != best[1]
    draws = _resampled_atoms(first.specimen, 60, jax.random.fold_in(KEY, 0))
    for thresholds, groups in (((0.5, 0.5), ("at_half", "ranks")), (best, ("at_best_mcc",))):

        def difference(atoms, thresholds=thresholds):
            ours, theirs = (
                _reference(model.label[atoms], model.confidence[atoms], threshold)
                for model, threshold in zip((first, second), thresholds, strict=True)
            )
            return {name: ours[name] - theirs[name] for name in ours}

        rows = [difference(np.concatenate(drawn)) for drawn in draws]
        estimates = difference(np.arange(len(first.label)))
        for group, name in ((g, n) for g in groups for n in found[g] if n in estimates):
            values = np.array([row[name] for row in rows])
            expected = {
                "estimate": estimates[name],
                "low": np.quantile(values, 0.025),
                "high": np.quantile(values, 0.975),
                "standard_error": values.std(ddof=1),
                "undefined": 0.0,
            }
            assert found[group][name] == pytest.approx(expected, abs=TOLERANCE), (group, name)
    assert set(found["ranks"]["prevalence"].values()) == {0.0}


def _equal_specimens():
    """Eight specimens of one run of 40 atoms, the first four of them positive."""
    rng = np.random.default_rng(0)
    label = np.tile(np.arange(40) < 4, 8)
    specimen, direction = np.repeat(np.arange(8), 40), np.full(320, "-xz")
    pair = (rng.random(320), rng.random(320))
    return [verdict.Predictions(label, confidence, specimen, direction) for confidence in pair]


# 4,000 resamples know a standard error to 1 / sqrt(8000) = 1.1 %; four times that.
MONTE_CARLO = 0.045


@pytest.mark.slow
def test_standard_error_of_a_mean_over_specimens():
    """With as many positives in each specimen, recall is a mean, of bootstrap variance var / n."""
    first, second = _equal_specimens()
    caught = [(m.confidence >= 0.5).reshape(8, 40)[:, :4].mean(axis=1) for m in (first, second)]
    row = contrast(first, second, 4000)["at_half"]["recall"]
    assert row["estimate"] == pytest.approx(np.mean(caught[0] - caught[1]))
    expected = np.sqrt(np.var(caught[0] - caught[1]) / 8)
    assert row["standard_error"] == pytest.approx(expected, rel=MONTE_CARLO)


def test_pairing_narrows_the_difference_of_like_models():
    first, second = _rivals()
    row = contrast(first, second, 300)["ranks"]["auc"]
    alone = metrics.bootstrap(first.label, first.confidence, first.specimen, 300, key=KEY)["auc"]
    assert row["standard_error"] < 0.5 * alone["standard_error"]


def test_comparison_reports_undefined_resamples():
    label, specimen = [1, 0, 0, 0], [0, 0, 1, 1]
    first = verdict.Predictions(label, [0.9, 0.2, 0.3, 0.1], specimen, ["+xy"] * 4)
    second = _with(first, confidence=[0.1, 0.2, 0.3, 0.1])
    row = contrast(first, second, 400)["ranks"]["auc"]
    # Three resamples in four hold a positive; in each the first ranks it above, the second below.
    assert row["undefined"] == pytest.approx(0.25, abs=0.09)
    assert row["low"] > 0.0
    none = contrast(_with(first, label=[0] * 4), _with(second, label=[0] * 4), 20)["ranks"]["auc"]
    assert none["undefined"] == 1.0
    assert all(math.isnan(none[name]) for name in ("estimate", "low", "high"))


def test_comparison_refuses():
    first, second = _rivals()
    with pytest.raises(ValueError, match="num_samples >= 1, got 0"):
        contrast(first, second, 0)
    renamed = np.where(second.specimen == 7, 70, second.specimen)
    with pytest.raises(ValueError, match=r"\(3, 4, 7, 9\)\], the second on \[\(3, 4, 9, 70\)"):
        contrast(first, _with(second, specimen=renamed), 10)


# Judgement


@pytest.fixture(scope="module")
def parts():
    return _pooled(1, specimens=(1, 2), prevalence=0.1, decimals=2), _pooled(
        2, prevalence=0.05, signal=2.0
    )


@pytest.fixture(scope="module")
def judged(parts):
    return verdict.judge(*parts, KEY, 40)


def _best(predictions, score):
    values = {t: score(predictions.label, predictions.confidence >= t) for t in
              np.unique(predictions.confidence)}  # fmt: skip
    return max(sorted(values, reverse=True), key=values.__getitem__)


@pytest.mark.slow
def test_judgement_is_scikit_learns(parts, judged):
    validation, test = parts
    thresholds = {
        "at_half": 0.5,
        "at_best_mcc": _best(validation, sklearn_metrics.matthews_corrcoef),
        "at_best_f1": _best(validation, sklearn_metrics.f1_score),
    }
    assert len(set(thresholds.values())) == 3
    assert thresholds["at_best_mcc"] != _best(test, sklearn_metrics.matthews_corrcoef)
    assert thresholds["at_best_f1"] != _best(test, sklearn_metrics.f1_score)
    masks = {None: np.full(len(test.label), True)}
    masks |= {d: test.direction == d for d in ("+xy", "-yz", "-xz")}
    for direction, mine in masks.items():
        found = judged["directions"][direction] if direction else judged["pooled"]
        assert found["reasons"] == {}
        for name, threshold in thresholds.items():
            assert found[name]["threshold"] == threshold
            expected = _reference(test.label[mine], test.confidence[mine], threshold)
            got = {metric: found[name][metric] for metric in expected}
            assert got == pytest.approx(expected, abs=TOLERANCE), (direction, name)


def test_thresholds_do_not_see_the_test(parts, judged):
    validation, test = parts
    rng = np.random.default_rng(0)
    other = _with(test, label=rng.permutation(test.label), confidence=rng.random(len(test.label)))
    again = verdict.judge(validation, other, KEY, 2)
    moved = verdict.judge(_with(validation, label=1 - validation.label), test, KEY, 2)
    for name in ("at_best_mcc", "at_best_f1"):
        chosen = judged["pooled"][name]["threshold"]
        assert again["pooled"][name]["threshold"] == chosen
        assert again["pooled"][name]["f1"] != judged["pooled"][name]["f1"]
        assert moved["pooled"][name]["threshold"] != chosen
        for direction in judged["directions"].values():
            assert direction[name]["threshold"] == chosen


def test_direction_is_pooled_on_its_atoms(parts, judged):
    validation, test = parts
    assert list(judged["directions"]) == ["+xy", "-yz", "-xz"]
    for direction, found in judged["directions"].items():
        alone = verdict.judge(validation, test.along(direction), KEY, 40)
        assert repr(alone["pooled"]) == repr(found)
        assert list(alone["directions"]) == [direction]
        assert found["at_half"] != judged["pooled"]["at_half"]


def test_intervals_are_those_of_specimens(parts, judged):
    test = parts[1]
    expected = metrics.bootstrap(test.label, test.confidence, test.specimen, 40, key=KEY)
    assert repr(judged["pooled"]["interval"]) == repr(expected)


def test_hit_intervals_are_the_resampling_by_hand(parts, judged):
    test = parts[1]
    rates = {name: [] for name in ("0.001", "0.01", "0.05")}
    for drawn in _resampled_atoms(test.specimen, 40):
        atoms = np.concatenate(drawn)
        # A specimen drawn twice counts as two.
        number = np.repeat(np.arange(len(drawn)), [len(mine) for mine in drawn])
        sample = verdict.Predictions(
            test.label[atoms], test.confidence[atoms], number, test.direction[atoms]
        )
        for share, row in hit_rates(sample).items():
            rates[share].append(row["rate"])
    for share, row in judged["pooled"]["hits"].items():
        interval = row.pop("interval")
        assert row == hit_rates(test)[share]
        assert interval["estimate"] == row["rate"]
        low, high = np.quantile(rates[share], [0.025, 0.975])
        assert interval["low"] == pytest.approx(low, abs=TOLERANCE)
        assert interval["high"] == pytest.approx(high, abs=TOLERANCE)
        assert interval["standard_error"] == pytest.approx(np.std(rates[share], ddof=1))
        row["interval"] = interval


def test_standard_error_of_a_hit_rate():
    """With one event in each specimen the rate is a mean, of bootstrap variance var / n."""
    test, _ = _equal_specimens()
    found = verdict.judge(test, test, KEY, 4000)["pooled"]["hits"]["0.05"]
    top = np.argsort(-test.confidence.reshape(8, 40), axis=1)[:, :2]
    hit = (top < 4).any(axis=1)
    assert 0 < hit.mean() < 1
    assert found["rate"] == hit.mean()
    expected = np.sqrt(np.var(hit) / 8)
    assert found["interval"]["standard_error"] == pytest.approx(expected, rel=MONTE_CARLO)


def _leaves(value):
    if isinstance(value, dict):
        assert all(type(name) is str for name in value)
        return [leaf for child in value.values() for leaf in _leaves(child)]
    return [value]


def test_judgement_is_plain(parts, judged):
    assert {type(leaf) for leaf in _leaves(judged)} <= {float, int}
    assert json.loads(json.dumps(judged)) == judged
    assert repr(verdict.judge(*parts, KEY, 40)) == repr(judged)


def test_test_without_positives_is_undefined(parts, tmp_path):
    validation, test = parts
    found = verdict.judge(validation, _with(test, label=np.zeros(len(test.label), int)), KEY, 10)
    archives.write_json(tmp_path / "verdict.json", found)
    stored = archives.read_json(tmp_path / "verdict.json")
    undefined = ("recall", "mcc", "auc", "ap", "ap_over_prevalence")
    for before, after in (
        (found["pooled"], stored["pooled"]),
        (found["directions"]["-yz"], stored["directions"]["-yz"]),
    ):
        for point in ("at_half", "at_best_mcc", "at_best_f1"):
            assert all(math.isnan(before[point][name]) for name in undefined)
            assert all(after[point][name] is None for name in undefined)
        assert all(math.isnan(before["interval"][n]["estimate"]) for n in undefined)
        assert all(before["interval"][n]["undefined"] == 1 for n in undefined)
        assert before["reasons"] == {"hits": "fewer than two specimens with an event"}
        for row in after["hits"].values():
            assert row == {"rate": None, "chance": None, "events": 0, "interval": None}


def test_one_specimen_has_no_interval(parts):
    validation, test = parts
    mine = test.specimen == 7
    single = verdict.Predictions(*(column[mine] for column in vars(test).values()))
    found = verdict.judge(validation, single, KEY, 10)["pooled"]
    assert found["interval"] is None
    assert all(row["interval"] is None for row in found["hits"].values())
    assert all(row["events"] for row in found["hits"].values())
    reason = "fewer than two specimens"
    assert found["reasons"] == {"interval": reason, "hits": reason}


def test_reasons_stay_in_their_direction(parts):
    validation, test = parts
    mine = (test.specimen == 7) | (test.direction != "-yz")
    fewer = verdict.Predictions(*(column[mine] for column in vars(test).values()))
    found = verdict.judge(validation, fewer, KEY, 5)
    assert list(found["directions"]) == ["+xy", "-yz", "-xz"]
    assert [len(part["reasons"]) for part in found["directions"].values()] == [0, 2, 0]
    assert found["pooled"]["reasons"] == {}


def test_events_of_one_specimen_have_no_hit_interval(parts):
    validation, test = parts
    found = verdict.judge(validation, _with(test, label=test.label * (test.specimen == 7)), KEY, 9)
    assert found["pooled"]["reasons"] == {"hits": "fewer than two specimens with an event"}
    assert found["pooled"]["interval"] is not None
    assert found["pooled"]["hits"]["0.05"]["events"] > 0


def test_resamples_without_an_event_are_left_out(parts):
    validation, test = parts
    label = test.label * np.isin(test.specimen, (4, 9))
    found = verdict.judge(validation, _with(test, label=label), KEY, 800)["pooled"]
    for row in found["hits"].values():
        # Four draws among four specimens miss both with an event in one case of 16; 1 % error.
        assert row["interval"]["undefined"] == pytest.approx(1 / 16, abs=0.03)
        assert row["interval"]["low"] <= row["rate"] <= row["interval"]["high"]
    assert found["hits"]["0.05"]["interval"]["low"] > 0


def test_no_threshold_without_both_classes(parts):
    validation, test = parts
    num = len(validation.label)
    empty = verdict.Predictions([], [], [], [])
    cases = [
        (_with(validation, label=np.zeros(num, int)), f"one class only: 0 of {num}"),
        (_with(validation, label=np.ones(num, int)), f"one class only: {num} of {num}"),
        (empty, "validation is empty"),
    ]
    for part, reason in cases:
        found = verdict.judge(part, test, KEY, 2)
        for place in (found["pooled"], found["directions"]["+xy"]):
            for name in ("at_best_mcc", "at_best_f1"):
                assert place[name] is None
                assert reason in place["reasons"][name]
            assert place["at_half"]["threshold"] == 0.5
    flat = verdict.judge(_with(validation, confidence=np.full(num, 0.3)), test, KEY, 2)["pooled"]
    assert flat["at_best_mcc"] is None and "mcc is undefined" in flat["reasons"]["at_best_mcc"]
    assert flat["at_best_f1"]["threshold"] == 0.3


def test_judgement_refuses(parts):
    validation, test = parts
    diverged = _with(validation, confidence=np.full(len(validation.label), math.nan))
    with pytest.raises(ValueError, match="entry 0 is nan"):
        verdict.judge(diverged, test, KEY, 2)
    with pytest.raises(ValueError, match="num_samples >= 1, got 0"):
        verdict.judge(validation, test, KEY, 0)
    with pytest.raises(ValueError, match="cannot evaluate an empty set"):
        verdict.judge(validation, verdict.Predictions([], [], [], []), KEY, 2)
