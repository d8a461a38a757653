"""The network against a NumPy loop over edges; padding, batching and permutation change nothing."""

import functools

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest
from jax.test_util import check_grads

from stzjax.core.structure import Structure
from stzjax.learning import graphs, losses
from stzjax.learning.models import gat

NUM_FEATURES = 5
FLOAT64_ROUNDING = 1e-12
FLOAT32_ROUNDING = 1e-5


def random_graph(seed, num_atoms=12, num_bonds=30):
    rng = np.random.default_rng(seed)
    one, other = np.triu_indices(num_atoms, 1)
    chosen = rng.choice(len(one), num_bonds, replace=False)
    pairs = np.stack([one[chosen], other[chosen]], axis=1)
    glass = Structure.create(
        rng.random((num_atoms, 3)), 10 * np.eye(3), np.zeros(num_atoms, int), ("Cu",)
    )
    return graphs.build(
        glass,
        rng.normal(size=(num_atoms, NUM_FEATURES)),
        rng.integers(0, 2, num_atoms),
        np.concatenate([pairs, pairs[:, ::-1]]),
    )


def double(tree):
    """Floating leaves in float64, so that references can be compared tightly."""
    return jax.tree.map(
        lambda x: np.asarray(x, np.float64) if np.asarray(x).dtype.kind == "f" else x, tree
    )


def initialise(config, graph, seed=0):
    variables = jax.jit(gat.GAT(config).init)(jax.random.key(seed), graph)
    # Biases start at zero: shift everything, so that a forgotten bias is seen.
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: np.asarray(x) + 0.1 * rng.normal(size=x.shape), variables)


@functools.partial(jax.jit, static_argnames="config")
def logits_of(variables, graph, config):
    return gat.GAT(config).apply(variables, graph)


def mish(x):
    return x * np.tanh(np.log1p(np.exp(x)))


def loop_over_edges(layer, x, senders, receivers, heads, width, merge):
    """One attention layer, an edge at a time."""
    num_nodes = len(x)
    h = (x @ layer["Dense_0"]["kernel"]).reshape(num_nodes, heads, width)
    out = np.zeros((num_nodes, heads, width))
    for i in range(num_nodes):
        ends_here = [int(s) for s, r in zip(senders, receivers, strict=True) if r == i]
        for head in range(heads):
            scores = []
            for j in ends_here:
                score = layer["sender"][head] @ h[j, head] + layer["receiver"][head] @ h[i, head]
                scores.append(score if score > 0 else 0.2 * score)
            exponentials = [np.exp(score) for score in scores]
            for j, exponential in zip(ends_here, exponentials, strict=True):
                out[i, head] += exponential / sum(exponentials) * h[j, head]
    out = out.reshape(num_nodes, -1) if merge == "concat" else out.sum(axis=1) / heads
    return out + layer["bias"]


