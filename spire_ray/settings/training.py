"""CPT, IT and the export of what they made."""

from dataclasses import dataclass, field
from typing import Literal

from spire_ray.settings.common import StageSettings
from spire_ray.settings.types import (
    File,
    Folder,
    Fraction,
    ModelReference,
    NonNegativeFloat,
    NonNegativeInt,
    Operational,
    PositiveFloat,
    PositiveInt,
)


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """Update rule and its schedule."""

    name: Literal["adamw", "muon"] = "adamw"
    """`muon` takes the matrices of the transformer blocks; the rest stays with AdamW."""
    lr: PositiveFloat = 7e-6
    new_rows_lr: NonNegativeFloat = 0.0
    """Rate of the embedding and output rows that the extension added; 0: `lr`."""
    muon_lr: PositiveFloat = 0.02
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.0
    clip: NonNegativeFloat = 1.0
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: NonNegativeInt | None = None
    """None: 100, or all steps of a shorter training."""
    decay_share: Fraction = 1.0
    """`linear`: share of the steps, at the end, over which the rate falls to `final_lr_share`."""
    final_lr_share: Fraction = 0.0


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Low-rank adapters (Hu et al., arXiv 2106.09685), read with `trainable: lora`."""

    rank: PositiveInt = 64
    alpha: PositiveFloat = 128.0
    """The update is scaled by alpha / rank."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Linear layers of the transformer blocks that get one."""


@dataclass(frozen=True, kw_only=True)
class HeldOutSettings:
    """Loss on rows that are not trained on, apart for each source of their pack."""

    pack: Folder = ""
    """Empty: no held-out loss."""
    every: PositiveInt = 200
    """Steps between two measurements; the last step is always measured."""
    rows: PositiveInt = 256
    """At most so many of the pack, the same ones each time."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """One training of a model on a pack."""

    steps: PositiveInt | None = None
    """Updates. A finished training is run again with more of them to go on."""
    epochs: PositiveFloat | None = None
    """The same counted in passes over the pack, rounded up to whole steps; one of the two is given."""
    global_batch_tokens: NonNegativeInt = 0
    """Tokens in one optimizer step, over all workers: rows × their length. Accumulation follows."""
    global_batch_size: NonNegativeInt = 0
    """The same counted in packed rows; one of the two is given."""
    micro_batch_size: Operational[PositiveInt] = 1
    """Packed rows in one forward pass of one worker."""
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    trainable: Literal["full", "lora", "units_only"] = "full"
    """`lora`: adapters, and the new rows in full; `units_only`: the new rows alone. Old rows are frozen in both."""
    lora: LoraSettings = field(default_factory=LoraSettings)
    loss_norm: Literal["global_batch", "micro_batch"] = "global_batch"
    """What a step's loss is divided by: the counted tokens of the whole batch; or of each micro-batch, then the mean."""
    unit_loss_weight: NonNegativeFloat = 1.0
    """Weight of unit tokens in the loss; 1 is the paper's plain loss."""
    text_loss_weight: NonNegativeFloat = 1.0
    """Weight of all other tokens in the loss."""
    gradient_checkpointing: Operational[Literal["none", "selective", "full"]] = "none"
    """What a backward pass computes again: nothing; all but matrix products and attention; every block from its input."""
    compile: Operational[bool] = False
    """torch.compile of each transformer block."""
    max_loss_jump: Operational[NonNegativeFloat] = 0.0
    """Nats above the mean loss of the last 20 steps at which the training stops; 0: never. A loss that is not finite stops it."""
    save_every: Operational[PositiveInt] = 400
    """Steps between checkpoints; the last step is always saved."""
    keep: Operational[PositiveInt] = 1
    """Newest complete checkpoints that are kept."""
    log_every: Operational[PositiveInt] = 10
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class GpuSettings:
    """One GPU, as the plan counts with it."""

    memory_gb: PositiveFloat = 80.0
    """A training that cannot fit is refused."""
    tflops: PositiveFloat = 989.0
    """bfloat16 rate by the data sheet, for MFU; 989 is an H100 or H200."""
    mfu: PositiveFloat = 0.4
    """Share of that rate which the plan counts on."""


@dataclass(frozen=True, kw_only=True)
class ExpectedSettings:
    """What the plan counts with as long as model and pack are not there."""

    shape: str = ""
    """`config.json` of a model of that shape."""
    sequence_length: NonNegativeInt = 0
    """Tokens in a row; 0: the positions of the shape."""
    new_rows: NonNegativeInt = 5056
    """Rows that the extension adds, of which `lora` and `units_only` train all."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings(StageSettings):
    """CPT or IT: a model folder and a pack → checkpoints."""

    stage: Literal["cpt", "it"]
    model: ModelReference
    pack: Folder
    deepspeed: Operational[File]
    """DeepSpeed JSON: ZeRO stage, offload and precision. Batch sizes and the optimizer come from `training`."""
    training: TrainingSettings
    held_out: Operational[HeldOutSettings] = field(default_factory=HeldOutSettings)
    workers: Operational[PositiveInt] = 1
    """Of Ray Train's group."""
    gpus_per_worker: Operational[Literal[0, 1]] = 0
    threads: Operational[PositiveInt] = 1
    """CPU threads of one worker."""
    max_failures: Operational[NonNegativeInt] = 3
    """Restarts of the group before the run fails."""
    collective_minutes: Operational[PositiveFloat] = 30.0
    """A worker that waits so long for the others in a collective (NCCL, gloo) gives up, and the group is restarted."""
    gpu: Operational[GpuSettings] = field(default_factory=GpuSettings)
    expected: Operational[ExpectedSettings] = field(default_factory=ExpectedSettings)


@dataclass(frozen=True, kw_only=True)
class ExportSettings(StageSettings):
    """Newest complete checkpoint of a training → Hugging Face model folder."""

    stage: Literal["export"] = "export"
    training: Folder
    """Output folder of a cpt or it stage."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    with_encoder: bool = False
    """Put the speech encoder into the folder too, so that nothing else is needed to hear."""
    samples: NonNegativeInt = 0
    """Documents of the training's held-out pack that the exported model answers, in `samples.md` and MLflow."""
    max_new_tokens: PositiveInt = 64
    """Tokens of such an answer at most."""
    registered_name: Operational[str] = ""
    """Name in MLflow's model registry, `spire-full`: a new version of it is made, and `models:/spire-full/1` names the folder
    from then on. Empty: MLflow shows the model, and does not register it."""
