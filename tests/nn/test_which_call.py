"""No gradient of another forward call than the one that was meant comes silently."""

import copy
import pickle

import numpy as np
import pytest

from fastseq import nn, no_grad, optim

x1, x2 = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
targets = np.array([0, 1, 1, 0, 1])


def make():
    return nn.Sequential(
        nn.Linear(3, 4, seed=0),
        nn.LayerNorm(4),
        nn.Tanh(),
        nn.Dropout(0.0),
        nn.Linear(4, 2, seed=1),
    )


def gradients(model):
    return np.concatenate([p.grad.ravel() for p in model.parameters()])


def wanted(x):
    """All gradients of the loss for x."""
    model, criterion = make(), nn.CrossEntropyLoss()
    criterion(model(x), targets)
    model.backward(criterion.backward())
    return gradients(model)


LOSSES = {
    "function": lambda y: nn.cross_entropy(y, targets)[1],
    "mse": lambda y: nn.mse_loss(y, 0 * y)[1],
    "bce": lambda y: nn.binary_cross_entropy_with_logits(y, 0 * y)[1],
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("between", ["training", "eval", "no_grad"])
def test_a_forward_call_between_forward_and_backward(loss, between):
    """Of the calls in eval mode and under no_grad nothing is pending; after one in training mode
    the gradient of the first one's output is refused, and the first call can still be taken."""
    model = make()
    y = model(x1)
    grad = LOSSES[loss](y)
    expected = make()
    expected(x1)
    expected.backward(grad.copy())
    if between == "no_grad":
        with no_grad():
            other = model(x2)
    else:
        other = model.train(between == "training")(x2)
        model.train()
    if between == "training":
        with pytest.raises(RuntimeError, match="another forward call's output"):
            model.backward(grad)
        model.backward(LOSSES[loss](other) * 0)
    model.backward(grad)
    np.testing.assert_allclose(gradients(model), gradients(expected), rtol=1e-5, atol=1e-8)
    optim.SGD(model.parameters(), lr=0.1).step()


@pytest.mark.parametrize("mode", ["eval", "no_grad"])
def test_the_gradient_of_an_output_that_was_not_saved(mode):
    """A criterion in training mode, a validation between forward and backward: it holds the
    gradient of the validation, which does not fit the call that is pending."""
    model, criterion = make(), nn.CrossEntropyLoss()
    criterion(model(x1), targets)
    if mode == "eval":
        model.eval()
        val = model(x2)
        model.train()
    else:
        with no_grad():
            val = model(x2)
    criterion(val, targets)
    with pytest.raises(RuntimeError, match="another forward call's output"):
        model.backward(criterion.backward())
    assert not gradients(model).any()


def test_a_validation_of_which_only_the_loss_is_known_is_found_before_the_step():
    """Model and criterion agree on the last call, but the first one is left."""
    model, criterion = make(), nn.CrossEntropyLoss()
    optimizer, before = optim.SGD(model.parameters(), lr=0.1), model.state_dict()
    criterion(model(x1), targets)
    criterion(model(x2), targets)
    model.backward(criterion.backward())
    with pytest.raises(RuntimeError, match="left an earlier one pending"):
        optimizer.step()
    assert all((value == before[name]).all() for name, value in model.state_dict().items())
    model.zero_grad()  # after that, everything is as at first
    criterion(model(x1), targets)
    model.backward(criterion.backward())
    np.testing.assert_array_equal(gradients(model), wanted(x1))
    optimizer.step()


@pytest.mark.parametrize(
    "layer",
    [
        nn.GRU(3, 3, seed=0),
        nn.GRUCell(3, 3),
        nn.Linear(3, 3),
        nn.LayerNorm(3),
        nn.ReLU(),
        nn.Dropout(0.1),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_backward_after_a_call_in_eval_mode_does_not_take_an_earlier_one(layer):
    layer(x1)
    layer.eval()(x2)
    with pytest.raises(RuntimeError, match="has saved nothing"):
        layer.backward(x1)
    layer.train().backward(x1)


def test_the_other_order_is_refused():
    model = make()
    losses = [nn.cross_entropy(model(x), targets)[1] for x in (x1, x2)]
    kept = [model(x) for x in (x1, x2)]
    grads = [nn.cross_entropy(y, targets)[1] for y in kept]
    with pytest.raises(RuntimeError, match="reverse order"):
        model.backward(grads[0])
    for grad in (*reversed(grads), *reversed(losses)):
        model.backward(grad)
    np.testing.assert_allclose(gradients(model), 2 * (wanted(x1) + wanted(x2)), rtol=1e-4)


def test_weights_of_samples_do_not_hide_the_call():
    model, criterion = make(), nn.CrossEntropyLoss(reduction="none")
    criterion(model(x1), targets)
    grad = criterion.backward(np.ones(5))
    model(x2)
    with pytest.raises(RuntimeError, match="another forward call's output"):
        model.backward(grad)


def test_an_output_may_be_a_gradient():
    """Of ½ Σ y²: the array that came out of one call is not the gradient of a loss of it."""
    layer = nn.Linear(3, 3, seed=0)
    y = layer(x1)
    layer(x2)
    assert layer.backward(y).shape == x2.shape
    layer.backward(y)


# -- exceptions ----------------------------------------------------------------------------


class Fails(nn.Module):
    """Raises in forward or backward when told to."""

    forward_fails = backward_fails = False

    def forward(self, x):
        if self.forward_fails:
            raise ArithmeticError("forward")
        return x

    def backward(self, grad):
        if self.backward_fails:
            raise ArithmeticError("backward")
        return grad


def fragile():
    model = make()
    model.insert(2, Fails())
    return model


def test_a_forward_call_that_raises_leaves_nothing_pending():
    model = fragile()
    model(x2)  # of this one everything stays
    model[2].forward_fails = True
    with pytest.raises(ArithmeticError):
        model(x1)
    model[2].forward_fails = False
    grad = nn.cross_entropy(model(x1), targets)[1]
    model.backward(grad)
    np.testing.assert_array_equal(gradients(model), wanted(x1))
    model.backward(0 * grad)
    with pytest.raises(RuntimeError, match="no forward call"):
        model.backward(grad)


def test_a_backward_that_raises_halfway_mixes_no_calls():
    model = fragile()
    model(x1)
    y = model(x2)
    model[2].backward_fails = True
    with pytest.raises(ArithmeticError):
        model.backward(y)
    model[2].backward_fails = False
    with pytest.raises(RuntimeError, match="no forward call"):
        model.backward(y)


def test_a_gradient_of_a_wrong_shape_leaves_the_calls():
    model = make()
    y = model(x1)
    with pytest.raises(RuntimeError, match="expected shape"):
        model.backward(y[1:])
    model.backward(nn.cross_entropy(y, targets)[1])
    np.testing.assert_array_equal(gradients(model), wanted(x1))


def test_a_batch_may_be_given_up():
    model, criterion = make(), nn.CrossEntropyLoss()
    criterion(model(x2), targets)
    for module in (model, criterion):
        module.forget_calls()
    with pytest.raises(RuntimeError, match="no forward call"):
        criterion.backward()
    criterion(model(x1), targets)
    model.backward(criterion.backward())
    optim.SGD(model.parameters(), lr=0.0).step()
    np.testing.assert_array_equal(gradients(model), wanted(x1))


# -- what still works ----------------------------------------------------------------------


def test_a_layer_that_stands_twice_in_a_model(rng):
    shared = nn.Linear(3, 3, seed=0, dtype="float64")
    model, x = nn.Sequential(shared, nn.Tanh(), shared), rng.normal(size=(4, 3))
    dy = rng.normal(size=(4, 3))
    dx = model.backward((model(x), dy)[1])
    w, b = shared.weight.data, shared.bias.data
    h = np.tanh(x @ w.T + b)
    dh = (dy @ w) * (1 - h * h)
    np.testing.assert_allclose(dx, dh @ w, rtol=1e-12)
    np.testing.assert_allclose(shared.weight.grad, dy.T @ h + dh.T @ x, rtol=1e-12)
    optim.SGD(model.parameters(), lr=0.1).step()


def test_a_loop_over_validation_with_one_criterion():
    """The criterion stays in training mode, as in many programs."""
    model, criterion = make(), nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    for _ in range(2):
        model.eval()
        for x in (x1, x2):
            criterion(model(x), targets)
        model.train()
        optimizer.zero_grad()
        criterion(model(x1), targets)
        model.backward(criterion.backward())
        optimizer.step()
        np.testing.assert_array_equal(gradients(model), wanted(x1))


def test_calls_of_one_model_do_not_stop_another_one():
    model, other = make(), make()
    model(x1)
    model.backward(model(x2))
    other.backward(other(x1))
    optim.SGD(other.parameters(), lr=0.1).step()
    for one in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        one(x1)
        one.backward(one(x2))
        with pytest.raises(RuntimeError, match="step: backward of LayerNorm, Linear has"):
            optim.SGD(one.parameters(), lr=0.1).step()
