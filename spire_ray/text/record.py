"""What a model folder says of itself, in `spire.json`: whoever asks the model obeys it and nothing else.

Written by the extension of a model and, after training, by its export. A folder without one, as any model of the Hub is,
says as much as its tokenizer does.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from spire_ray.core import copies, storage
from spire_ray.units import codec
from spire_ray.units.fingerprint import Fingerprint, content_hash

RECORD_FILE = "spire.json"
END_OF_DOCUMENT = "<EOD>"
"""Megatron's word for the end of a document, which the released models have."""
MEGATRON_SPECIALS = ("<CLS>", END_OF_DOCUMENT, "<MASK>", "<PAD>", "<SEP>")
"""Words that the released models have before their units, in this order."""
_NOT_OF_THE_WORDS = ("version", "truncation", "padding")
"""Keys of `tokenizer.json` that change no id."""

Form = Literal["cpt", "it"]
Mode = Literal["direct", "two_turns", "cascade"]
"""How speech is translated: at once; after its transcript, in the same conversation; from the transcript alone, as text."""


@dataclass(frozen=True)
class UnitVocabulary:
    """Where the units stand among the token ids of a model."""

    first: int
    """Token id of unit 0; unit i is `first + i`."""
    count: int
    surface: codec.Surface
    fingerprint: Fingerprint
    first_new_row: int = 0
    """First embedding row that the extension added; 0 where that is unknown, then it is that of unit 0."""

    @staticmethod
    def load(folder: str) -> "UnitVocabulary | None":
        """That of a model folder, local or in a bucket; None for a model that has no unit tokens."""
        record = load(folder)
        return record.units if record else None


@dataclass(frozen=True, kw_only=True)
class Record:
    """All that decides how a model is asked, and what it was taught."""

    form: Form
    """`cpt`: a base model, which continues text; `it`: an instructed one, asked in its chat format."""
    bos: int | None
    """What the tokenizer itself puts before a text; None in families whose documents begin with nothing, such as Qwen."""
    eos: int
    """What ends a document of the family, and pads."""
    terminator: int
    """What ends a document of continued pre-training: `<EOD>` in the released models, else EOS."""
    tokenizer: str
    """Hash of the tokenizer."""
    bare: bool = False
    """Its continued pre-training joined documents without BOS, as Megatron does: completions are asked for without, too."""
    prompts: str = "spire-2026"
    """Form of the prompts."""
    directions: tuple[str, ...] = ()
    """What it was trained to do: `asr.en`, `st.en-de`, `mt.de-en`, and `turns.en-de`: after the transcript, in a second turn."""
    longest_units: int = 0
    """Of one document with speech that it was trained on; 0: of none."""
    longest_seconds: float = 0.0
    units: UnitVocabulary | None = None

    def save(self, folder: str) -> None:
        """Write `spire.json` into a model folder."""
        storage.write_json(storage.join(folder, RECORD_FILE), asdict(self))

    @property
    def languages(self) -> tuple[str, ...]:
        """That it was trained in, by their codes."""
        codes = {code for direction in self.directions for code in direction.partition(".")[2].split("-")}
        return tuple(sorted(codes))

    def require_direction(self, source: str, target: str = "") -> None:
        """Raise ValueError for a language that a trained model was never taught to write down or to translate into."""
        if not self.directions:  # of a model that this platform did not train nothing is known
            return
        known = self.targets("st" if target else "asr", source)
        if (target or source) in known:
            return
        field = f"to={target}" if target else f"language={source}"
        did = f"translate speech in {source} into" if target else "transcribe"
        heard = {direction.removeprefix("asr.") for direction in self.directions if direction.startswith("asr.")}
        told = ", ".join(sorted(known if target else heard))
        raise ValueError(f"{field}: the model was not trained to {did} it" + (f"; it was for {told}" if told else ""))

    def targets(self, task: str, source: str) -> set[str]:
        """Languages into which it was trained to do a task: of `asr`, the source itself; of `st`, in one turn or in two."""
        tasks = ("st", "turns") if task == "st" else (task,)
        codes = [code for kind, _, code in (direction.partition(".") for direction in self.directions) if kind in tasks]
        return {target or start for start, _, target in (code.partition("-") for code in codes) if start == source}

    @property
    def heard(self) -> tuple[str, ...]:
        """Languages that it was trained to hear."""
        spoken = (direction.partition(".") for direction in self.directions if not direction.startswith("mt."))
        return tuple(sorted({code.partition("-")[0] for _, _, code in spoken}))

    def mode(self, source: str, target: str) -> "Mode":
        """How it is best asked for a translation: in two turns where it was trained to, which is 20 BLEU better than at once."""
        return "two_turns" if target in self.targets("turns", source) else "direct"


