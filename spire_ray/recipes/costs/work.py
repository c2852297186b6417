"""The work of every step: what is divided by which coefficient, on how many cores and GPUs, and what it leaves on the disk."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from spire_ray.core import references, storage
from spire_ray.evaluation.asking import tasks_of
from spire_ray.recipes import plan, room, shapes
from spire_ray.recipes.costs import amounts, scores
from spire_ray.recipes.costs.amounts import Made
from spire_ray.recipes.costs.hardware import Coefficient, Hardware
from spire_ray.settings import (
    CorpusSettings,
    EvaluateSettings,
    ExportSettings,
    ExtendModelSettings,
    FetchSettings,
    FitCodebookSettings,
    GenerateSettings,
    InitModelSettings,
    LabelSettings,
    PackSettings,
    PseudoLabelSettings,
    ScoreSettings,
    ServeSettings,
    StageSettings,
    TrainSettings,
)
from spire_ray.training import budget
from spire_ray.training.budget import Machine, Shape

ENCODER_FLOPS = 36.43e9
"""Of HuBERT-large, cut at layer 22, for a second of audio (benchmarks/results/units.json); assumed of any with weights."""
_AUDIO_BYTES = 18_000.0
"""Of FLAC, a second at 16 kHz; 210 MB for the 3.2 h of the stage corpus."""
_UNIT_BYTES, _TOKEN_BYTES = 2.8, 5.0
"""Of a unit in Parquet (measured on the quickstart), and of a token with its mask in Arrow."""
_TRANSLATED_TOKENS = 95.0
"""Read and written for a translation, as `spire_ray.pseudo_labels.pseudo` counts."""
_ANSWER_TOKENS = 60.0
"""Read and written for an answer, beside the units."""
_SENTENCE_BYTES = 100.0
_DIMENSIONS = 1024
_CEPSTRA_DIMENSIONS = 351


@dataclass(frozen=True)
class Item:
    """One piece of work."""

    what: str
    amount: float
    coefficient: Coefficient

    @property
    def seconds(self) -> float:
        """On one core or GPU."""
        return self.amount / self.coefficient.value


@dataclass
class Cost:
    """What a step costs, alone on its machine."""

    made: Made
    start: Coefficient
    cores: int = 1
    gpus: float = 0.0
    items: list[Item] = field(default_factory=list)
    disk: float = 0.0
    """Bytes."""
    objects: int = 0
    network: float = 0.0
    """Bytes that come from elsewhere."""
    unknown: str = ""
    """What keeps its time from being told."""

    @property
    def core_seconds(self) -> float:
        """Work of all cores, without the start."""
        return sum(item.seconds for item in self.items if "GPU" not in item.coefficient.unit)

    @property
    def seconds(self) -> float:
        """Wall clock: cores feed GPUs while these work."""
        on_gpus = sum(item.seconds for item in self.items if "GPU" in item.coefficient.unit)
        return self.start.value + max(self.core_seconds / self.cores, on_gpus / self.gpus if self.gpus else 0.0)

    @property
    def gpu_hours(self) -> float:
        """GPUs that are held while the step runs."""
        return self.gpus * self.seconds / 3600

    @property
    def how(self) -> str:
        """The weakest word that can be said of the figure."""
        words = {self.start.how, *(item.coefficient.how for item in self.items)}
        return "derived" if "derived" in words else "data sheet" if "data sheet" in words else "measured"


def of(planned: shapes.Planned, hardware: Hardware, given: Mapping[str, str] | None = None) -> dict[str, Cost]:
    """The cost of every step."""
    made = amounts.of(planned)
    return {name: _Step(name, planned, made, hardware, given or {}).cost() for name in planned}


class _Step:
    def __init__(
        self, name: str, planned: shapes.Planned, made: Mapping[str, Made], hardware: Hardware, given: Mapping[str, str]
    ) -> None:
        self.settings, self.planned, self.made, self.hardware, self.given = planned[name], planned, made, hardware, given
        need = room.count(self.settings)
        workers = getattr(self.settings, "workers", 1) * getattr(self.settings, "threads", 1)
        cores = hardware.cores if need else min(hardware.cores, workers)
        self.result = Cost(made[name], hardware[f"start.{self.settings.stage}"], cores, need)

    def cost(self) -> Cost:
        """All that is known."""
        work = next((work for kind, work in _WORK if isinstance(self.settings, kind)), _unknown)
        work(self, self.settings)
        return self.result

    def add(self, what: str, amount: float, coefficient: str) -> None:
        found = self.hardware[coefficient]
        if "GPU" in found.unit and not self.result.gpus:
            self.result.gpus = 1.0  # a machine whose coefficient is of GPUs is asked for one
        self.result.items.append(Item(what, amount, found))

    def read(self, text: str) -> Made:
        return amounts.read(text, self.planned, self.made)

    def shape(self, model: str) -> Shape | None:
        config = shapes.of(model, self.planned, self.given)
        if config is None:
            self.result.unknown = f"how large {model} is; --shape {model}=FILE says it"
        return Shape.read(config) if config else None

    def encode(self, seconds: float, codebook: str = "") -> None:
        """Audio through the encoder of a codebook, or of these settings."""
        maker = self.settings if isinstance(self.settings, FitCodebookSettings) else self._fit(codebook)
        name = maker.encoder.name if maker else ""
        self.add("audio decoded", seconds, "decode")
        if maker and not references.has_weights(name):
            self.add("audio → cepstra", seconds, "cepstra")
        else:
            self.add("audio through the encoder, as HuBERT-large", seconds * ENCODER_FLOPS, "encode")

    def _fit(self, codebook: str) -> FitCodebookSettings | None:
        found = self.planned.get(plan.maker_of(codebook, self.planned))
        return found if isinstance(found, FitCodebookSettings) else None


def _corpus(step: _Step, settings: CorpusSettings) -> None:
    made = step.result.made
    step.add("clips spoken", made.rows or 0, "speak")
    step.result.disk, step.result.objects = (made.seconds or 0) * _AUDIO_BYTES, int(made.rows or 0) + 4


def _fetch(step: _Step, settings: FetchSettings) -> None:
    seconds = sum(part.seconds or 0 for part in step.result.made.parts.values())
    models = [f"{settings.output}/models/{model.partition('@')[0].rpartition('/')[2]}" for model in settings.models]
    known = [Shape.read(config) for model in models if (config := shapes.of(model, step.planned, step.given))]
    size = seconds * _AUDIO_BYTES + sum(2.0 * shape.parameters for shape in known)
    step.add("bytes fetched", size, "network")
    step.result.disk = step.result.network = size
    step.result.objects = int(sum(part.rows or 0 for part in step.result.made.parts.values()) // 1000)


def _fit_codebook(step: _Step, settings: FitCodebookSettings) -> None:
    there = step.read(settings.manifest).of(settings.split).seconds
    seconds = min(settings.hours * 3600, there) if there else settings.hours * 3600
    seconds *= 1 + amounts.copies(settings.augment)
    weights = references.has_weights(settings.encoder.name)
    hop = float(settings.encoder.options.get("hop_ms", 20))
    frames = seconds * 1000 / hop
    step.encode(seconds)
    width = _DIMENSIONS if weights else _CEPSTRA_DIMENSIONS
    step.add("frames × clusters, twice", 2 * frames * settings.clusters * width * settings.iterations, "cluster")
    step.result.made = Made(rows=seconds / amounts.CLIP_SECONDS, seconds=seconds)
    step.result.disk = settings.clusters * width * 4.0


def _label(step: _Step, settings: LabelSettings) -> None:
    made = step.result.made
    if made.seconds is None:
        step.result.unknown = f"how much audio {settings.manifest} holds"
        return
    step.encode(made.seconds, settings.codebook)
    step.result.disk = made.units * _UNIT_BYTES
    step.result.objects = 2 * max(1, round(made.seconds / settings.shard_seconds))


def _pack(step: _Step, settings: PackSettings) -> None:
    made = step.result.made
    if made.rows is None:
        step.result.unknown = "how many rows a source has; its tokens or units say it"
        return
    step.add("documents tokenised", made.documents, "documents")
    step.result.disk = made.tokens * _TOKEN_BYTES


def _train(step: _Step, settings: TrainSettings) -> None:
    made, shape = step.result.made, step.shape(settings.model)
    if shape is None:
        return
    if not made.tokens:
        step.result.unknown = f"how many rows {settings.pack} will have"
        return
    length = shapes.row_length(settings, step.planned)
    each = shape.flops(length / 2, settings.training.trainable == "full")
    step.add(f"tokens at {each / 1e9:.3g} GFLOP", made.tokens * each, "train")
    machine = Machine.read(storage.read_json(settings.deepspeed), settings.workers)
    size = budget.checkpoint_bytes(shape, settings.training, machine, settings.expected.new_rows)
    step.result.disk = settings.training.keep * size


def _weights(step: _Step, settings: ExportSettings | ExtendModelSettings) -> None:
    if shape := step.shape(settings.output):
        step.add("bytes of weights read and written", 4.0 * shape.parameters, "copy")
        step.result.disk = 2.0 * shape.parameters


def _pseudo_label(step: _Step, settings: PseudoLabelSettings) -> None:
    rows = step.result.made.rows
    if rows is None:
        step.result.unknown = f"how many rows {settings.data} has; expected.rows says it"
    elif settings.model and (shape := step.shape(settings.model)):
        translations = rows * len(settings.languages)
        step.add("translations", translations * _TRANSLATED_TOKENS * 2.0 * shape.parameters, "answer")
        step.result.disk = translations * _SENTENCE_BYTES
        step.result.objects = 2 * max(1, round(rows / settings.rows_per_shard))


def _answers(step: _Step, settings: GenerateSettings | EvaluateSettings) -> None:
    data = step.read(settings.data).of(settings.split)
    if data.rows is None:
        step.result.unknown = f"how many rows {settings.data} has"
        return
    rows = min(data.rows, settings.utterances or data.rows)
    units = data.units / data.rows if data.rows else 0.0
    for model in settings.models:
        if model.system != "llm":
            step.result.unknown = f"how long {model.system} answers; nobody has measured it"
        elif shape := step.shape(model.model):
            count = rows * len(tasks_of(model))
            step.add(f"answers of {model.name}", count * (units + _ANSWER_TOKENS) * 2.0 * shape.parameters, "answer")
    asked = scores.tasks(settings)
    for item in scores.items(asked, rows, settings) if isinstance(settings, EvaluateSettings) else ():
        step.add(*item)
    step.result.made = Made(rows=float(rows * len(asked)), seconds=data.seconds)


def _score(step: _Step, settings: ScoreSettings) -> None:
    maker = step.planned.get(plan.maker_of(settings.hypotheses, step.planned))
    found = scores.there(settings.hypotheses)
    if isinstance(maker, GenerateSettings | EvaluateSettings):
        data = step.read(maker.data).of(maker.split)
        found = (scores.tasks(maker), min(data.rows, maker.utterances or data.rows)) if data.rows is not None else None
    if found is None:
        step.result.unknown = f"how many answers {settings.hypotheses} holds"
    for item in scores.items(*found, settings) if found else ():
        step.add(*item)


def _start(step: _Step, settings: InitModelSettings | ServeSettings) -> None:
    """Nothing beside the start: it is of a service that is up, and of a toy that has its random weights."""


def _unknown(step: _Step, settings: StageSettings) -> None:
    step.result.unknown = f"how long {settings.stage} works; nobody has measured it"


_WORK: tuple[tuple[type[StageSettings], Callable[..., None]], ...] = (
    (FetchSettings, _fetch),
    (CorpusSettings, _corpus),
    (FitCodebookSettings, _fit_codebook),
    (LabelSettings, _label),
    (PackSettings, _pack),
    (TrainSettings, _train),
    (ExportSettings, _weights),
    (ExtendModelSettings, _weights),
    (PseudoLabelSettings, _pseudo_label),
    (GenerateSettings, _answers),
    (EvaluateSettings, _answers),
    (ScoreSettings, _score),
    (InitModelSettings, _start),
    (ServeSettings, _start),
)


def explained(name: str, cost: Cost) -> Iterator[str]:
    """A step's figures with the source of each."""
    yield f"{name}: {cost.seconds:,.1f} s alone on {cost.gpus:g} GPUs" if cost.gpus else f"{name}: {cost.seconds:,.1f} s alone"
    yield f"  start: {cost.start}"
    for item in cost.items:
        on = f"{cost.gpus:g} GPUs" if "GPU" in item.coefficient.unit else f"{cost.cores} cores"
        yield f"  {item.what}: {item.amount:,.4g} ÷ {item.coefficient} = {item.seconds:,.1f} s, shared by {on}"
    if cost.unknown:
        yield f"  not known: {cost.unknown}"