@pytest.mark.parametrize(
    "merges", [("concat", "mean"), ("mean", "mean"), ("concat", "concat")], ids="-".join
)
def test_network_agrees_with_a_loop_over_edges(merges):
    config = gat.Config(2, 3, 2, merge=merges[0], merge_last=merges[1], dense=(4,))
    graph = double(random_graph(0))
    variables = initialise(config, graph)
    params = variables["params"]
    x = graph.nodes.features
    for number, merge in enumerate(merges):
        layer = params[f"Attention_{number}"]
        x = mish(loop_over_edges(layer, x, graph.senders, graph.receivers, 2, 3, merge))
    x = mish(x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"])
    expected = x @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
    found = logits_of(variables, graph, config)
    np.testing.assert_allclose(found, expected, rtol=FLOAT64_ROUNDING, atol=FLOAT64_ROUNDING)


def test_residual_and_normalisation_agree_with_a_loop():
    config = gat.Config(
        2, 3, 2, merge_last="concat", dense=(), residual=True, normalisation="layer"
    )
    graph = double(random_graph(1))
    variables = initialise(config, graph)
    params = variables["params"]
    x = graph.nodes.features
    for number, skip in enumerate((lambda x: x @ params["Dense_0"]["kernel"], lambda x: x)):
        layer, norm = params[f"Attention_{number}"], params[f"LayerNorm_{number}"]
        out = loop_over_edges(layer, x, graph.senders, graph.receivers, 2, 3, "concat") + skip(x)
        spread = np.sqrt(out.var(axis=1, keepdims=True) + 1e-6)
        x = mish((out - out.mean(axis=1, keepdims=True)) / spread * norm["scale"] + norm["bias"])
    expected = x @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
    found = logits_of(variables, graph, config)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


# One feature, and more than are summed in one piece.
@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 4, 37])
def test_aggregation_agrees_with_jraph_segments(width):
    rng = np.random.default_rng(2)
    graph = random_graph(2, 40, 200)
    values, change = jnp.asarray(rng.normal(size=(2, 40, 3, width)))
    sent, received = jnp.asarray(rng.normal(size=(2, 40, 3)))
    senders, filled = graphs.incoming_table(graph)
    coefficients = gat.attention(sent, received, senders, filled)
    np.testing.assert_allclose(coefficients.sum(axis=0), 1.0, rtol=FLOAT64_ROUNDING)

    def by_table(values, sent, received):
        coefficients = gat.attention(sent, received, senders, filled)
        return gat.aggregate(values, coefficients, senders, gat.reverse_slots(senders))

    def by_edges(values, sent, received):
        score = sent[graph.senders] + received[graph.receivers]
        score = jnp.where(score > 0, score, 0.2 * score)
        weight = jraph.segment_softmax(score, graph.receivers, 40)
        return jraph.segment_sum(weight[..., None] * values[graph.senders], graph.receivers, 40)

    found, back = jax.vjp(jax.jit(by_table), values, sent, received)
    expected, expected_back = jax.vjp(by_edges, values, sent, received)
    np.testing.assert_allclose(found, expected, rtol=FLOAT64_ROUNDING, atol=FLOAT64_ROUNDING)
    for ours, theirs in zip(back(change), expected_back(change), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


def test_the_reverse_of_every_edge():
    members = [random_graph(seed, size, 30) for seed, size in enumerate((10, 14))]
    padded = graphs.pad(graphs.batch(members), *graphs.bucket_shape(members, 2))
    senders, filled = map(np.asarray, graphs.incoming_table(padded))
    reverse = np.asarray(gat.reverse_slots(senders))
    slots, nodes = np.divmod(reverse, senders.shape[1])
    assert (nodes[filled] == senders[filled]).all()
    assert (senders[slots, nodes] == np.arange(senders.shape[1])).all()
    place = np.arange(senders.size).reshape(senders.shape)
    assert (reverse.ravel()[reverse] == place).all() and filled[slots, nodes][filled].all()
    assert (reverse == place)[~filled].all()


def test_mish_agrees_with_jax():
    x = np.concatenate([np.linspace(-40.0, 40.0, 1001), [-1e3, 20.0, 1e3]])
    value, slope = jax.vmap(jax.value_and_grad(gat.mish))(x)
    expected, expected_slope = jax.vmap(jax.value_and_grad(jax.nn.mish))(x)
    np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-12, atol=1e-12)


CONFIG = gat.Config(2, 4, 2, dense=(6,), residual=True, normalisation="layer")


@jax.jit
def value_and_gradient(variables, graph):
    def loss(variables):
        logits = logits_of(variables, graph, CONFIG)
        weights = jnp.array([1.0, 5.0])
        nodes = graph.nodes
        return losses.weighted_cross_entropy(
            logits, nodes.label, nodes.mask, losses.Terms(weights)
        ), logits

    (_, logits), gradient = jax.value_and_grad(loss, has_aux=True)(variables)
    return logits, gradient


@pytest.mark.slow
def test_padding_changes_neither_logits_nor_gradient():
    graph = double(random_graph(3))
    variables = initialise(CONFIG, graph)
    padded = graphs.pad(graph, 20, 100, num_graphs=4, degree=graph.nodes.incoming.shape[1] + 3)
    logits, gradient = value_and_gradient(variables, graph)
    found, found_gradient = value_and_gradient(variables, padded)
    np.testing.assert_allclose(found[:12], logits, rtol=FLOAT64_ROUNDING, atol=FLOAT64_ROUNDING)
    assert np.isfinite(found).all()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12),
        gradient,
        found_gradient,
    )


def test_a_batch_equals_one_by_one():
    members = [double(random_graph(seed, size, 30)) for seed, size in enumerate((10, 14))]
    variables = initialise(CONFIG, members[0])
    padded = graphs.pad(graphs.batch(members), *graphs.bucket_shape(members, 2))
    expected = np.concatenate([logits_of(variables, graph, CONFIG) for graph in members])
    found = logits_of(variables, padded, CONFIG)[: len(expected)]
    np.testing.assert_allclose(found, expected, rtol=FLOAT64_ROUNDING, atol=FLOAT64_ROUNDING)


