"""SpiRit-LM Base, a Llama that continues speech and text: transcripts of what it hears, after examples if there are any.

Weights and speech tokenizer are Meta's, under its FAIR Noncommercial Research License. Whoever has them names the folders as Meta
gives them away: `spiritlm_model/spirit-lm-base-7b`, and `speech_tokenizer` in the option of that name.
"""

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from spire_ray.audio import decode
from spire_ray.core import references, storage
from spire_ray.evaluation.systems import SYSTEMS, Answer, SystemKind, in_batches, options
from spire_ray.evaluation.systems._speech import waveform, weights
from spire_ray.evaluation.tasks import Request
from spire_ray.settings import EvaluatedModel, GenerationSettings

_NEVER_WRITTEN = re.compile(r"\[(Text|Speech|(Hu|Pi|St)\d+)\]")
"""Tokens of speech, and those that say what follows."""
_LINE = "<0x0A>"


class SpiritLM:
    """Greedy, text alone, up to the end of the line."""

    def __init__(self, model: Any, pieces: Any, units: Any, most: int, batch_size: int, examples: Sequence[str] = ()) -> None:
        self._model, self._pieces, self._units = model, pieces, units
        self._most, self._batch_size = most, batch_size
        self._shots = [f"{example}\n" for example in examples]
        every = range(pieces.get_piece_size())
        self._forbidden = [[number] for number in every if _NEVER_WRITTEN.fullmatch(pieces.id_to_piece(number))]
        self._stops = [pieces.eos_id(), pieces.piece_to_id(_LINE)]

    def asked(self, request: Request) -> str:
        """See `System`."""
        return f"spiritlm {len(self._shots)} shots"

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """See `System`."""
        prepared = [self._prompt(request) for request in requests]
        return in_batches(prepared, len, lambda row: None, self._batch_size, self._ask)

    def _prompt(self, request: Request) -> list[int] | ValueError:
        try:
            said = spoken(self._units(waveform(request)))
        except ValueError as error:
            return error
        ids = [self._pieces.bos_id(), *self._pieces.encode("".join([*self._shots, said, "[Text]"]))]
        room = self._model.config.max_position_embeddings - self._most
        return ids if len(ids) <= room else ValueError(f"prompt too long: {len(ids)} tokens of {room}")

    def _ask(self, rows: list[int], ids: list[list[int]]) -> list[tuple[str, int]]:
        import torch

        longest = max(map(len, ids))
        given = torch.tensor([[0] * (longest - len(each)) + each for each in ids])
        mask = torch.tensor([[0] * (longest - len(each)) + [1] * len(each) for each in ids])
        with torch.inference_mode():
            made = self._model.generate(
                given.to(self._model.device),
                attention_mask=mask.to(self._model.device),
                max_new_tokens=self._most,
                do_sample=False,
                num_beams=1,
                bad_words_ids=self._forbidden,
                eos_token_id=self._stops,
                pad_token_id=self._stops[0],
            )
        known = self._pieces.get_piece_size()  # the rows that fill up the embeddings mean nothing
        answers = [list(takewhile(lambda i: i not in self._stops, row)) for row in made[:, longest:].tolist()]
        return [(self._pieces.decode([i for i in answer if i < known]).strip(), len(answer)) for answer in answers]


def spoken(units: Sequence[int]) -> str:
    """What the model reads of speech."""
    return "[Speech]" + "".join(f"[Hu{unit}]" for unit in units)


def check(model: EvaluatedModel, wanted: Sequence[tuple[str, str, str]]) -> None:
    """See `SystemKind.check`."""
    from spire_ray.evaluation.systems._spiritlm_units import missing

    folder, field = options(model)["speech_tokenizer"], f"models.{model.name}.options.speech_tokenizer"
    if not folder:
        raise ValueError(f"{field}: name the folder `speech_tokenizer` that comes with the weights of SpiRit-LM")
    if lacking := missing(folder):
        raise ValueError(f"{field}={folder}: holds no {' and no '.join(lacking)}")


def load(model: EvaluatedModel, settings: GenerationSettings) -> SpiritLM:
    """See `SystemKind.load`."""
    from spire_ray.evaluation.systems._spiritlm_units import SpeechUnits

    check(model, ())
    pieces = _pieces(
        references.local_model(model.model, f"models.{model.name}.model"), f"models.{model.name}.model={model.model}"
    )
    _, llama = weights(model, settings, "LlamaForCausalLM")
    units = SpeechUnits(options(model)["speech_tokenizer"], str(llama.device))
    examples = list(_examples(options(model)["examples"], units, f"models.{model.name}.options.examples"))
    return SpiritLM(llama, pieces, units, settings.max_new_tokens, settings.batch_size, examples)


def _pieces(folder: str, field: str) -> Any:
    """The model of sentencepiece in a folder, as Llama's own tokenizer reads it. Raises ValueError for no SpiRit-LM Base."""
    from sentencepiece import SentencePieceProcessor

    if not storage.exists(path := storage.join(folder, "tokenizer.model")):
        raise ValueError(f"{field}: holds no tokenizer.model")
    pieces = SentencePieceProcessor(model_file=path)
    known = [token for token in ("[Speech]", "[Text]", "[Hu0]", "[Pi0]") if pieces.piece_to_id(token) != pieces.unk_id()]
    if "[Pi0]" in known:
        raise ValueError(f"{field}: is SpiRit-LM Expressive, whose speech has pitch and style as well; name the base model")
    if len(known) < 3:
        raise ValueError(f"{field}: its tokenizer has no [Speech], [Text] and [Hu0]; is it SpiRit-LM?")
    return pieces


def _examples(manifest: str, units: Any, field: str) -> list[str]:
    """Speech and transcript of every row of a manifest."""
    from spire_ray.manifest import reader, recording

    if not manifest:
        return []
    if not storage.exists(storage.first(manifest)):
        raise ValueError(f"{field}={manifest}: not found")
    found = []
    for table in reader.stream(manifest):
        for row in table.to_pylist():
            source, text = recording.source(row["audio"]), (row["text"] or "").strip()
            if not source or not text:
                raise ValueError(f"{field}={manifest}: row {row['utt_id']} has no {'text' if source else 'audio'}")
            found.append(f"{spoken(units(decode.load(source, *recording.part(row))))}[Text]{text}")
    return found


SYSTEMS.register(
    "spiritlm",
    SystemKind(
        load=load,
        skills=("asr",),
        options={"speech_tokenizer": "", "examples": ""},
        check=check,
        license="fair-noncommercial-research-license",
    ),
)
