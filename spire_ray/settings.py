"""What a user can set: one frozen dataclass for every stage, standard library only.

`spire_ray.config` reads YAML into these classes; the rest of the package takes them as plain objects, so that units,
model and training run on a machine that has torch, transformers, numpy and pyarrow alone.
A path may be local or `s3://…`; a model may also be a Hugging Face id, `id@revision` to pin it.
"""

from dataclasses import dataclass, field
from typing import Literal

SAMPLE_RATE = 16_000
"""Hz. Every waveform inside the platform is mono float32 at this rate."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Where outputs live when more than one node works on them."""

    shared_root: str = ""
    """Folder that every Ray node sees; with more than one node a path without a scheme must lie below it."""
    endpoint_url: str = ""
    """S3 endpoint other than the default one; empty: AWS_ENDPOINT_URL, else AWS itself."""


@dataclass(frozen=True, kw_only=True)
class Licence:
    """Consent to terms. A job prints the licence of every model it uses."""

    accept: tuple[str, ...] = ()
    """Non-commercial licences accepted by name, such as cc-by-nc-4.0."""


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """The MLflow run of a stage. The store is MLFLOW_TRACKING_URI, else sqlite beside the working directory."""

    enabled: bool = True
    experiment: str = "spire"
    run_name: str = ""
    """Empty: the name of the stage."""
    parent: str = ""
    """Folder of the recipe whose run this one is a child of."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What every stage has."""

    stage: str
    root: str = "runs"
    """What `{root}` stands for in every path of the file."""
    output: str
    """The folder this stage makes. One folder belongs to one configuration."""
    storage: Storage = field(default_factory=Storage)
    tracking: Tracking = field(default_factory=Tracking)
    licence: Licence = field(default_factory=Licence)


# --- audio and units --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Sentences of the talking corpus in each split; every sentence is spoken once, by one voice."""

    train: int = 4000
    dev: int = 100
    test: int = 250
    text: int = 12_000
    """Sentence pairs that are never spoken, for the text side of training."""


@dataclass(frozen=True, kw_only=True)
class Corpus(Stage):
    """The talking corpus: generated sentences with translations, spoken by espeak-ng."""

    stage: Literal["corpus"] = "corpus"
    languages: tuple[Literal["de", "fr"], ...] = ("de",)
    splits: Splits = field(default_factory=Splits)
    phrase_share: float = 0.3
    """Share of short noun phrases among the training utterances; dev and test hold sentences only."""
    train_voices: tuple[str, ...] = ()
    """espeak-ng voices `language+variant`; empty: 48 voices, 2 accents by 24 variants."""
    dev_voices: tuple[str, ...] = ()
    """Voices of dev; must not occur in training. Empty: 4 voices."""
    test_voices: tuple[str, ...] = ()
    """Voices of test; must not occur in training. Empty: 4 voices, none of them in dev."""
    workers: int = 2
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """What turns a waveform into frames: a Hugging Face speech encoder cut at a layer, or cepstra."""

    name: str = "facebook/hubert-large-ll60k"
    """Hugging Face id or folder; `mfcc` for mel-frequency cepstra without a model."""
    revision: str = ""
    layer: int = 22
    """The output of this transformer block, 1-based; equals `hidden_states[layer]`. Not read by `mfcc`."""
    final_layer_norm: bool = False
    """Apply the encoder's final layer norm after the cut (SPIRE does not)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    hop_ms: int = 20
    """`mfcc` only: milliseconds between two frames."""
    context: int = 5
    """`mfcc` only: neighbouring 10 ms cepstra stacked into one frame."""
    pooling: Literal["mean", "max"] = "mean"
    pooling_width: int = 1
    """Neighbouring frames that are pooled into one; 1 for none (SPIRE)."""


@dataclass(frozen=True, kw_only=True)
class FitCodebook(Stage):
    """Features of a sample of the manifest → k-means centroids."""

    stage: Literal["fit_codebook"] = "fit_codebook"
    manifest: str
    split: str = "train"
    encoder: Encoder = field(default_factory=Encoder)
    clusters: int = 5000
    hours: float = 100.0
    """Audio sampled for the fit."""
    iterations: int = 20
    seed: int = 0
    workers: int = 2
    gpus_per_worker: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Label(Stage):
    """Audio → deduplicated discrete units, shard by shard."""

    stage: Literal["label"] = "label"
    manifest: str
    codebook: str
    shard_seconds: float = 3600.0
    """Seconds of audio in one shard: the unit of work, commit and resume."""
    workers: int = 2
    """Encoder actors."""
    gpus_per_worker: float = 0.0
    threads: int = 1
    """CPU threads of one encoder actor."""
    batch_seconds: float = 240.0
    """Audio in one forward pass of the encoder."""
    max_seconds: float = 120.0
    """Longer audio is rejected."""


# --- text, vocabulary, packs ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The shape of a Llama made from scratch."""

    hidden_size: int = 192
    layers: int = 3
    heads: int = 3
    intermediate_size: int = 512
    tied: bool = True
    max_positions: int = 512


