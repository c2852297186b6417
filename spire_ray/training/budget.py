"""What a training needs before it starts: parameters, memory of a GPU by part, operations, hours, checkpoints.

Computed from the shape in `config.json` alone, for decoders of the Llama kind: attention, one feed-forward layer and
two norms in each block; what a family adds in biases and norms is below one hundredth and left out. Sizes are bytes; L is
the length of a row. Nothing here imports torch.
"""

from dataclasses import dataclass
from typing import Any

from spire_ray.settings import TrainingSettings
from spire_ray.training import families

GIB = 1 << 30
_LOGITS_AT_ONCE = 1 << 26
"""As in `spire_ray.training.loss`."""
_SUB_GROUP = 10**9
"""Parameters, DeepSpeed's default `sub_group_size`."""
_CONTEXT = 4 * GIB
"""CUDA context, communication buckets and fragmentation: an allowance."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a model."""

    hidden: int
    layers: int
    query: int
    """Heads × head size."""
    key: int
    """Key-value heads × head size."""
    intermediate: int
    vocabulary: int
    tied: bool
    norms: int
    """Parameters of all norms."""
    matrices: int = 3
    """Of the feed-forward layer: gate, up and down; 2 where there is no gate."""

    @staticmethod
    def read(config: dict[str, Any]) -> "Shape":
        """From a Hugging Face `config.json`."""
        hidden, heads, layers = config["hidden_size"], config["num_attention_heads"], config["num_hidden_layers"]
        size = config.get("head_dim") or hidden // heads
        of_heads = 2 * size if config.get("model_type") == "qwen3" else 0
        return Shape(
            hidden=hidden,
            layers=layers,
            query=heads * size,
            key=(config.get("num_key_value_heads") or heads) * size,
            intermediate=config["intermediate_size"],
            vocabulary=config["vocab_size"],
            tied=bool(config.get("tie_word_embeddings", families.tied(config.get("model_type", "")))),
            norms=layers * (2 * hidden + of_heads) + hidden,
            matrices=families.matrices(config.get("model_type", "")),
        )

    @property
    def block(self) -> int:
        """Weights of the matrices of one block."""
        return self.hidden * (2 * self.query + 2 * self.key + self.matrices * self.intermediate)

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.layers * self.block + self.norms + self.vocabulary * self.hidden * (1 if self.tied else 2)

    def trained(self, training: TrainingSettings, new_rows: int) -> int:
        """Parameters that are trained."""
        if training.trainable == "full":
            return self.parameters
        rows = new_rows * self.hidden * (1 if self.tied else 2)
        return rows + (self._adapters(training) if training.trainable == "lora" else 0)

    def _adapters(self, training: TrainingSettings) -> int:
        sides = {
            "q_proj": self.hidden + self.query,
            "k_proj": self.hidden + self.key,
            "v_proj": self.hidden + self.key,
            "o_proj": self.query + self.hidden,
            "gate_proj": self.hidden + self.intermediate,
            "up_proj": self.hidden + self.intermediate,
            "down_proj": self.intermediate + self.hidden,
            "qkv_proj": self.hidden + self.query + 2 * self.key,
            "gate_up_proj": self.hidden + 2 * self.intermediate,
        }
        return self.layers * training.lora.rank * sum(sides.get(target, 0) for target in training.lora.targets)

    def flops(self, span: float, full: bool = True) -> float:
        """Operations of one token, forward and backward, in a document of `span` tokens (causal attention counted by half).

        Frozen matrices have no gradient of their own, which saves a third.
        """
        matrices = self.layers * self.block + self.vocabulary * self.hidden
        return (6.0 if full else 4.0) * matrices + 6.0 * self.query * span * self.layers


