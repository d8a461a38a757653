"""Graphs against plain loops over pairs; batching, padding, and the inputs that are refused."""

import jraph
import numpy as np
import pytest

from stzjax.core.structure import Structure
from stzjax.learning import graphs

NUM_FEATURES = 5


def random_pairs(rng, num_atoms, num_bonds):
    """(P, 2) pairs both ways, in random order."""
    one, other = np.triu_indices(num_atoms, 1)
    chosen = rng.choice(len(one), num_bonds, replace=False)
    pairs = np.stack([one[chosen], other[chosen]], axis=1)
    return rng.permutation(np.concatenate([pairs, pairs[:, ::-1]]))


def random_glass(rng, num_atoms):
    return Structure.create(
        rng.random((num_atoms, 3)), 10 * np.eye(3), rng.integers(0, 2, num_atoms), ("Cu", "Zr")
    )


def random_graph(seed, num_atoms=12, num_bonds=30):
    rng = np.random.default_rng(seed)
    return graphs.build(
        random_glass(rng, num_atoms),
        rng.normal(size=(num_atoms, NUM_FEATURES)),
        rng.integers(0, 2, num_atoms),
        random_pairs(rng, num_atoms, num_bonds),
    )


def table_edges(graph):
    """Edges (sender, receiver) read off the neighbour table, without empty slots."""
    senders, filled = map(np.asarray, graphs.incoming_table(graph))
    return {
        (senders[slot, i], i) for slot, i in zip(*np.nonzero(filled), strict=True)
    }, filled.sum()


def test_edges_are_the_pairs_and_the_self_edges_sorted_by_receiver():
    rng = np.random.default_rng(0)
    pairs = random_pairs(rng, 9, 20)
    graph = graphs.build(random_glass(rng, 9), rng.normal(size=(9, 2)), pairs=pairs)
    found = list(zip(graph.senders.tolist(), graph.receivers.tolist(), strict=True))
    expected = {(int(i), int(j)) for i, j in pairs} | {(i, i) for i in range(9)}
    assert len(found) == len(expected) and set(found) == expected
    assert (np.diff(graph.receivers) >= 0).all()
    assert graph.n_node.tolist() == [9] and graph.n_edge.tolist() == [len(expected)]
    degree = [sum(r == i for _, r in expected) for i in range(9)]
    assert graph.nodes.incoming.sum(axis=1).tolist() == degree
    assert graph.nodes.incoming.shape[1] == max(degree)


def test_types_and_unknown_labels():
    graph = random_graph(1)
    assert graph.nodes.features.dtype == np.float32
    assert graph.nodes.label.dtype == graph.senders.dtype == np.int32
    assert graph.nodes.mask.all()
    rng = np.random.default_rng(1)
    pairs = random_pairs(rng, 4, 3)
    unknown = graphs.build(random_glass(rng, 4), np.ones((4, 1)), pairs=pairs)
    assert (unknown.nodes.label == graphs.UNLABELLED).all()


def test_pairs_come_from_the_tessellation_by_default(monkeypatch):
    rng = np.random.default_rng(2)
    glass, pairs = random_glass(rng, 8), random_pairs(rng, 8, 12)

    class Tessellation:
        def __init__(self, tessellated):
            assert tessellated is glass
            self.pairs = pairs

    monkeypatch.setattr(graphs.voronoi, "tessellate", Tessellation)
    features = rng.normal(size=(8, 2))
    assert_same(graphs.build(glass, features), graphs.build(glass, features, pairs=pairs))


