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
    weights: dict[str, float] = field(default_factory=dict)
    """Corpus, as the manifest's column names it → its share of the hours, as 2 to 1; empty: by chance over all rows."""
    speaker_hours: float = 0.0
    """A speaker of whom so much is sampled gives no more; 0: no limit."""
    iterations: int = 20
    batch_frames: int = 0
    """Mini-batch k-means: frames drawn anew for each iteration; 0: Lloyd's algorithm, every iteration over all frames."""
    engine: Literal["torch", "faiss"] = "torch"
    """What finds the nearest centroids during the fit."""
    alignments: str = ""
    """Parquet of `utt_id` and `phonemes` (list of `symbol`, `start`, `end` in seconds), for phone purity and PNMI of held-out
    utterances."""
    seed: int = 0
    workers: int = 2
    gpus_per_worker: float = 0.0
    threads: int = 1
    """CPU threads of one worker."""


@dataclass(frozen=True, kw_only=True)
class Label(Stage):
    """Audio → deduplicated discrete units, shard by shard."""

    stage: Literal["label"] = "label"
    manifest: str
    columns: dict[str, str] = field(default_factory=dict)
    """Column of the manifest, or `translations.LANGUAGE` → the source's own name for it."""
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
    cut_seconds: float = 0.0
    """Cut longer recordings at quiet places into pieces of at most so many seconds, rows of their own; 0: do not cut."""
    silence: Literal["keep", "reject"] = "keep"
    """What becomes of audio whose every sample is zero."""


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
    preset: Literal["plain", "spire-7b"] = "plain"
    """`spire-7b`: five Megatron words before the units, so that ids are those of the released models."""
    chat: Literal["chatml", "keep"] = "chatml"
    """`chatml`: the two tokens and the template of SPIRE; `keep`: the model's own special tokens and template."""
    init: Literal["normal", "mean"] = "normal"
    """New rows from N(mean, 1e-5 · covariance) of the old ones, or their mean."""
    pad_to_multiple_of: int = 64
    seed: int = 42


Task = Literal["asr", "mt", "st", "st_multiturn", "text"]


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which rows of a source make no document; each is counted under its reason. A limit of 0 is none."""

    length_ratio: float = 0.0
    """Most that the longer of text and translation may be, as a multiple of the shorter, in characters."""
    characters_per_second: tuple[float, float] = (0.0, 0.0)
    """Fewest and most characters of transcript in a second of audio."""
    unit_entropy: float = 0.0
    """Least entropy of the units of a clip, in bits: noise and silence repeat few units."""
    languages: tuple[str, ...] = ()
    """Languages that a row may be in; empty: any."""
    duplicates: bool = False
    """Leave out a document that equals another of its source token for token."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One ingredient of a pack. Without a budget its rows are used `weight` times."""

    task: Task
    data: str
    """Unit folder for asr, st and st_multiturn; manifest for mt and text."""
    split: str = "train"
    source_language: str = ""
    """Empty: the language of each row."""
    target_language: str = ""
    """Empty for asr and text in the source language; `any` for a document of each translation that a row has."""
    weight: float = 1.0
    """How often each row is used: 0.5 takes half of the rows, 2 takes each row twice."""
    tokens: float = 0.0
    """Budget: tokens that this source brings, instead of `weight`."""
    units: float = 0.0
    """Budget in deduplicated units, as Table 2 of the paper counts them, instead of `weight`."""
    max_epochs: float = 1.0
    """With a budget: how often a row may be used. A source that falls short is reported."""
    format: Literal["cpt", "it"] = "cpt"
    """`cpt`: plain text between BOS and terminator, loss on every token; `it`: chat turns, loss on the answers."""
    filters: Filters = field(default_factory=Filters)
    name: str = ""
    """Empty: task and languages."""


@dataclass(frozen=True, kw_only=True)
class Pack(Stage):
    """Prompts → tokens → full rows."""

    stage: Literal["pack"] = "pack"
    model: str
    """Model folder whose tokenizer and unit vocabulary are used."""
    sources: tuple[Source, ...]
    scale: float = 1.0
    """Factor of every budget: 0.005 makes a two-hundredth of the recipe."""
    row_length: int = 2048
    packing: Literal["best_fit", "megatron"] = "best_fit"
    """`best_fit`: no document is cut but plain text longer than a row, and none sees another; `megatron`: documents without
    BOS, joined, cut at the row's edge, attention through the row."""
    terminator: str = ""
    """Word that ends a document of continued pre-training; empty: `<EOD>` where the vocabulary has it, else EOS."""
    prompts: Literal["spire-2025", "spire-2026"] = "spire-2026"
    """Form of the prompts where the sources disagree about a space: at the time of the paper, or as released."""
    workers: int = 2
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class QualityEstimate:
    """A model that scores translations without references, run by unbabel-comet in a Python environment of its own."""

    model: str = ""
    """Hugging Face id or checkpoint, such as Unbabel/wmt22-cometkiwi-da (gated, cc-by-nc-sa-4.0); empty: nothing is scored
    and everything is kept."""
    python: str = ""
    """Interpreter of the environment that holds unbabel-comet, which cannot live beside this platform's packages."""
    threshold: float = 0.85
    """Translations that score lower are dropped."""
    top_k: int = 0
    """At most so many translations of each target language are kept, the best first; 0: all."""
    batch_size: int = 64