@dataclass(frozen=True)
class Machine:
    """The workers of a training and how ZeRO spreads it over them."""

    workers: int
    stage: int
    half: bool
    """bfloat16 with float32 masters."""
    offload_optimizer: bool = False
    offload_weights: bool = False
    exact_sums: bool = False
    """Gradients of micro-batches are added up in float32."""
    at_once: bool = False
    """ZeRO 1 adds each gradient up as soon as it is there, and keeps none in bfloat16."""

    @staticmethod
    def read(deepspeed: dict[str, Any], workers: int) -> "Machine":
        """From DeepSpeed's JSON; `bf16: auto` counts as on, as it is on GPUs."""
        zero = deepspeed.get("zero_optimization", {})
        return Machine(
            workers=workers,
            stage=zero.get("stage", 0),
            half=deepspeed.get("bf16", {}).get("enabled") in (True, "auto"),
            offload_optimizer=zero.get("offload_optimizer", {}).get("device", "none") != "none",
            offload_weights=zero.get("offload_param", {}).get("device", "none") != "none",
            exact_sums=deepspeed.get("data_types", {}).get("grad_accum_dtype") == "fp32",
            at_once=bool(deepspeed.get("bf16", {}).get("immediate_grad_update")),
        )


def memory(shape: Shape, training: TrainingSettings, machine: Machine, sequence_length: int, new_rows: int) -> dict[str, float]:
    """Bytes on one GPU by part."""
    width = 2 if machine.half else 4
    trained = shape.trained(training, new_rows)
    among = machine.workers if machine.stage or machine.half else 1
    masters = 12 if machine.half else 8
    tokens = training.micro_batch_size * sequence_length
    parts = {
        "weights": 0 if machine.offload_weights else shape.parameters * width / (machine.workers if machine.stage == 3 else 1),
        **_gradients(trained, machine),
        "masters and moments": masters * trained / among,
        "activations": tokens * _activations(shape, training, machine.half) * width,
        "logits": min(tokens * shape.vocabulary, _LOGITS_AT_ONCE) * (width + 8),
        "context and buffers": _CONTEXT,
    }
    if machine.offload_optimizer:
        parts |= dict.fromkeys(("float32 gradients", "flat copy of gradients", "masters and moments"), 0)
    return parts


def _gradients(trained: int, machine: Machine) -> dict[str, float]:
    """Bytes of gradients at the update, as DeepSpeed 0.19 holds them (`tests/training/test_gradients_held.py`).

    It takes them for the update as one vector: a copy, in bfloat16 before it is made float32, unless they were added up in
    that vector. ZeRO 3 copies one sub-group of 1e9 parameters at a time.
    """
    part = trained / (machine.workers if machine.stage > 1 else 1)
    own = trained / machine.workers if machine.stage else trained
    if not machine.half:
        return {"gradients": 4 * part, "float32 gradients": 0, "flat copy of gradients": 4 * own if machine.stage else 0}
    if machine.exact_sums and machine.stage == 1:
        return {"gradients": 0 if machine.at_once else 2 * trained, "float32 gradients": 4 * trained, "flat copy of gradients": 0}
    copied = min(own, _SUB_GROUP) if machine.stage == 3 else own
    if machine.exact_sums:
        copy = 4 * copied if machine.stage == 3 else 0
        return {"gradients": 0, "float32 gradients": 4 * own, "flat copy of gradients": copy}
    return {"gradients": 2 * part, "float32 gradients": 4 * own, "flat copy of gradients": 2 * copied}


def host_memory(shape: Shape, training: TrainingSettings, machine: Machine, new_rows: int) -> int:
    """Bytes that offloading keeps in the memory of the nodes, over all workers: the state of the optimizer, and weights."""
    state = (16 if machine.half else 12) * shape.trained(training, new_rows) if machine.offload_optimizer else 0
    return state + (shape.parameters * (2 if machine.half else 4) if machine.offload_weights else 0)


def checkpoint_bytes(shape: Shape, training: TrainingSettings, machine: Machine, new_rows: int) -> int:
    """Size of a checkpoint over all workers: masters, two moments, and the weights in the precision of the forward pass."""
    return shape.trained(training, new_rows) * (14 if machine.half else 12)


def _activations(shape: Shape, training: TrainingSettings, half: bool) -> int:
    """Numbers kept of one token for the backward pass."""
    attention = 2 * shape.query + 2 * shape.key
    # a norm keeps its input, which is float32, what it makes of it, and its output
    norms = 2 * (4 if half else 3)
    whole = (norms + 1) * shape.hidden + attention + 4 * shape.intermediate
    if training.gradient_checkpointing == "full":
        return shape.layers * shape.hidden + whole
    if training.gradient_checkpointing == "selective":
        return shape.layers * (3 * shape.hidden + attention + 2 * shape.intermediate) + whole
    return shape.layers * whole
