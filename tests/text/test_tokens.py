"""From rows to a pack without a cluster: the same bytes however the rows are cut, budgets met, nothing lost."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spire_ray.manifest.schema import UNITS
from spire_ray.settings import Filters, Pack, Source
from spire_ray.text import card, choice, pack, tokens
from spire_ray.text.tokenizer import SpeechTokenizer

WORDS = ["the", "dog", "sleeps", "a", "cat", "sees", "it", "two", "birds", "sing"]


def unit_rows(count, corpus="c", longest=60, seed=0):
    draw = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        units = draw.integers(0, 20, draw.integers(5, longest)).tolist()
        text = " ".join(draw.choice(WORDS, draw.integers(2, 9)))
        rows.append(
            {
                "utt_id": f"{corpus}{number}", "duration": len(units) / 25, "text": text, "language": "en", "corpus": corpus,
                "translations": [("de", text[::-1])], "split": "train", "units": units, "durations": [1] * len(units),
                "status": "labelled",
            }
        )  # fmt: skip
    return rows


def save(rows, folder, parts=1):
    folder.mkdir(parents=True)
    for part in range(parts):
        pq.write_table(pa.Table.from_pylist(rows[part::parts], schema=UNITS), folder / f"part-{part:06d}.parquet")
    return str(folder)


def packed(settings, rows_in_a_block=10_000):
    """What the stage does, in this process."""
    tokeniser, tokenizer = tokens.Tokeniser(settings), SpeechTokenizer(settings.model)
    blocks = []
    for number, source in enumerate(settings.sources):
        for file in sorted(pq.ParquetDataset(source.data).files):
            for first in range(0, pq.read_metadata(file).num_rows, rows_in_a_block):
                blocks.append({"source": number, "files": [file], "first": first, "rows": rows_in_a_block, "block": len(blocks)})
    for block in reversed(blocks):
        tokeniser.write(block)
    chosen = choice.choose(settings, len(blocks))
    form = pack.Form(settings.row_length, tokenizer.vocabulary_size, settings.packing, settings.seed)
    groups = [choice.pack_group(settings, form, chosen, len(blocks), g) for g in range(len(chosen.groups))]
    groups = json.loads(json.dumps(groups))  # as they come from the workers
    index = {"sources": choice.account(settings, chosen, groups), "prompts": settings.prompts, "rejected": chosen.rejected}
    facts = pack.write_index(settings.output, groups, form, index)
    card.write(settings.output, facts)
    return facts


def settings(model, output, *sources, **changes):
    return Pack(**{"model": model, "output": str(output), "sources": sources, "row_length": 128, **changes})


def test_the_pack_is_the_same_however_the_rows_are_cut(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr("spire_ray.text.budget.DOCUMENTS_IN_A_GROUP", 100)
    rows = unit_rows(400)
    made = []
    for parts, size in ((1, 10_000), (3, 50), (7, 13)):
        data = save(rows, tmp_path / f"units{parts}", parts)
        sources = (Source(task="asr", data=data, tokens=9000), Source(task="st", data=data, target_language="de", format="it"))
        facts = packed(settings(tiny_model, tmp_path / f"pack{parts}", *sources), size)
        made.append([(tmp_path / f"pack{parts}" / name).read_bytes() for name in facts["files"]])
    assert len(made[0]) > 3
    assert made[0] == made[1] == made[2]


def test_groups_do_not_change_what_is_packed(tiny_model, tmp_path, monkeypatch):
    data = save(unit_rows(300), tmp_path / "units")
    ids = []
    for size in (10_000, 60):
        monkeypatch.setattr("spire_ray.text.budget.DOCUMENTS_IN_A_GROUP", size)
        facts = packed(settings(tiny_model, tmp_path / f"pack{size}", Source(task="asr", data=data, weight=1.5)))
        opened = pack.Pack(str(tmp_path / f"pack{size}"))
        ids.append(sorted(utt_id for number in range(len(opened)) for utt_id in opened.described(number)["utt_ids"]))
        assert facts["documents"] == 450
    assert ids[0] == ids[1]
    assert {ids[0].count(utt_id) for utt_id in set(ids[0])} == {1, 2}


@pytest.mark.parametrize(
    ("weight", "uses"), [(1, {1: 10}), (2, {2: 10}), (0.5, {0: 5, 1: 5}), (2.3, {2: 7, 3: 3}), (0.04, {0: 10})]
)
def test_the_weight_says_how_often_rows_are_used(tiny_model, tmp_path, weight, uses):
    rows = unit_rows(10)
    data = save(rows, tmp_path / "units")
    packed(settings(tiny_model, tmp_path / "pack", Source(task="asr", data=data, weight=weight)))
    opened = pack.Pack(str(tmp_path / "pack"))
    made = [utt_id for number in range(len(opened)) for utt_id in opened.described(number)["utt_ids"]]
    counts = [made.count(row["utt_id"]) for row in rows]
    assert {use: counts.count(use) for use in set(counts)} == uses


def test_the_documents_end_as_the_golden_form_says(tiny_model, tmp_path):
    data = save(unit_rows(1), tmp_path / "units")
    text = unit_rows(1)[0]["text"]
    tokenizer = SpeechTokenizer(tiny_model)
    for packing, before in (("best_fit", "<s>"), ("megatron", "")):
        for terminator in ("", "<|im_end|>"):
            folder = tmp_path / f"{packing}{terminator}"
            packed(settings(tiny_model, folder, Source(task="asr", data=data), packing=packing, terminator=terminator))
            row = pack.Pack(str(folder)).described(0)
            ids = row["input_ids"][: row["document_lengths"][0]]
            rendered = tokenizer.text.decode(ids, skip_special_tokens=False)
            spoken = "".join(chr(0xF0000 + unit) for unit in unit_rows(1)[0]["units"])
            assert rendered == f"{before}Speech: {spoken}\nEnglish: {text}{terminator or '</s>'}"
            assert row["loss_mask"][: len(ids)] == [1] * len(ids)
    with pytest.raises(ValueError, match=r"terminator='<none>': .* has no such token"):
        packed(settings(tiny_model, tmp_path / "none", Source(task="asr", data=data), terminator="<none>"))


def test_megatron_rows_are_full_and_seen_through(tiny_model, tmp_path):
    data = save(unit_rows(80), tmp_path / "units")
    facts = packed(settings(tiny_model, tmp_path / "pack", Source(task="asr", data=data), packing="megatron", row_length=64))
    made = pack.Pack(str(tmp_path / "pack"))
    rows = list(made.epoch(0, 0))
    assert made.whole_rows
    assert sum(int(row.lengths.sum()) for row in rows) == facts["tokens"] > 64 * (len(rows) - 1)
    assert all(row.counted[: row.lengths.sum()].all() for row in rows)


def test_duplicates_go_and_long_plain_text_is_cut(tiny_model, tmp_path):
    rows = unit_rows(30)
    again = [{**row, "utt_id": f"again{row['utt_id']}"} for row in rows[:10]]
    essay = {**rows[0], "utt_id": "essay", "text": " ".join(WORDS * 30), "translations": []}
    data = save([*rows, *again, essay], tmp_path / "units")
    sources = (
        Source(task="asr", data=data, filters=Filters(duplicates=True)),
        Source(task="text", data=data, name="text"),
    )
    facts = packed(settings(tiny_model, tmp_path / "pack", *sources, row_length=64))
    kinds = facts["rejected"]["asr"]
    kept = {utt_id.removeprefix("again") for utt_id in documents_of(tmp_path / "pack", 0)}
    assert kinds["duplicate"]["count"] == len(kept & {row["utt_id"] for row in rows[:10]}) > 0
    assert len(documents_of(tmp_path / "pack", 0)) == len(kept)
    assert kinds["longer than a row"]["count"] >= 1
    assert facts["sources"][1]["documents"] == 41  # the essay is one document, in pieces
    assert documents_of(tmp_path / "pack", 1).count("essay") > 5
    assert "duplicate" in (tmp_path / "pack" / "card.md").read_text()


def documents_of(folder, source):
    opened = pack.Pack(str(folder))
    rows = [opened.described(number) for number in range(len(opened))]
    return [utt_id for row in rows for utt_id, each in zip(row["utt_ids"], row["source"], strict=True) if each == source]


def test_a_budget_beyond_the_rows_is_said_to_fall_short(tiny_model, tmp_path):
    data = save(unit_rows(50), tmp_path / "units")
    sources = [Source(task="asr", data=data, units=5000, name="short"), Source(task="asr", data=data, units=3000, max_epochs=4)]
    short, enough = packed(settings(tiny_model, tmp_path / "pack", *sources))["sources"]
    assert short["documents"] == 50
    assert short["short"] == f"brings {short['units']} of 5000 units; rows are used 1 times at most"
    assert abs(enough["units"] - 3000) < 60
    assert not enough["short"]


def test_a_source_of_which_nothing_is_left_is_refused_with_the_reasons(tiny_model, tmp_path):
    data = save(unit_rows(5), tmp_path / "units")
    with pytest.raises(ValueError, match=r"sources\.asr: nothing is left of .*: 5 longer than a row, such as c0"):
        packed(settings(tiny_model, tmp_path / "pack", Source(task="asr", data=data), row_length=4))