@dataclass(frozen=True, kw_only=True)
class InitModel(Stage):
    """A small random Llama and a byte-level BPE trained on text: the toy that stands for TOWER before its training."""

    stage: Literal["init_model"] = "init_model"
    text: str
    """Manifest whose `text` and `translations` train the tokenizer."""
    vocabulary: int = 512
    architecture: Architecture = field(default_factory=Architecture)
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ExtendModel(Stage):
    """Tokenizer and embeddings of a text model, extended by the units of a codebook."""

    stage: Literal["extend_model"] = "extend_model"
    model: str
    codebook: str
    surface: Literal["pua", "extra_id"] = "pua"
    """How a unit is written: U+F0000+i, or `<extra_id_i>`."""
    init: Literal["normal", "mean"] = "normal"
    """New rows from N(mean, 1e-5 · covariance) of the old ones, or their mean."""
    pad_to_multiple_of: int = 64
    seed: int = 42


Task = Literal["asr", "mt", "st", "st_multiturn", "text"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One ingredient of a pack."""

    task: Task
    data: str
    """Unit folder for asr, st and st_multiturn; manifest for mt and text."""
    split: str = "train"
    source_language: str = "en"
    target_language: str = ""
    """Empty for asr and text in the source language."""
    weight: float = 1.0
    """How often each row is used: 0.5 takes half of the rows, 2 takes each row twice."""
    format: Literal["cpt", "it"] = "cpt"
    """`cpt`: plain text between BOS and EOS, loss on every token; `it`: ChatML turns, loss on the answers."""
    name: str = ""
    """Empty: task and languages."""


@dataclass(frozen=True, kw_only=True)
class Pack(Stage):
    """Prompts → tokens → full rows."""

    stage: Literal["pack"] = "pack"
    model: str
    """Model folder whose tokenizer and unit vocabulary are used."""
    sources: tuple[Source, ...]
    row_length: int = 2048
    workers: int = 2
    seed: int = 0


# --- training ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """Update rule and its schedule."""

    name: Literal["adamw", "muon"] = "adamw"
    """`muon` takes the matrices of the transformer blocks; the rest stays with AdamW."""
    lr: float = 7e-6
    muon_lr: float = 0.02
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    clip: float = 1.0
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: int = 100
    decay_share: float = 1.0
    """`linear`: share of the steps, at the end, over which the rate falls to `final_lr_share`."""
    final_lr_share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of a model on a pack."""

    steps: int
    batch_rows: int
    """Packed rows in one optimiser step, over all workers."""
    micro_batch_rows: int = 1
    """Packed rows in one forward pass of one worker; accumulation follows."""
    optimiser: Optimiser = field(default_factory=Optimiser)
    unit_loss_weight: float = 1.0
    """Weight of unit tokens in the loss; 1 is the paper's plain loss."""
    gradient_checkpointing: bool = False
    save_every: int = 400
    """Steps between checkpoints; the last step is always saved."""
    keep: int = 1
    """Newest complete checkpoints that are kept."""
    log_every: int = 10
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The Ray Train worker group."""

    count: int = 1
    gpus: bool = False
    """One GPU for each worker."""
    cpus: int = 1
    """CPUs, and threads, of each worker."""
    max_failures: int = 3
    """Restarts of the group before the run fails."""


@dataclass(frozen=True, kw_only=True)
class Train(Stage):
    """CPT or IT: a model folder and a pack → checkpoints."""

    stage: Literal["cpt", "it"]
    model: str
    pack: str
    deepspeed: str
    """DeepSpeed JSON: ZeRO stage, offload and precision. Batch sizes and the optimiser come from `training`."""
    training: Training
    workers: Workers = field(default_factory=Workers)


@dataclass(frozen=True, kw_only=True)
class Export(Stage):
    """Newest complete checkpoint of a training → Hugging Face model folder."""

    stage: Literal["export"] = "export"
    training: str
    """Output folder of a cpt or it stage."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"


# --- evaluation and serving ------------------------------------------------------------------------------------


EvaluationTask = Literal["asr", "asr_control", "mt", "kept", "st_direct", "st_multiturn", "st_cascade", "st_gold", "st_control"]


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One model and what it is asked."""

    name: str
    """Name in the report: base, cpt, it."""
    model: str
    tasks: tuple[EvaluationTask, ...]
    format: Literal["cpt", "it"]


@dataclass(frozen=True, kw_only=True)
class Evaluate(Stage):
    """WER, BLEU and chrF of one or more models on one split."""

    stage: Literal["evaluate"] = "evaluate"
    units: str
    split: str = "test"
    models: tuple[Evaluated, ...]
    target_language: str = "de"
    bleu_tokenizer: Literal["flores200", "13a", "zh", "ja-mecab", "ko-mecab", "intl"] = "flores200"
    """spBLEU is `flores200`, which downloads a tokenizer at first use."""
    utterances: int = 0
    """At most so many of the split; 0: all."""
    batch_size: int = 64
    max_new_tokens: int = 256
    workers: int = 2
    gpus_per_worker: float = 0.0
    threads: int = 1


@dataclass(frozen=True, kw_only=True)
class Serve(Stage):
    """Speech in, text out, over HTTP. The output folder holds what the quickstart's check of the server wrote."""

    stage: Literal["serve"] = "serve"
    model: str
    name: str = "spire"
    """Name of the model in the API."""
    host: str = "127.0.0.1"
    port: int = 8000
    replicas: int = 1
    """Replicas of the speech encoder, and of the language model, that always run."""
    max_replicas: int = 1
    """Replicas of each at most, under load."""
    gpus_per_replica: float = 0.0
    """At most 1: the speech encoder takes 0.2 of it, the language model 0.8."""
    max_batch_size: int = 16
    """Answers that one replica of the language model writes at once."""
    max_upload_mb: int = 25
    """Larger files are refused; one megabyte is 2^20 bytes."""
    max_new_tokens: int = 256
    """Tokens of an answer at most. They share the model's positions with the units of the audio."""
    manifest: str = ""
    """Manifest with the clip that the check asks about; empty: no check."""
    split: str = "test"
    """Split of that clip."""
    to_language: str = ""
    """Language of a second question about the clip, its translation; empty: the transcript only."""
    keep: bool = False
    """Serve until Ctrl-C or SIGTERM instead of ending after the check; the output folder is left alone."""


# --- recipes ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Step:
    """One stage of a recipe."""

    name: str
    """Unique in the recipe; what stands before a dot is the part of the road it counts towards."""
    config: str
    """Configuration file, relative to the recipe."""
    overrides: dict[str, object] = field(default_factory=dict)
    """Dotted keys that this recipe sets otherwise."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Stage):
    """Stages in the order they run, each in a process of its own."""

    stage: Literal["run"] = "run"
    output: str = ""
    """Not used: a recipe writes `root/recipe.json`."""
    title: str
    seed: int | None = None
    """Seed of every step that takes one; empty: each step's own."""
    steps: tuple[Step, ...]