def assert_same(one, other):
    for a, b in zip(one.nodes, other.nodes, strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("senders", "receivers", "n_node", "n_edge"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_table_holds_the_edges_of_a_padded_batch():
    members = [random_graph(seed, 10 + seed, 25) for seed in range(3)]
    padded = graphs.pad(graphs.batch(members), *graphs.bucket_shape(members, 3))
    found, count = table_edges(padded)
    offsets = np.cumsum([0] + [10 + seed for seed in range(2)])
    expected = {
        (int(s + offset), int(r + offset))
        for graph, offset in zip(members, offsets, strict=True)
        for s, r in zip(graph.senders, graph.receivers, strict=True)
    }
    assert found == expected and count == len(expected)


def test_an_empty_slot_holds_the_receiver_so_that_graphs_of_a_batch_cannot_meet():
    members = [random_graph(seed, 8, 9) for seed in range(2)]
    senders, filled = map(np.asarray, graphs.incoming_table(graphs.batch(members)))
    own = np.broadcast_to(np.arange(16), filled.shape)
    assert not filled.all()
    np.testing.assert_array_equal(senders[~filled], own[~filled])


def test_padding_joins_padding_only_and_keeps_the_order():
    graph = random_graph(3)
    num_nodes, num_edges = len(graph.nodes.label), len(graph.senders)
    padded = graphs.pad(graph, num_nodes + 7, num_edges + 11)
    assert padded.nodes.mask.tolist() == [True] * num_nodes + [False] * 7
    assert (padded.senders[num_edges:] >= num_nodes).all()
    assert (padded.receivers[num_edges:] >= num_nodes).all()
    assert (np.diff(padded.receivers) >= 0).all()
    assert padded.senders.dtype == np.int32 and len(padded.senders) == num_edges + 11
    assert not padded.nodes.incoming[num_nodes:].any()
    assert_same(jraph.unpad_with_graphs(padded), graph)


def test_unbatching_gives_the_members_back():
    members = [random_graph(seed, 12, 20 + 5 * seed) for seed in range(3)]
    for one, other in zip(jraph.unbatch_np(graphs.batch(members)), members, strict=True):
        np.testing.assert_array_equal(one.nodes.features, other.nodes.features)
        np.testing.assert_array_equal(one.senders, other.senders)
        np.testing.assert_array_equal(one.nodes.incoming.sum(1), other.nodes.incoming.sum(1))


def test_similar_graphs_share_a_bucket_and_any_batch_fits():
    members = [random_graph(seed, 40 + seed % 2, 200 + seed) for seed in range(6)]
    assert len({graphs.bucket_shape([graph]).num_nodes for graph in members}) == 1
    bucket = graphs.bucket_shape(members, 4)
    for start in range(3):
        padded = graphs.pad(graphs.batch(members[start : start + 4]), *bucket)
        assert len(padded.n_node) == bucket.num_graphs
        assert padded.nodes.incoming.shape == (bucket.num_nodes, bucket.degree)
    rest = graphs.pad(graphs.batch(members[:1]), *bucket)
    assert rest.nodes.features.shape[0] == bucket.num_nodes


@pytest.mark.parametrize("size", [1, 15, 16, 17, 31, 33, 1000, 10001, 160003])
def test_rounding_wastes_less_than_a_sixteenth(size):
    rounded = graphs._round_up(size)
    assert size <= rounded < size * (1 + 1 / 16) + 1
    assert graphs._round_up(rounded) == rounded


def test_no_bucket_has_a_power_of_two_of_nodes():
    for size in range(1000, 20_000, 7):
        nodes = graphs._no_power_of_two(graphs._round_up(size))
        assert size <= nodes <= 1.13 * size
        assert nodes < 1024 or nodes.bit_count() > 1


def test_too_small_a_shape_is_refused():
    graph = random_graph(4)
    with pytest.raises(ValueError, match="cannot pad"):
        graphs.pad(graph, len(graph.nodes.label), len(graph.senders))
    with pytest.raises(ValueError, match="cannot pad"):
        graphs.pad(graph, 100, len(graph.senders) - 1)
    with pytest.raises(ValueError, match="cannot pad"):
        graphs.pad(graph, 100, 1000, degree=1)
    with pytest.raises(ValueError, match="batch of one or more"):
        graphs.bucket_shape([graph], 0)


def bad_inputs():
    features, labels = np.ones((4, 2)), np.array([0, 1, 0, 0])
    pairs = np.array([[0, 1], [1, 0], [2, 3], [3, 2]])
    nan, huge = features.copy(), features.copy()
    nan[2, 1], huge[3, 0] = np.nan, 1e300
    return [
        pytest.param(nan, labels, pairs, "column 1 of atom 2 is nan", id="nan"),
        pytest.param(huge, labels, pairs, "column 0 of atom 3 is inf", id="overflow"),
        pytest.param(features[:3], labels, pairs, r"shape \(4, F\), got \(3, 2\)", id="rows"),
        pytest.param(features[:, 0], labels, pairs, r"shape \(4, F\)", id="rank"),
        pytest.param(features[:, :0], labels, pairs, r"shape \(4, F\)", id="no columns"),
        pytest.param(features, labels[:3], pairs, r"labels must have shape \(4,\)", id="labels"),
        pytest.param(features, labels * 2, pairs, "0 or 1, got 2", id="not binary"),
        pytest.param(features, labels * np.nan, pairs, "0 or 1, got nan", id="nan label"),
        pytest.param(features, labels, pairs + 1, "but there are 4 atoms", id="range"),
        pytest.param(features, labels, pairs * 1.0, "integers", id="float pairs"),
        pytest.param(features, labels, pairs[:3], r"without its \(j, i\)", id="one way"),
        pytest.param(features, labels, pairs[[0, 0, 1, 1]], "twice", id="repeated"),
        pytest.param(features, labels, np.array([[1, 1]]), "atom 1 with itself", id="self"),
    ]


@pytest.mark.parametrize(("features", "labels", "pairs", "message"), bad_inputs())
def test_bad_input_is_refused(features, labels, pairs, message):
    glass = random_glass(np.random.default_rng(0), 4)
    with pytest.raises(ValueError, match=message):
        graphs.build(glass, features, labels, pairs)