@dataclass(frozen=True, kw_only=True)
class PseudoLabel(Stage):
    """Transcripts → translations by a language model, kept where their quality estimate is high."""

    stage: Literal["pseudo_label"] = "pseudo_label"
    data: str
    """Unit folder, whose units and fingerprint go along, or manifest."""
    split: str = "train"
    model: str
    """Any Hugging Face causal language model that translates when asked in its chat format."""
    languages: tuple[str, ...]
    """Target languages. A row is never translated into its own."""
    quality: QualityEstimate = field(default_factory=QualityEstimate)
    rows_per_shard: int = 10_000
    """Transcripts in one shard: the unit of work, commit and resume."""
    max_new_tokens: int = 256
    workers: int = 1
    """Actors, each with the model."""
    gpus_per_worker: float = 0.0
    threads: int = 1


# --- training ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """Update rule and its schedule."""

    name: Literal["adamw", "muon"] = "adamw"
    """`muon` takes the matrices of the transformer blocks; the rest stays with AdamW."""
    lr: float = 7e-6
    new_rows_lr: float = 0.0
    """Rate of the embedding and output rows that the extension added; 0: `lr`."""
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
class Lora:
    """Low-rank adapters (Hu et al., arXiv 2106.09685), read with `trainable: lora`."""

    rank: int = 64
    alpha: float = 128.0
    """The update is scaled by alpha / rank."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Linear layers of the transformer blocks that get one."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Loss on rows that are not trained on, apart for each source of their pack."""

    pack: str = ""
    """Empty: no held-out loss."""
    every: int = 200
    """Steps between two measurements; the last step is always measured."""
    rows: int = 256
    """At most so many of the pack, the same ones each time."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of a model on a pack."""

    steps: int
    batch_tokens: int = 0
    """Token slots in one optimiser step, over all workers: rows × their length. Accumulation follows."""
    batch_rows: int = 0
    """The same counted in packed rows; one of the two is given."""
    micro_batch_rows: int = 1
    """Packed rows in one forward pass of one worker."""
    optimiser: Optimiser = field(default_factory=Optimiser)
    trainable: Literal["full", "lora", "units_only"] = "full"
    """`lora`: adapters, and the new rows in full; `units_only`: the new rows alone. Old rows are frozen in both."""
    lora: Lora = field(default_factory=Lora)
    loss_norm: Literal["global_batch", "micro_batch"] = "global_batch"
    """What a step's loss is divided by: the counted tokens of the whole batch; or of each micro-batch, then the mean."""
    unit_loss_weight: float = 1.0
    """Weight of unit tokens in the loss; 1 is the paper's plain loss."""
    text_loss_weight: float = 1.0
    """Weight of all other tokens in the loss."""
    gradient_checkpointing: Literal["none", "selective", "full"] = "none"
    """What a backward pass computes again: nothing; all but matrix products and attention; every block from its input."""
    compile: bool = False
    """torch.compile of each transformer block."""
    max_loss_jump: float = 0.0
    """Nats above the mean loss of the last 20 steps at which the training stops; 0: never. A loss that is not finite stops it."""
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
    gpu_memory_gb: float = 80.0
    """Memory of one GPU, for the plan: a training that cannot fit is refused."""
    gpu_tflops: float = 989.0
    """bfloat16 rate of one GPU by its data sheet, for MFU; 989 is an H100 or H200."""
    mfu: float = 0.4
    """Share of that rate which the plan counts on."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the plan counts with as long as model and pack are not there."""

    shape: str = ""
    """`config.json` of a model of that shape."""
    row_length: int = 0
    """Tokens in a row; 0: the positions of the shape."""
    new_rows: int = 5056
    """Rows that the extension adds, of which `lora` and `units_only` train all."""


@dataclass(frozen=True, kw_only=True)
class Train(Stage):
    """CPT or IT: a model folder and a pack → checkpoints."""

    stage: Literal["cpt", "it"]
    model: str
    pack: str
    deepspeed: str
    """DeepSpeed JSON: ZeRO stage, offload and precision. Batch sizes and the optimiser come from `training`."""
    training: Training
    held_out: HeldOut = field(default_factory=HeldOut)
    workers: Workers = field(default_factory=Workers)
    expected: Expected = field(default_factory=Expected)


@dataclass(frozen=True, kw_only=True)
class Export(Stage):
    """Newest complete checkpoint of a training → Hugging Face model folder."""

    stage: Literal["export"] = "export"
    training: str
    """Output folder of a cpt or it stage."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    with_encoder: bool = False
    """Put the speech encoder into the folder too, so that nothing else is needed to hear."""
    samples: int = 0
    """Documents of the training's held-out pack that the exported model answers, in `samples.md` and MLflow."""
    max_new_tokens: int = 64
    """Tokens of such an answer at most."""


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
