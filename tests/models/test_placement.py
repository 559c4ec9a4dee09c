"""Placing models on devices, and loading them there tensor by tensor."""

from __future__ import annotations

import itertools
from contextlib import contextmanager

import pytest
import torch
from accelerate import dispatch_model
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import (
    CPU,
    FAMILIES,
    MORE_FAMILIES,
    UNLISTED_FAMILIES,
    batch_of,
    build_base,
    config_of,
    loaded_of,
    model_of,
    snapshot,
)
from torch._subclasses.fake_tensor import FakeTensorMode

from sdi_gate.errors import StorageError, UsageError
from sdi_gate.models.activations import logits
from sdi_gate.models.causal_lm import (
    LoadingChanges,
    decoder_layers,
    load_model,
    place_model,
)
from sdi_gate.models.hessian import curvature_products, parameters_of
from sdi_gate.models.matrices import read_tokens
from sdi_gate.models.opening import open_model
from sdi_gate.models.placement import Placement, spread
from sdi_gate.models.skeleton import build_meta, describe
from sdi_gate.models.weights import Checkpoint

EVERY = (*FAMILIES, *MORE_FAMILIES, *UNLISTED_FAMILIES)
GPUS = tuple(torch.device("cuda", index) for index in range(4))
# Known to torch without a driver, and told apart by pretended tensors.
FIRST, SECOND = torch.device("lazy", 0), torch.device("lazy", 1)


def skeleton_of(family="llama", **changes):
    return describe(build_meta(config_of(family, **changes)))


def spread_over(skeleton, rooms, dtype=torch.float32):
    return spread(
        skeleton, decoder_layers(skeleton.model), dict(zip(GPUS, rooms, strict=False)), dtype
    )


def weights_on(skeleton, placement, itemsize=4):
    """Return the bytes of weights on each device."""
    held = dict.fromkeys(placement.devices.values(), 0)
    for name, tensor in skeleton.model.state_dict().items():
        if name in skeleton.shapes:
            held[placement.device_of(name)] += tensor.numel() * itemsize
    return held


def total_of(skeleton, itemsize=4):
    return sum(skeleton.model.state_dict()[name].numel() for name in skeleton.shapes) * itemsize


# What a placement says.


def test_one_device_holds_every_part():
    placement = Placement.on(CPU)
    assert placement.device_of("model.layers.0.mlp.up_proj.weight") == CPU
    assert placement.input_device == CPU
    assert not placement.is_split


def test_the_longest_name_says_where_a_weight_lies():
    placement = Placement(devices={"a": GPUS[0], "a.b": GPUS[1], "a.bc": GPUS[2]})
    assert placement.device_of("a.x.weight") == GPUS[0]
    assert placement.device_of("a.b.weight") == GPUS[1]
    assert placement.device_of("a.bc.weight") == GPUS[2]
    assert placement.input_device == GPUS[0]
    assert placement.is_split
    with pytest.raises(UsageError, match=r"'b\.weight' is placed nowhere"):
        placement.device_of("b.weight")


@pytest.mark.parametrize(
    ("devices", "says"),
    [
        ({}, "names no device"),
        ({"": torch.device("meta")}, "'the model' is placed on .*meta.*nothing can be run"),
        ({"a": CPU, "b": "disk"}, "'b' is placed on 'disk'"),
        ({"a": GPUS[0], "b": CPU}, "devices of 2 types: cpu, cuda"),
    ],
    ids=["none", "meta", "disk", "mixed"],
)
def test_a_place_where_nothing_is_run_is_refused(devices, says):
    with pytest.raises(UsageError, match=says):
        Placement(devices=devices)


# Which placement is chosen.


def test_a_model_that_fits_on_one_device_is_not_cut():
    skeleton = skeleton_of()
    room = total_of(skeleton) + 1000
    assert spread_over(skeleton, [room] * 4) == Placement.on(GPUS[0])


def test_a_device_without_room_is_left_out():
    skeleton = skeleton_of()
    assert spread_over(skeleton, [0, total_of(skeleton) + 1000]) == Placement.on(GPUS[1])


