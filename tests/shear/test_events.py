"""First events: the step, the atoms and the cluster condition on small made-up histories."""

import numpy as np
import pytest

from stzjax.shear import events

PAIRS = np.array([[0, 1], [1, 2], [3, 4]])
FIELDS = np.array(
    [
        [0.02, 0.00, 0.00, 0.00, 0.00],
        [0.15, 0.00, 0.00, 0.15, 0.00],
        [0.00, 0.00, 0.00, 0.30, 0.40],
    ]
)
STEPS = np.array([2, 5, 7])
LARGEST = np.array([0, 0.001, 0.02, 0.002, 0.001, 0.15, 0.001, 0.40])


def event(threshold, min_cluster=1, pairs=PAIRS):
    return events.first_event(LARGEST, STEPS, FIELDS, threshold, min_cluster, pairs)


@pytest.mark.parametrize(
    ("threshold", "step"), [(0.01, 2), (0.02, 5), (0.1, 5), (0.2, 7), (0.39, 7), (0.4, None)]
)
def test_first_step_above_the_threshold(threshold, step):
    assert event(threshold) == step


def test_scattered_atoms_are_no_cluster():
    assert event(0.1, min_cluster=2) == 7
    assert event(0.1, min_cluster=3) is None


def test_largest_cluster():
    marked = np.array([True, True, True, True, False])
    assert events.largest_cluster(marked, PAIRS) == 3
    assert events.largest_cluster(np.zeros(5, bool), PAIRS) == 0
    assert events.largest_cluster(np.ones(5, bool), np.zeros((0, 2), int)) == 1


def test_field_that_was_not_kept():
    assert events.field(STEPS, FIELDS, 5) is not None
    with pytest.raises(ValueError, match="smaller record_threshold"):
        events.field(STEPS, FIELDS, 4)


@pytest.mark.parametrize(
    ("threshold", "cluster", "pairs"), [(0.0, 1, PAIRS), (0.1, 0, PAIRS), (0.1, 2, None)]
)
def test_bad_parameters(threshold, cluster, pairs):
    with pytest.raises(ValueError, match="must be"):
        event(threshold, cluster, pairs)


def chain(count, along=0.0):
    """Atoms in a row through the cell, each bonded to the next, the last to the first."""
    fractional = np.zeros((count, 3))
    fractional[:, 0] = np.arange(count) / count
    fractional[:, 1] = along
    pairs = np.array([[n, (n + 1) % count] for n in range(count)])
    return fractional, np.sort(pairs, axis=1)


def test_a_cluster_spans_if_it_closes_around_the_cell():
    fractional, pairs = chain(6)
    every = np.ones(6, bool)
    assert events.spans(every, pairs, fractional)
    for missing in range(6):
        broken = every.copy()
        broken[missing] = False
        assert not events.spans(broken, pairs, fractional)
    assert not events.spans(np.zeros(6, bool), pairs, fractional)


def test_a_ring_and_a_cluster_across_a_face_do_not_span():
    angle = 2 * np.pi * np.arange(8) / 8
    ring = np.stack([0.2 * np.cos(angle), 0.2 * np.sin(angle), 0 * angle], axis=1) % 1.0
    pairs = np.array([[n, (n + 1) % 8] for n in range(8)])
    assert not events.spans(np.ones(8, bool), pairs, ring)
