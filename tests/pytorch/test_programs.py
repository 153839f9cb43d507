"""What programs do with PyTorch's modules, they do with patched ones."""

import copy
import gc
import io
import pickle
import subprocess
import sys
import threading
import warnings

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations, parametrize  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import fastseq.torch  # noqa: E402
from fastseq import backend  # noqa: E402
from fastseq.torch import functions, network, replay  # noqa: E402

pytestmark = pytest.mark.usefixtures("every_size")
KINDS = [nn.LSTM, nn.GRU, nn.RNN]
CELLS = [nn.LSTMCell, nn.GRUCell, nn.RNNCell]


class Tagger(nn.Module):
    """Layers around a recurrent one."""

    def __init__(self, kind=nn.LSTM, **options):
        super().__init__()
        self.below = nn.Linear(5, 6)
        self.rnn = kind(6, 7, batch_first=True, **options)
        self.above = nn.Linear(7, 3)

    def forward(self, x):
        return self.above(self.rnn(self.below(x))[0])


@pytest.fixture(params=["patched", "enabled"])
def on_kernels(request):
    """Makes a model run on the kernels, in one way or the other."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "enabled":
            for place in (torch._VF, torch):
                for name, function in fastseq.torch.modules.FUNCTIONS.items():
                    patch.setattr(place, name, function)
        yield (lambda m: m) if request.param == "enabled" else patched


def patched(model):
    fastseq.torch.patch(model)
    return model


def where(call):
    """The result of a call, and where its recurrent calls have run."""
    seen = []
    with functions.watch(lambda _, why: seen.append(why or "fastseq")):
        result = call()
    return result, seen


def batch(**options):
    torch.manual_seed(1)
    return torch.randn(3, 4, 5, **options)


def gradients(model, x):
    model.zero_grad()
    model(x).square().sum().backward()
    return [p.grad.clone() for p in model.parameters()]


# -- what the kernels do not take ---------------------------------------------------------------


def compiled(model, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch._dynamo.reset()
        return torch.compile(model, backend="eager")(x)


def exported(model, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(model, (x,)).module()(x)


def strictly_exported(model, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(model, (x,), strict=True).module()(x)


def traced(model, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(model, x, check_trace=False)(x)


def scripted(model, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(model)(x)


def autocast(model, x):
    with torch.autocast("cpu", torch.bfloat16):
        return model(x).float()


def half(model, x):
    return copy.deepcopy(model).bfloat16()(x.bfloat16()).float()


def functional_gradient(model, x):
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters):
        return torch.func.functional_call(model, parameters, (x,)).sum()

    return torch.func.grad(loss)(parameters)["rnn.weight_hh_l0"]


def counted(model, x):
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False):
        return model(x)


def empty(model, x):
    return model(x[:0])


OTHERS = {
    "compiled": compiled, "exported": exported, "strictly exported": strictly_exported,
    "traced": traced, "scripted": scripted, "autocast": autocast, "half": half,
    "functional": functional_gradient, "counted": counted, "empty": empty,
}  # fmt: skip


@pytest.mark.parametrize("way", OTHERS)
def test_pytorch_runs_what_kernels_cannot(way, on_kernels):
    model, x = Tagger(), batch()
    expected = OTHERS[way](copy.deepcopy(model), x)
    got, ran = where(lambda: OTHERS[way](on_kernels(model), x))
    torch.testing.assert_close(got, expected)
    assert "fastseq" not in ran


@pytest.mark.parametrize("device", ["meta"])
def test_other_devices(device, on_kernels):
    model = on_kernels(Tagger().to(device))
    got, ran = where(lambda: model(batch().to(device)))
    assert got.device.type == device
    assert ran == ["device meta"]


def test_traced_symbolically(on_kernels):
    graph = torch.fx.symbolic_trace(on_kernels(Tagger()))
    x = batch()
    torch.testing.assert_close(graph(x), Tagger.forward(graph, x))
    assert [n.target for n in graph.graph.nodes if n.op == "call_module"] == [
        "below", "rnn", "above",
    ]  # fmt: skip


def test_exported_to_onnx(on_kernels):
    pytest.importorskip("onnx")
    files = []
    for model in (Tagger(), on_kernels(Tagger())):
        torch.manual_seed(0)
        for p in model.parameters():
            nn.init.normal_(p)
        files.append(io.BytesIO())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(model, (batch(),), files[-1], dynamo=False)
    assert files[0].getvalue() == files[1].getvalue()


BAD = {
    "too wide": lambda m: m(torch.randn(3, 4, 5)),
    "one axis": lambda m: m(torch.randn(6)),
    "other type": lambda m: m(torch.randn(3, 4, 6).double()),
    "state of another batch": lambda m: m(torch.randn(3, 4, 6), torch.zeros(1, 5, 7)),
    "flat state": lambda m: m(torch.randn(3, 4, 6), torch.zeros(3, 7)),
    "state of another type": lambda m: m(torch.randn(3, 4, 6), torch.zeros(1, 3, 7).double()),
    "no steps": lambda m: m(torch.randn(3, 0, 6)),
    "integers": lambda m: m(torch.zeros(3, 4, 6, dtype=torch.int64)),
    "no tensor": lambda m: m([1.0]),
}


@pytest.mark.parametrize("bad", BAD)
def test_errors_are_those_of_pytorch(bad, on_kernels):
    module = nn.GRU(6, 7, batch_first=True)
    with pytest.raises(Exception) as expected:  # noqa: PT011
        BAD[bad](module)
    with pytest.raises(type(expected.value)) as got:
        BAD[bad](on_kernels(module))
    assert str(got.value) == str(expected.value)


@pytest.mark.parametrize("arguments", [(), (1,), (torch.randn(3, 4, 6), [], [], True, 1)])
def test_functions_refuse_what_those_of_pytorch_refuse(arguments):
    with pytest.raises(TypeError) as expected:
        torch.gru(*arguments)
    with fastseq.torch.enabled(), pytest.raises(TypeError) as got:
        torch.gru(*arguments)
    assert str(got.value) == str(expected.value)


@pytest.mark.parametrize("function", [fastseq.torch.patch, fastseq.torch.unpatch])
@pytest.mark.parametrize("model", [Tagger, "tagger.pt"])
def test_what_is_no_module_is_refused_by_name(function, model):
    with pytest.raises(TypeError, match=r"model: expected a torch\.nn\.Module, got .*agger"):
        function(model)


def test_without_pytorch_the_error_tells_what_to_install():
    program = "import sys; sys.modules['torch'] = None; import fastseq.torch"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.endswith("needs PyTorch: pip install 'fastseq-rnn[torch]'\n")


# -- classes, copies, pickles -------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*KINDS, *CELLS])
def test_classes(kind):
    ours = getattr(fastseq.torch, kind.__name__)
    module = ours(3, 4)
    assert isinstance(module, kind)
    assert type(module) == kind  # noqa: E721
    assert type(module) in {kind: 1}
    assert type(module) is not kind
    assert repr(module) == repr(kind(3, 4))
    assert module.state_dict().keys() == kind(3, 4).state_dict().keys()
    assert fastseq.torch.unpatch(module) == 1
    assert type(module) is kind
    assert fastseq.torch.patch(module) == 1
    assert fastseq.torch.patch(module) == 0


def test_derived_classes_are_left_alone():
    class Own(nn.LSTM):
        pass

    model = nn.Sequential(Own(3, 4), nn.LSTM(3, 4))
    assert fastseq.torch.patch(model) == 1
    assert type(model[0]) is Own


@pytest.mark.parametrize("kind", [*KINDS, *CELLS])
def test_pickles_name_the_classes_of_pytorch(kind):
    module = patched(kind(3, 4))
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        written = pickle.dumps(module, protocol)
        assert b"fastseq" not in written
        loaded = pickle.loads(written)
        assert type(loaded) is kind
        for a, b in zip(loaded.parameters(), module.parameters(), strict=True):
            assert torch.equal(a, b)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    assert type(torch.load(file, weights_only=False)) is kind


def test_copies_stay_patched_and_independent():
    model = patched(Tagger(num_layers=2))
    model.rnn.weight_hh_l1 = model.rnn.weight_hh_l0  # tied
    twin = copy.deepcopy(model)
    assert type(twin.rnn) is type(model.rnn)
    assert twin.rnn.weight_hh_l1 is twin.rnn.weight_hh_l0
    before = twin(batch())
    with torch.no_grad():
        model.rnn.weight_hh_l0.zero_()
    torch.testing.assert_close(twin(batch()), before)
    assert not torch.allclose(model(batch()), before)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRUCell])
def test_shallow_copies_stay_patched_and_share(kind):
    layer = patched(kind(3, 4))
    twin = copy.copy(layer)
    assert type(twin) is type(layer)
    assert list(map(id, twin.parameters())) == list(map(id, layer.parameters()))
    torch.testing.assert_close(twin(torch.ones(5, 3)), layer(torch.ones(5, 3)))


def test_parametrized_modules():
    def make(module):
        parametrizations.weight_norm(module, "weight_hh_l0")
        return module

    model = nn.GRU(5, 7)
    ours = make(patched(copy.deepcopy(model)))
    twin = copy.deepcopy(ours)
    expected = gradients_of_layer(make(model))
    torch.testing.assert_close(gradients_of_layer(ours), expected)
    torch.testing.assert_close(gradients_of_layer(twin), expected)
    assert parametrize.is_parametrized(twin)


def gradients_of_layer(module):
    _, ran = where(lambda: module(batch())[0].square().sum().backward())
    assert ran in ([], ["fastseq"])
    return [p.grad for p in module.parameters()]


def test_quantisation_finds_patched_layers():
    model = patched(Tagger())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(model, {nn.LSTM, nn.Linear})
        torch.testing.assert_close(quantised(batch()), model(batch()), atol=0.1, rtol=0.1)
    assert "DynamicQuantizedLSTM" in repr(quantised)


def test_replicas_of_data_parallel():
    model = patched(Tagger())
    replica = model.rnn._replicate_for_data_parallel()
    x = torch.randn(3, 4, 6)
    torch.testing.assert_close(replica(x)[0], model.rnn(x)[0])


# -- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints(reentrant, on_kernels):
    model = on_kernels(Tagger())
    expected = gradients(model, batch(requires_grad=True))
    x = batch(requires_grad=True)
    model.zero_grad()
    checkpoint(model, x, use_reentrant=reentrant).square().sum().backward()
    torch.testing.assert_close([p.grad for p in model.parameters()], expected)


def test_a_checkpoint_keeps_nothing():
    """What a call has saved goes through the hooks, which drop it until it is needed."""
    packed = []
    model, x = patched(Tagger()), batch(requires_grad=True)

    def pack(tensor):
        packed.append(tensor.shape)
        return tensor.clone()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = model.rnn(model.below(x))[0]
    assert torch.Size((12, 28)) in packed  # the gates
    y.sum().backward()


def test_weights_restored_by_hooks():
    """Gradients come from the weights as the hooks give them back."""
    model, x = patched(nn.GRU(5, 7)), batch(requires_grad=True)
    expected = torch.autograd.grad(model(x)[0].sum(), [x, *model.parameters()])
    with torch.autograd.graph.save_on_cpu():
        y = model(x)[0]
    torch.testing.assert_close(torch.autograd.grad(y.sum(), [x, *model.parameters()]), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "dropout": 0.5}, {"bidirectional": True}]
)
def test_second_derivatives(kind, options):
    module = patched(kind(2, 3, dtype=torch.float64, **options))
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)

    def run(x, *_):
        torch.manual_seed(0)
        return module(x)[0].tanh()

    assert torch.autograd.gradgradcheck(run, (x, *module.parameters()))


@pytest.mark.parametrize("kind", CELLS)
def test_second_derivatives_of_cells(kind):
    module = patched(kind(2, 3, dtype=torch.float64))
    x = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x, *_: module(x), (x, *module.parameters()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("create_graph", [False, True])
def test_many_gradients_at_once(kind, create_graph):
    layer = kind(3, 4, 2, bidirectional=True).double()
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    found = []
    for module in (layer, patched(copy.deepcopy(layer))):
        jacobian = torch.autograd.functional.jacobian(
            lambda x, module=module: module(x)[0], x, create_graph, vectorize=True
        )
        assert jacobian.requires_grad == create_graph
        found.append(jacobian.detach())
    torch.testing.assert_close(*found)


def test_second_derivatives_in_two_threads_leave_onednn_on():
    def hold(begun, end):
        with replay._without_onednn:
            begun.set()
            end.wait(10)

    running = []
    for _ in range(2):
        begun, end = threading.Event(), threading.Event()
        thread = threading.Thread(target=hold, args=(begun, end))
        thread.start()
        assert begun.wait(10)
        running.append((thread, end))
    for thread, end in running:  # the first to begin ends first
        assert not torch._C._get_mkldnn_enabled()
        end.set()
        thread.join()
    assert torch._C._get_mkldnn_enabled()


def test_errors_about_changes_in_place():
    model, x = patched(nn.LSTM(5, 7)), batch(requires_grad=True)
    y = model(x.clone())[0]
    with torch.no_grad():
        model.weight_hh_l0.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_weights_of_another_type_before_backward_are_refused():
    layer = patched(nn.GRU(3, 4))
    y, _ = layer(torch.randn(5, 2, 3))
    layer.half()
    with pytest.raises(RuntimeError, match=r"have changed their type.*dtype float16"):
        y.sum().backward()


def test_outputs_may_be_changed_in_place():
    model, x = patched(nn.RNN(5, 7)), batch(requires_grad=True)
    expected = torch.autograd.grad((3 * model(x)[0]).sum(), [x, *model.parameters()])
    y, h = model(x)
    y *= 3
    h.zero_()
    torch.testing.assert_close(torch.autograd.grad(y.sum(), [x, *model.parameters()]), expected)


def test_a_graph_that_is_not_kept_is_freed():
    y = patched(nn.GRU(5, 7))(batch())[0]
    y.sum().backward()
    with pytest.raises(RuntimeError, match="a second time"):
        y.sum().backward()


def test_only_gradients_that_are_wanted(monkeypatch):
    model = patched(nn.LSTM(5, 7))
    model.weight_ih_l0.requires_grad_(False)
    model.bias_hh_l0.requires_grad_(False)
    seen = []
    backward = network.Stack.backward

    def spy(self, call, dy, dstates, dx, **options):
        seen.append((dx, options["weights"][0]))
        backward(self, call, dy, dstates, dx, **options)

    monkeypatch.setattr(network.Stack, "backward", spy)
    model(batch())[0].sum().backward()
    dx, weights = seen[0]
    assert dx is None
    assert [w is None for w in weights] == [True, False, False, True, True]
    assert model.weight_ih_l0.grad is None


def test_gradients_are_handed_over_without_a_copy(monkeypatch):
    model = patched(nn.GRU(5, 7))
    made = []
    gradients = network.Network.gradients

    def spy(self, weights, wanted):
        result = gradients(self, weights, wanted)
        made.extend(t.data_ptr() for t in result.tensors)
        return result

    monkeypatch.setattr(network.Network, "gradients", spy)
    model(batch())[0].sum().backward()
    assert [p.grad.data_ptr() for p in model.parameters()] == made
    assert model.bias_ih_l0.grad.data_ptr() != model.bias_hh_l0.grad.data_ptr()


def test_hooks_and_optimizers(on_kernels):
    results = []
    start = Tagger().state_dict()
    for place in (lambda m: m, on_kernels):
        model, seen = Tagger(), []
        model.load_state_dict(start)
        model = place(model)
        model.rnn.register_forward_hook(
            lambda m, i, o, seen=seen: seen.append(float(o[0].detach().sum()))
        )
        model.rnn.register_full_backward_hook(lambda m, i, o, seen=seen: seen.append(0.0))
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)

        def closure(model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = model(batch(requires_grad=True)).square().sum()
            loss.backward()
            return loss

        results.append((float(optimizer.step(closure).detach()), len(seen), seen[0]))
    assert results[0][1] == results[1][1]
    torch.testing.assert_close(results[1][2], results[0][2])
    assert results[1][0] == pytest.approx(results[0][0], rel=1e-5)


def test_functional_call(on_kernels):
    model, x = on_kernels(Tagger()), batch()
    other = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    got, ran = where(lambda: torch.func.functional_call(model, other, (x,)))
    model.load_state_dict(other)
    torch.testing.assert_close(got, model(x))
    assert ran == ["fastseq"]


def test_weights_given_to_the_function():
    """As weight drop does: weights that are results of other operations."""
    module, x = nn.LSTM(5, 7), batch()
    raw = module.weight_hh_l0
    results = []
    for place in (fastseq.torch.disable, fastseq.torch.enable):
        place()
        try:
            torch.manual_seed(0)
            dropped = nn.functional.dropout(raw, 0.5)
            weights = [module.weight_ih_l0, dropped, module.bias_ih_l0, module.bias_hh_l0]
            hx = (torch.zeros(1, 4, 7), torch.zeros(1, 4, 7))
            y, *_ = torch._VF.lstm(x, hx, weights, True, 1, 0.0, True, False, False)
            results.append(torch.autograd.grad(y.square().sum(), raw)[0])
        finally:
            fastseq.torch.disable()
    torch.testing.assert_close(results[0], results[1])


# -- memory and threads -------------------------------------------------------------------------


def test_weights_may_move():
    """A layer reads the weights that it has at the call, wherever they are."""
    model, x = patched(nn.GRU(5, 7)), batch()
    for change in (
        lambda w: setattr(w, "data", torch.randn_like(w)),
        lambda w: w.data.mul_(2),
        lambda w: setattr(w, "data", w.data.t().contiguous().t()),
    ):
        model(x)
        with torch.no_grad():
            change(model.weight_hh_l0)
        twin = nn.GRU(5, 7)
        twin.load_state_dict(model.state_dict())
        torch.testing.assert_close(model(x), twin(x))


def test_memory_of_weights_may_be_freed_and_come_back():
    """As FSDP does between the forward and the backward pass."""
    layer = patched(nn.LSTM(3, 4))
    x, before = torch.randn(5, 2, 3, requires_grad=True), copy.deepcopy(layer.state_dict())
    expected = torch.autograd.grad(layer(x)[0].sum(), x)[0]
    y, _ = layer(x)
    for name, weight in layer.named_parameters():
        storage, size = weight.untyped_storage(), weight.nbytes
        storage.resize_(0)
        storage.resize_(size)
        weight.data.copy_(before[name])
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], expected)


def test_networks_of_layers_that_are_gone_are_forgotten():
    before = len(network._known)
    for _ in range(5):
        patched(nn.GRU(5, 7))(batch())
    gc.collect()
    assert len(network._known) <= before


def test_threads_on_one_layer():
    model, x = patched(Tagger(num_layers=2)), batch()
    expected, results = gradients(model, x), []

    def work():
        for _ in range(20):
            y = model(x).square().sum()
            results.append(torch.autograd.grad(y, list(model.parameters())))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    for found in results:
        torch.testing.assert_close(list(found), expected)


def test_number_of_threads_is_that_of_pytorch():
    model, before = patched(nn.GRU(5, 7)), torch.get_num_threads()
    try:
        for count in (3, 1):
            torch.set_num_threads(count)
            model(batch())
            assert backend.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
        model(batch())


# -- the whole process --------------------------------------------------------------------------


def test_enable_and_disable():
    module, x = nn.GRU(5, 7), batch()
    assert not fastseq.torch.is_enabled()
    with fastseq.torch.enabled():
        with fastseq.torch.enabled():
            assert where(lambda: module(x))[1] == ["fastseq"]
        assert fastseq.torch.is_enabled()
    assert not fastseq.torch.is_enabled()
    assert where(lambda: module(x))[1] == []
    assert torch.gru is torch._VF.gru is torch._C._VariableFunctions.gru


def test_explain():
    class Own(nn.GRU):
        pass

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.own, self.rnn, self.cell = Own(5, 6), nn.LSTM(6, 7), nn.GRUCell(7, 8)
            self.norm = nn.BatchNorm1d(7)

        def forward(self, x):
            y, h = self.norm(self.rnn(self.own(x)[0])[0].transpose(1, 2)), None
            for step in y.permute(2, 0, 1):
                h = self.cell(step, h)
            return h

    model, x = Model(), batch()
    assert {row.where for row in fastseq.torch.explain(model, x)} == {"torch"}
    fastseq.torch.patch(model)
    random = torch.get_rng_state()
    found = fastseq.torch.explain(model, x)
    assert [(r.module, r.function, r.where, r.calls) for r in found] == [
        ("own", "Own", "torch", 1), ("rnn", "lstm", "fastseq", 1),
        ("cell", "gru_cell", "fastseq", 4),
    ]  # fmt: skip
    assert "derived class" in str(found)
    assert torch.equal(model.norm.running_mean, torch.zeros(7))
    assert torch.equal(torch.get_rng_state(), random)
    with fastseq.torch.enabled():
        assert fastseq.torch.explain(model, x)[0].where == "fastseq"
        assert fastseq.torch.explain(model.half(), x.half())[0].why == "dtype float16"
    assert str(fastseq.torch.explain(nn.Linear(5, 5), x)) == "no recurrent layer has run"
