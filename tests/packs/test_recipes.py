"""The recipes of the paper's models: what they name, and that they bring what they plan."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spire_ray.core import config
from spire_ray.manifest.schema import UNITS
from spire_ray.packs import choice, mixture, pack, tokens
from spire_ray.text.tokenizer import SpeechTokenizer

ROOT = Path(__file__).parents[2]
TABLE_2 = {  # deduplicated units, paper
    "commonvoice": 105e6,
    "europarl-st": 122e6,
    "fleurs": 11e6,
    "covost2": 12e6,
    "pseudo.spgispeech": 350e6,
    "pseudo.gigaspeech": 161e6,
    "pseudo.commonvoice": 212e6,
}
TARGETS = ("de", "es", "fr", "it", "ko", "nl", "pt", "ru", "zh")


def recipe(name):
    return config.load(str(ROOT / "configs" / "spire" / f"{name}.yaml"), (), "pack")


def units_of(sources):
    brought = {}
    for source in sources:
        if source.units:
            corpus = mixture.name(source).removesuffix(".direct").removesuffix(".multiturn")
            brought[corpus] = brought.get(corpus, 0) + source.units
    return brought


@pytest.mark.parametrize("name", ["pack_it", "pack_it_towerfull", "pack_it_noblocks", "pack_it_nopseudo"])
def test_the_recipes_of_instruction_tuning_plan_what_table_2_counts(name):
    sources = recipe(name).sources
    expected = {corpus: units for corpus, units in TABLE_2.items() if "nopseudo" not in name or "pseudo" not in corpus}
    assert units_of(sources) == pytest.approx(expected)
    assert ("towerblocks" in {mixture.name(source) for source in sources}) == ("noblocks" not in name)
    direct = sum(source.units for source in sources if source.task == "st")
    assert direct / sum(source.units for source in sources if source.task != "asr") == pytest.approx(0.6)


def test_the_recipe_of_pre_training_plans_five_parts_of_speech_to_one_of_text():
    sources = recipe("pack_cpt").sources
    assert units_of(sources) == pytest.approx({"spgispeech": 645e6, "gigaspeech": 1.2e9, "mls": 2.4e9, "voxpopuli": 69e6})
    assert sum(source.tokens for source in sources) == pytest.approx(1e9, rel=0.001)


@pytest.mark.long
@pytest.mark.parametrize(("name", "part"), [("pack_it", 200), ("pack_cpt", 2000)])
def test_a_part_of_a_recipe_brings_every_source_within_two_percent_of_its_target(tiny_model, tmp_path, name, part):
    """Synthetic clips and texts: SpireFull at 1/200, 5 M units, and SpireBase at 1/2000; the tokenizer is a tiny one."""
    given = recipe(name)
    folders = {source.data: tmp_path / f"{number}" for number, source in enumerate(given.sources)}
    draw = np.random.default_rng(0)
    for data, folder in folders.items():
        mine = [source for source in given.sources if source.data == data]
        _write(folder, mine[0], sum(source.units for source in mine) / part, draw)
    sources = tuple(replace(source, data=str(folders[source.data])) for source in given.sources)
    settings = replace(given, sources=sources, model=tiny_model, output=str(tmp_path / "pack"), scale=1 / part)
    tokeniser, blocks = tokens.Tokeniser(settings), 0
    for number, source in enumerate(sources):
        for file in sorted(Path(source.data).glob("part-*.parquet")):
            tokeniser.write({"source": number, "files": [str(file)], "first": 0, "rows": -1, "block": blocks})
            blocks += 1
    chosen = choice.choose(settings, blocks)
    form = pack.Form(settings.sequence_length, SpeechTokenizer(tiny_model).vocabulary_size, settings.packing, settings.seed)
    groups = [choice.pack_group(settings, form, chosen, blocks, number) for number in range(len(chosen.groups))]
    facts = choice.account(settings, chosen, groups)
    budgets = [(source, *target) for source in facts for target in source["target"].items() if target[0] != "epochs"]
    assert len(budgets) == len([source for source in sources if source.units or source.tokens])
    for source, measure, target in budgets:
        assert source[measure] == pytest.approx(target, rel=0.02), source["name"]
        assert not source["short"]
    index = pack.write_index(settings.output, groups, form, {"sources": facts})
    assert index["fill"] >= 0.995
    assert index["tokens"] > sum(source.units + source.tokens for source in sources) / part


def _write(folder, source, units, draw):
    """Clips with half again as many units as are needed, in parts; texts and conversations in plenty."""
    folder.mkdir()
    if source.task in ("text", "mt"):
        turns = json.dumps([{"from": "human", "value": "the dog " * 20}, {"from": "gpt", "value": "der Hund " * 30}])
        rows = [
            {
                "utt_id": f"t{number}", "split": "train", "language": "en", "text": "the dog sleeps " * int(draw.integers(3, 30)),
                "translations": [(code, "der Hund " * int(draw.integers(3, 30))) for code in TARGETS],
                "conversations": turns if source.format == "it" else None,
            }
            for number in range(3000)
        ]  # fmt: skip
        schema = pa.schema([*(UNITS.field(name) for name in rows[0] if name != "conversations"), ("conversations", pa.string())])
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "part-000000.parquet")
        return
    pairs = 3 if source.target_language else 1  # each pair of audio and target language counts
    rows, made = [], 0
    while made < 1.5 * units / pairs:
        count = int(draw.integers(60, 500))
        text = "the dog sleeps " * (count // 60 + 1)
        rows.append(
            {
                "utt_id": f"{folder.name}-{len(rows)}", "text": text, "language": "en", "split": "train", "duration": count / 35,
                "translations": [(code, text) for code in ("de", "fr", "zh")], "units": draw.integers(0, 20, count).tolist(),
                "status": "labelled",
            }
        )  # fmt: skip
        made += count
    for part, start in enumerate(range(0, len(rows), 2000)):
        pq.write_table(pa.Table.from_pylist(rows[start : start + 2000], schema=UNITS), folder / f"part-{part:06d}.parquet")
