"""The plan of a step of the true 7B shape against what PyTorch counts on fake tensors: operations, and what is kept of them."""

import gc
import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from spire_ray.packs.pack import Row
from spire_ray.settings import TrainingSettings
from spire_ray.training import attention, budget, trainable
from spire_ray.training.batch import collate
from spire_ray.training.budget import Machine, Shape
from spire_ray.training.loss import PackedLoss

SHAPE = json.loads((Path(__file__).parents[2] / "configs/shapes/llama-2-7b.json").read_text())
LENGTH = 2048
TRAINING = TrainingSettings(steps=1, global_batch_size=1)
ATEN = torch.ops.aten
pytestmark = pytest.mark.long


def whole_row(query, key, value, cu_seqlens, longest, scale):
    """Attention of one document as long as its row."""
    query, key, value = (tensor.transpose(0, 1)[None] for tensor in (query, key, value))
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)[0].transpose(0, 1)


def causal(shape, *_, **__):
    """Two products of every query with half of all keys; backward twice as many, whatever a kernel computes again."""
    _, heads, length, width = shape
    return 2 * heads * length * length * width


COUNTED = {
    ATEN._scaled_dot_product_flash_attention_for_cpu: lambda query, *_, **__: causal(query),
    ATEN._scaled_dot_product_flash_attention_for_cpu_backward: lambda gradient, *_, **__: 2 * causal(gradient),
}


@contextmanager
def step(training, layers):
    """The loss of one row and its batch, all fake."""
    data = {**SHAPE, "num_hidden_layers": layers}
    config = AutoConfig.for_model(data.pop("model_type"), **data)
    row = Row(np.arange(LENGTH), np.ones(LENGTH, bool), np.array([LENGTH]))
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        trainable.prepare(model, training, SHAPE["vocab_size"])
        attention.use_varlen(model, whole_row)
        yield PackedLoss(model.train()), collate([row])


def kept(training, layers):
    """Bytes that a forward pass keeps for the backward one."""
    with step(training, layers) as (loss, batch):
        gc.collect()
        before = {place(tensor) for tensor in [*loss.parameters(), *in_python()]}
        found = []
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: found.append(tensor) or tensor, lambda tensor: tensor):
            total = loss(batch)
        found += in_python()  # selective recomputation keeps tensors there
        sizes = {place(tensor): tensor.untyped_storage().nbytes() for tensor in found if tensor is not total}
        return sum(size for where, size in sizes.items() if where not in before)


def test_operations_are_those_that_pytorch_counts():
    shape = Shape.read(SHAPE)
    with step(TRAINING, shape.layers) as (loss, batch), FlopCounterMode(display=False, custom_mapping=COUNTED) as counter:
        loss(batch).backward()
    assert counter.get_total_flops() / LENGTH == pytest.approx(shape.flops(LENGTH), rel=0.01)
    attended = sum(counter.get_flop_counts()["Global"].get(operation, 0) for operation in COUNTED)
    assert attended / LENGTH == pytest.approx(6 * shape.query * LENGTH * shape.layers)  # else attention was not counted


@pytest.mark.parametrize("kind", ["none", "selective", "full"])
def test_activations_are_what_is_kept_for_the_backward_pass(kind):
    """With whole blocks computed again the most is held in the first of them: the inputs of all, and what it keeps itself."""
    training, layers = replace(TRAINING, gradient_checkpointing=kind), SHAPE["num_hidden_layers"]
    planned = budget.memory(Shape.read(SHAPE), training, Machine(1, 1, half=True), LENGTH, 0)["activations"]
    measured = kept(training, layers)
    if kind != "none":
        measured += kept(TRAINING, 2) - kept(TRAINING, 1)
    if kind == "full":
        measured -= kept(training, 0)  # the norm and the head are done by then
    assert planned == pytest.approx(measured, rel=0.05)


def place(tensor):
    return tensor.untyped_storage()._cdata


def in_python():
    return [found for found in gc.get_objects() if isinstance(found, FakeTensor)]