def load(folder: str) -> Record | None:
    """The record in a folder, local or in a bucket; None where there is none."""
    path = storage.join(folder, RECORD_FILE)
    if not storage.exists(path):
        return None
    data = storage.read_json(path)
    if units := data["units"]:
        data["units"] = UnitVocabulary(**{**units, "fingerprint": Fingerprint.from_dict(units["fingerprint"])})
    return Record(**{**data, "directions": tuple(data["directions"])})


def of(folder: str) -> Record:
    """The record of a local model folder, by its tokenizer where it holds none.

    Raises ValueError for a tokenizer that was changed since the record was written, and for one without an end.
    """
    record = load(folder)
    if record is None:
        return derived(folder)
    if record.tokenizer != tokenizer_hash(folder):
        raise ValueError(f"model={folder}: its tokenizer is another than its {RECORD_FILE} was written for; export it again")
    return record


def derived(folder: str) -> Record:
    """What the tokenizer of a local folder says: how documents begin and end, and whether it has a chat format.

    Raises ValueError for a tokenizer without an end, and for one that puts more than one token before a text.
    """
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    bare, whole = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    before = next(n for n in range(len(whole)) if whole[n : n + len(bare)] == bare or n == len(whole) - 1)
    if before > 1:
        raise ValueError(f"model={folder}: its tokenizer puts {before} tokens before a text; documents begin with one at most")
    words = tokenizer.get_vocab()
    # an instructed model names the end of its turn as its EOS, while its documents still end with </s>
    eos = words.get("</s>", tokenizer.eos_token_id)
    if eos is None:
        raise ValueError(f"model={folder}: its tokenizer has neither </s> nor an eos_token in tokenizer_config.json")
    return Record(
        form="it" if tokenizer.chat_template else "cpt",
        bos=whole[0] if before else None,
        eos=eos,
        terminator=words.get(END_OF_DOCUMENT, eos),
        tokenizer=tokenizer_hash(folder),
    )


def tokenizer_hash(folder: str) -> str:
    """Hash of all that decides ids: words, merges, normalization, special tokens. Of a folder, local or in a bucket."""
    path = storage.join(folder, "tokenizer.json")
    stated = storage.read_json(path) if storage.exists(path) else json.loads(_converted(folder))
    kept = {key: value for key, value in stated.items() if key not in _NOT_OF_THE_WORDS}
    return content_hash([json.dumps(kept, sort_keys=True).encode()])


def _converted(folder: str) -> str:
    """A tokenizer that is a sentencepiece model alone, as transformers reads it."""
    from transformers import AutoTokenizer

    return str(AutoTokenizer.from_pretrained(copies.localize(folder)).backend_tokenizer.to_str())


def require_pack(index: dict[str, Any], pack: str, model: str) -> None:
    """Raise ValueError for a pack whose units or token ids mean something else to a model than they did when it was packed."""
    fingerprint = index.get("fingerprint")
    if fingerprint:
        units = UnitVocabulary.load(model)
        if units is None:
            raise ValueError(f"model={model}: has no unit tokens, but pack={pack} holds some; extend_model adds them")
        units.fingerprint.require(Fingerprint.from_dict(fingerprint), f"model={model}", f"pack={pack}")
    record = load(model)
    mine = record.tokenizer if record else tokenizer_hash(model)
    if index.get("tokenizer") != mine:
        raise ValueError(
            f"pack={pack}: was made with another tokenizer ({index.get('tokenizer')}) than that of model={model} ({mine}); "
            "pack anew"
        )


def trained(record: Record, index: dict[str, Any]) -> Record:
    """The record of a model after training on the pack of an `index.json`."""
    form: Form = "it" if any(source.get("format") == "it" for source in index["sources"]) else "cpt"
    taught = set(record.directions) | set(index.get("directions", ()))
    speech = index.get("longest", {})
    return replace(
        record,
        form=form,
        bare=index.get("packing") == "megatron" if form == "cpt" else record.bare,
        terminator=index.get("terminator", record.terminator),
        prompts=index.get("prompts", record.prompts),
        directions=tuple(sorted(taught)),
        longest_units=max(record.longest_units, int(speech.get("units", 0))),
        longest_seconds=max(record.longest_seconds, float(speech.get("seconds", 0.0))),
    )