def test_permuting_the_atoms_permutes_the_logits():
    graph = double(random_graph(4))
    order = np.random.default_rng(4).permutation(12)
    place = np.argsort(order)
    bonds = graph.senders != graph.receivers
    pairs = np.stack([place[graph.senders[bonds]], place[graph.receivers[bonds]]], axis=1)
    glass = Structure.create(np.zeros((12, 3)), np.eye(3), np.zeros(12, int), ("Cu",))
    permuted = double(graphs.build(glass, graph.nodes.features[order], pairs=pairs))
    variables = initialise(CONFIG, graph)
    expected = logits_of(variables, graph, CONFIG)[order]
    found = logits_of(variables, permuted, CONFIG)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


def test_an_atom_hears_no_further_than_the_layers_reach():
    # A chain 0 - 1 - ... - 11: after two layers atom 0 knows atom 2 and not atom 3.
    chain = np.stack([np.arange(11), np.arange(1, 12)], axis=1)
    glass = Structure.create(np.zeros((12, 3)), np.eye(3), np.zeros(12, int), ("Cu",))
    features = np.random.default_rng(5).normal(size=(12, NUM_FEATURES))
    graph = double(graphs.build(glass, features, pairs=np.concatenate([chain, chain[:, ::-1]])))
    variables = initialise(CONFIG, graph)

    def first_logit(x):
        nodes = graph.nodes._replace(features=x)
        return gat.GAT(CONFIG).apply(variables, graph._replace(nodes=nodes))[0, 1]

    reach = np.abs(jax.jit(jax.grad(first_logit))(graph.nodes.features)).max(axis=1) > 0
    assert reach.tolist() == [True] * 3 + [False] * 9


@pytest.mark.slow
def test_gradients_by_finite_differences():
    graph = double(random_graph(6))
    variables = initialise(CONFIG, graph)
    padded = double(graphs.pad(graph, 16, 90))

    def loss(variables, features):
        nodes = padded.nodes._replace(features=features)
        logits = gat.GAT(CONFIG).apply(variables, padded._replace(nodes=nodes))
        return losses.weighted_cross_entropy(
            logits, padded.nodes.label, padded.nodes.mask, losses.Terms((1.0, 7.0))
        )

    args = jax.jit(loss), (variables, padded.nodes.features)
    check_grads(*args, order=1, modes=("rev",), atol=1e-6, rtol=1e-6)
    # Differences of first derivatives are rougher.
    check_grads(*args, order=2, modes=("rev",), atol=1e-5, rtol=1e-5)


def test_large_scores_do_not_overflow():
    graph = random_graph(3)
    padded = graphs.pad(graph, 16, 90)
    variables = jax.jit(gat.GAT(CONFIG).init)(jax.random.key(0), padded)
    loud = jax.tree.map(lambda x: x, variables)
    for layer in range(2):
        loud["params"][f"Attention_{layer}"]["sender"] *= 1e4
    logits, gradient = value_and_gradient(loud, padded)
    assert np.isfinite(logits).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_learning_is_float32_though_x64_is_on():
    graph = graphs.pad(random_graph(3), 16, 90)
    variables = jax.jit(gat.GAT(CONFIG).init)(jax.random.key(0), graph)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    logits, gradient = value_and_gradient(variables, graph)
    assert logits.dtype == np.float32 and logits.shape == (16, 2)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {np.dtype(np.float32)}
    tight = logits_of(double(variables), double(graph), CONFIG)
    np.testing.assert_allclose(logits, tight, rtol=FLOAT32_ROUNDING, atol=FLOAT32_ROUNDING)


def test_dropout_acts_in_training_only_and_by_its_key():
    config = gat.Config(1, 4, 2, dense=(), dropout=0.5)
    graph = random_graph(9)
    model = gat.GAT(config)
    variables = jax.jit(model.init)(jax.random.key(0), graph)
    quiet = logits_of(variables, graph, config)
    trained = jax.jit(functools.partial(model.apply, train=True))
    one, same, other = (
        trained(variables, graph, rngs={"dropout": jax.random.key(seed)}) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any() and (one != quiet).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 0}, "layers must be 1 or more, got 0"),
        ({"heads": -1}, "heads must be 1 or more, got -1"),
        ({"dense": (8, 0)}, "dense must be 1 or more, got 0"),
        ({"merge": "sum"}, "concat, mean, got 'sum'"),
        ({"normalisation": "batch"}, "none, layer, got 'batch'"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
    ],
)
def test_a_bad_shape_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        gat.Config(**settings)