def test_parts_lie_in_the_order_in_which_a_pass_meets_them():
    skeleton = skeleton_of(num_hidden_layers=6)
    placement = spread_over(skeleton, [total_of(skeleton) // 2] * 4)
    assert [*placement.devices] == [
        "model.embed_tokens",
        "model.rotary_emb",
        *(f"model.layers.{index}" for index in range(6)),
        "model.norm",
        "lm_head",
    ]
    order = [GPUS.index(device) for device in placement.devices.values()]
    assert order == sorted(order)
    assert placement.input_device == GPUS[0]
    assert set(order) == {0, 1, 2}


def test_a_weight_of_half_the_size_takes_half_the_room():
    skeleton = skeleton_of(num_hidden_layers=6)
    room = total_of(skeleton, 2) + 1000
    assert not spread_over(skeleton, [room] * 4, torch.bfloat16).is_split
    assert spread_over(skeleton, [room] * 4, torch.float32).is_split


def least_share(sizes, rooms):
    """Try every way to cut a list into consecutive pieces, none of them for a device too many."""
    best = None
    for cuts in itertools.combinations_with_replacement(range(len(sizes) + 1), len(rooms) - 1):
        ends = [0, *cuts, len(sizes)]
        pieces = [sum(sizes[a:b]) for a, b in itertools.pairwise(ends)]
        share = max(piece / room for piece, room in zip(pieces, rooms, strict=True))
        best = share if best is None else min(best, share)
    return best


@given(
    layers=st.integers(1, 6),
    shares=st.lists(st.floats(0.05, 1.2), min_size=1, max_size=3),
    family=st.sampled_from(["llama", "gemma", "gpt2", "opt"]),
)
def test_no_way_to_cut_fills_the_devices_less_and_none_is_overfull(layers, shares, family):
    changes = {"n_layer": layers} if family == "gpt2" else {"num_hidden_layers": layers}
    skeleton = skeleton_of(family, **changes)
    total = total_of(skeleton) + 64  # rotary frequencies
    rooms = [int(share * total) for share in shares]
    try:
        placement = spread_over(skeleton, rooms)
    except StorageError as error:
        assert "no room for the weights" in error.message  # noqa: PT017 - both are lawful
        placement = None
    stack = skeleton.model.transformer.h if family == "gpt2" else decoder_layers(skeleton.model)
    one = sum(parameter.numel() for parameter in stack[0].parameters()) * 4
    rest = total_of(skeleton) - one * layers
    tail = sum(
        skeleton.model.state_dict()[name].numel() * 4
        for name in skeleton.shapes
        if name.startswith(("model.norm", "lm_head", "transformer.ln_f"))
    )
    sizes = [rest - tail, *[one] * layers, tail]
    possible = least_share(sizes, rooms)
    if placement is None:
        assert possible > 1 - 64 / min(rooms)
        return
    held = weights_on(skeleton, placement)
    assert all(held[device] <= rooms[GPUS.index(device)] for device in held)
    count = max(GPUS.index(device) for device in held) + 1
    found = max(held[device] / rooms[GPUS.index(device)] for device in held)
    assert found <= least_share(sizes, rooms[:count]) + 128 / min(rooms[:count]) + 1e-5
    assert count == 1 or least_share(sizes, rooms[: count - 1]) > 1 - 64 / min(rooms[: count - 1])


@pytest.mark.parametrize("family", EVERY)
def test_every_weight_of_every_family_is_placed_and_no_layer_is_cut(family):
    skeleton = skeleton_of(family)
    placement = spread_over(skeleton, [int(total_of(skeleton) * 0.8)] * 4)
    assert placement.is_split
    held = weights_on(skeleton, placement)
    assert sum(held.values()) == total_of(skeleton)
    names = {id(part): name for name, part in skeleton.model.named_modules()}
    for layer in decoder_layers(skeleton.model):
        name = names[id(layer)]
        within = {placement.device_of(f"{name}.{key}") for key, _ in layer.named_parameters()}
        assert len(within) == 1


@pytest.mark.parametrize("family", ["gemma", "gpt2", "opt"])
def test_a_tied_head_lies_where_the_embedding_does(family):
    skeleton = skeleton_of(family)
    placement = spread_over(skeleton, [int(total_of(skeleton) * 0.8)] * 2)
    assert placement.is_split
    [(head, embedding)] = skeleton.tied.items()
    assert placement.device_of(head) == placement.device_of(embedding) == placement.input_device


def test_layers_that_share_a_weight_stay_together():
    model = build_meta(config_of("llama", num_hidden_layers=4))
    name = "model.layers.3.mlp.up_proj.weight"
    model.all_tied_weights_keys = {name: "model.layers.0.mlp.up_proj.weight"}
    model.model.layers[3].mlp.up_proj.weight = model.model.layers[0].mlp.up_proj.weight
    skeleton = describe(model)
    total = total_of(skeleton)
    assert spread_over(skeleton, [total + 1000]) == Placement.on(GPUS[0])
    with pytest.raises(StorageError, match="cannot be parted"):
        spread_over(skeleton, [total * 3 // 4] * 2)


def test_a_model_without_layers_is_not_cut():
    skeleton = skeleton_of()
    rooms = {device: total_of(skeleton) * 3 // 4 for device in GPUS}
    with pytest.raises(StorageError, match="cannot be parted"):
        spread(skeleton, (), rooms, torch.float32)


def test_a_parameter_beside_the_layers_goes_with_the_inputs():
    model = build_meta(config_of("llama"))
    model.model.register_parameter("offset", torch.nn.Parameter(torch.empty(4, device="meta")))
    skeleton = describe(model)
    placement = spread_over(skeleton, [int(total_of(skeleton) * 0.8)] * 2)
    assert placement.device_of("model.offset") == placement.input_device


def test_weights_that_do_not_fit_are_refused_with_what_is_missing():
    skeleton = skeleton_of()
    with pytest.raises(StorageError, match=r"needed 0\.0 GB.* there are 0\.0 GB on 2 devices") as e:
        spread_over(skeleton, [total_of(skeleton) // 3] * 2)
    assert "--tier weights" in e.value.hint


def test_an_open_model_is_placed_by_its_configuration(tmp_path):
    opened = open_model(snapshot(build_base(tmp_path / "m")))
    size = opened.num_parameters * 4
    rooms = dict.fromkeys(GPUS[:2], int(size * 0.8))
    assert place_model(opened, rooms, torch.float32).is_split
    assert not place_model(opened, rooms, torch.bfloat16).is_split


# Loading there.


def test_a_placement_of_one_device_loads_what_the_device_loads(tmp_path):
    opened = open_model(snapshot(build_base(tmp_path / "m")))
    one = load_model(opened, CPU, torch.float32)
    other = load_model(opened, Placement.on(CPU), torch.float32)
    assert one.input_device == other.input_device == CPU
    assert torch.equal(logits(one, batch_of(5)), logits(other, batch_of(5)))


def test_parts_of_one_device_are_one_device(tmp_path):
    opened = open_model(snapshot(build_base(tmp_path / "m")))
    loaded = load_model(opened, Placement(devices={"model": CPU, "lm_head": CPU}), torch.float32)
    assert not hasattr(loaded.model, "_hf_hook")
    assert logits(loaded, batch_of(5)).isfinite().all()


@pytest.mark.parametrize(
    ("devices", "says"),
    [
        ({"model": GPUS[0]}, r"'lm_head\.weight' is placed nowhere"),
        ({"model": GPUS[0], "lm_head": GPUS[1]}, r"'lm_head\.weight' is placed on cuda:1 and is"),
    ],
    ids=["left out", "tied apart"],
)
def test_a_placement_that_does_not_fit_the_model_is_refused(tmp_path, devices, says):
    tied = "tied" in says or "and is" in says
    opened = open_model(snapshot(build_base(tmp_path / "m", tie_word_embeddings=tied)))
    with pytest.raises(UsageError, match=says):
        load_model(opened, Placement(devices=devices), torch.float32)


@contextmanager
def pretending():
    """Let tensors have devices and no memory, and every mixture of devices be an error."""
    with pytest.MonkeyPatch.context() as patch, FakeTensorMode(allow_non_fake_inputs=True):
        # Threads of transformers' would not know that tensors are pretended.
        patch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "1")
        patch.setattr(Checkpoint, "read", lambda _self, info: torch.zeros(info.shape))
        # Pretended tensors have no address, by which accelerate tells tied ones: all would be one.
        patch.setattr("accelerate.big_modeling.find_tied_parameters", lambda _model: [])
        yield


def second_derivative(loaded, device):
    ids = torch.zeros(2, 6, dtype=torch.int64, device=device)
    found = loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    assert found.device == device
    tensors = [*parameters_of(loaded).values()]
    loss = found.log_softmax(-1).square().mean()
    gradient = torch.autograd.grad(loss, tensors, create_graph=True, materialize_grads=True)
    pushed = [torch.ones_like(tensor) for tensor in tensors]
    return torch.autograd.grad(gradient, tensors, pushed, materialize_grads=True)


# Of each kind: untied and tied heads, learned positions, Conv1D, a stack
# with an odd order. Experts ask how many tokens they have, which a pretended tensor cannot tell.
PRETENDABLE = ("llama", "gemma2", "gpt2", "opt", "bloom")


NO_ADDRESS = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")


@NO_ADDRESS
@pytest.mark.parametrize("family", PRETENDABLE)
def test_two_devices_load_run_and_differentiate_twice(tmp_path, family):
    opened = open_model(snapshot(build_base(tmp_path / family, family=family)))
    size = opened.num_parameters * 4
    placement = place_model(opened, dict.fromkeys((FIRST, SECOND), int(size * 0.8)), torch.float32)
    with pretending():
        loaded = load_model(opened, placement, torch.float32)
        states = []
        for layer in loaded.layers:
            layer.register_forward_hook(lambda _m, _a, output: states.append(output))
        products = second_derivative(loaded, FIRST)
    where = {name: parameter.device for name, parameter in loaded.model.named_parameters()}
    assert where == {name: placement.device_of(name) for name in where}
    assert set(where.values()) == {FIRST, SECOND}
    assert loaded.input_device == placement.input_device == FIRST
    assert [product.device for product in products] == [*where.values()]
    found = [state if isinstance(state, torch.Tensor) else state[0] for state in states]
    assert [state.device for state in found] == [next(p.parameters()).device for p in loaded.layers]


BODY = ("model.layers", "model.norm")
ENDS = ("model.embed_tokens", "model.rotary_emb", "lm_head")


@NO_ADDRESS
@pytest.mark.parametrize(("ends", "body"), [(FIRST, SECOND), (SECOND, FIRST)])
def test_inputs_go_to_the_first_device_whatever_the_order_of_a_set(tmp_path, ends, body):
    opened = open_model(snapshot(build_base(tmp_path / "m")))
    placement = Placement(devices=dict.fromkeys(ENDS, ends) | dict.fromkeys(BODY, body))
    with pretending():
        loaded = load_model(opened, placement, torch.float32)
    assert loaded.model._hf_hook.execution_device == ends
    assert loaded.input_device == ends


@NO_ADDRESS
def test_a_head_that_is_untied_stays_on_its_device(tmp_path):
    opened = open_model(snapshot(build_base(tmp_path / "m", tie_word_embeddings=True)))
    placement = Placement(devices=dict.fromkeys(ENDS, FIRST) | dict.fromkeys(BODY, SECOND))
    changes = LoadingChanges(untied=frozenset({"lm_head.weight"}))
    with pretending():
        loaded = load_model(opened, placement, torch.float32, changes)
        products = second_derivative(loaded, FIRST)
    assert loaded.model.lm_head.weight is not loaded.model.model.embed_tokens.weight
    assert loaded.model.lm_head.weight.device == FIRST
    assert len(products) == len([*loaded.model.parameters()])


# Measuring through the hooks that carry tensors over a cut.


def in_pieces(family):
    """Return a model, and the same one with a hook at every part."""
    whole, cut = model_of(family), model_of(family)
    skeleton = skeleton_of(family)
    placement = spread_over(skeleton, [int(total_of(skeleton) * 0.8)] * 4)
    dispatch_model(cut, dict.fromkeys(placement.devices, CPU), main_device=CPU, force_hooks=True)
    layers = decoder_layers(cut)
    assert all(hasattr(layer, "_hf_hook") for layer in layers)
    return loaded_of(whole), loaded_of(cut)


def state_of(output):
    return output if isinstance(output, torch.Tensor) else output[0]


@pytest.mark.parametrize("family", EVERY)
def test_pieces_give_the_logits_and_states_of_the_whole(family):
    found = []
    for loaded in in_pieces(family):
        states = []
        for layer in loaded.layers:
            layer.register_forward_hook(lambda _m, _a, out, s=states: s.append(state_of(out)))
        head = loaded.model.get_output_embeddings()
        head.register_forward_pre_hook(lambda _m, args, s=states: s.append(args[0]))
        with torch.inference_mode():
            found.append([logits(loaded, batch_of(4, 7)), *states])
    assert len(found[0]) == len(found[1]) == 4
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def signs_of(name, parameter):
    generator = torch.Generator().manual_seed(len(name))
    return torch.randint(0, 2, parameter.shape, generator=generator) * 2.0 - 1.0


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "mixtral", "opt"])
def test_pieces_have_the_curvature_of_the_whole(family):
    uniforms = torch.rand(9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole, cut = (
        curvature_products(loaded, batch_of(4, 7), signs_of, uniforms, signs_of)
        for loaded in in_pieces(family)
    )
    assert whole == cut


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_pieces_show_the_inputs_and_gradients_of_the_whole(family):
    batch = batch_of(4, 7)
    uniforms = torch.rand(11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole, cut = (
        read_tokens(loaded, batch, batch.mask.bool(), uniforms) for loaded in in_pieces(family)
    )
    assert whole.keys() == cut.keys() != set()
    for name, readings in whole.items():
        assert torch.equal(readings.inputs, cut[name].inputs)
        assert torch.equal(readings.gradients, cut[name].gradients)
