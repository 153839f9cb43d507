"""Values that others have computed: a published worked example, the ONNX node cases."""

import numpy as np
import pytest

from fastseq import nn, optim


def test_lstm_worked_out_by_hand(build):
    """A. Gomez, "Backpropogating an LSTM: a numerical example", 2016: one cell, two steps."""
    lstm = nn.LSTM(2, 1, dtype="float64")
    lstm.load_state_dict({  # i, f, g, o
        "weight_ih_l0": [[0.95, 0.8], [0.7, 0.45], [0.45, 0.25], [0.6, 0.4]],
        "weight_hh_l0": [[0.8], [0.1], [0.15], [0.25]],
        "bias_ih_l0": [0.65, 0.15, 0.2, 0.1],
        "bias_hh_l0": np.zeros(4),
    })  # fmt: skip
    y, (_, c) = lstm(np.array([[1.0, 2.0], [0.5, 3.0]]))
    np.testing.assert_allclose(y[:, 0], [0.53631, 0.77198], atol=1e-5)
    assert c[0, 0] == pytest.approx(1.5176, abs=1e-4)
    lstm.backward(y - np.array([[0.5], [1.25]]))
    optim.SGD(lstm.parameters(), lr=0.1).step()
    expected = {
        "weight_ih_l0": [
            [0.95022, 0.80067],
            [0.70031, 0.45189],
            [0.45267, 0.25922],
            [0.60259, 0.41626],
        ],
        "weight_hh_l0": [[0.80006], [0.10034], [0.15104], [0.25297]],
        "bias_ih_l0": [0.65028, 0.15063, 0.20364, 0.10536],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(lstm, name).data, values, atol=1e-5, err_msg=name)


# -- ONNX --------------------------------------------------------------------------------------

ORDER = {"LSTM": "iofc", "GRU": "zrh", "RNN": "h"}  # of the gates in ONNX, and here:
OURS = {"LSTM": "ifco", "GRU": "rzh", "RNN": "h"}


def node_cases():
    """(name, attributes, inputs, outputs) of every node case that `nn` can express."""
    onnx = pytest.importorskip("onnx")
    from onnx.backend.test.case import node as registry
    from onnx.backend.test.case.node import gru, lstm, rnn  # noqa: F401  # importing registers

    cases = registry._NodeTestCases  # the public way imports all operators: ten seconds
    for case in cases:
        node = case.model.graph.node[0]
        if node.op_type not in ORDER:
            continue
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        (arrays, outputs), *_ = case.data_sets
        inputs = dict(zip([name for name in node.input if name], arrays, strict=True))
        names = [kind for kind, used in zip("yhc", node.output, strict=False) if used]
        if expressible(node.op_type, attributes, inputs):
            yield (
                case.name,
                node.op_type,
                attributes,
                inputs,
                dict(zip(names, outputs, strict=True)),
            )


def expressible(op, attributes, inputs):
    """No peepholes, and of the GRU the variant that resets after the product.

    In the first step from a zero state without recurrent bias both variants agree.
    """
    if op == "GRU" and not attributes.get("linear_before_reset", 0):
        steps = inputs["X"].shape[attributes.get("layout", 0)]
        recurrent_bias = np.split(inputs.get("B", np.zeros((1, 2))), 2, axis=1)[1]
        return steps == 1 and "initial_h" not in inputs and not recurrent_bias.any()
    return "P" not in inputs


def reorder(array, op):
    """Blocks of gates along the first axis, from ONNX's order to PyTorch's."""
    blocks = dict(zip(ORDER[op], np.split(array, len(ORDER[op])), strict=True))
    return np.concatenate([blocks[gate] for gate in OURS[op]])


def build_layer(op, attributes, inputs):
    """The layer with the case's weights; a lone reverse direction is the second of two."""
    direction = attributes.get("direction", b"forward").decode()
    layer = getattr(nn, op)(
        inputs["X"].shape[2],
        attributes["hidden_size"],
        bidirectional=direction != "forward",
        batch_first=bool(attributes.get("layout", 0)),
    )
    suffixes = {"forward": [""], "reverse": ["_reverse"], "bidirectional": ["", "_reverse"]}
    for d, suffix in enumerate(suffixes[direction]):
        width = inputs["W"].shape[1]
        b_ih, b_hh = np.split(inputs.get("B", np.zeros((2, 2 * width)))[d], 2)
        for name, value in (("weight_ih", inputs["W"][d]), ("weight_hh", inputs["R"][d]),
                            ("bias_ih", b_ih), ("bias_hh", b_hh)):  # fmt: skip
            getattr(layer, f"{name}_l0{suffix}").data = reorder(value, op)
    return layer, direction


def test_onnx_node_cases():
    count = 0
    for name, op, attributes, inputs, expected in node_cases():
        layer, direction = build_layer(op, attributes, inputs)
        y, state = layer(inputs["X"])
        chosen = slice(1, None) if direction == "reverse" else slice(None)
        finals = state if op == "LSTM" else (state,)
        H, batch_first = layer.hidden_size, layer.batch_first
        split = y.reshape(*y.shape[:2], -1, H)[:, :, chosen]
        got = {"y": split if batch_first else split.swapaxes(1, 2)}
        for kind, final in zip("hc", finals, strict=False):
            got[kind] = final[chosen].swapaxes(0, 1) if batch_first else final[chosen]
        for kind, value in expected.items():
            np.testing.assert_allclose(got[kind], value, rtol=1e-5, atol=1e-6, err_msg=name)
        count += 1
    assert count >= 12
