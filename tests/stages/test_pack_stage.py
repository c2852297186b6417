"""The stage pack on a cluster: the same bytes for any number of workers, and on after it was stopped."""

import json
import shutil
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from spire_ray import cli
from spire_ray.manifest.schema import UNITS
from spire_ray.packs import choice
from spire_ray.packs.pack import Pack
from spire_ray.shards import marks
from spire_ray.stages import pack
from spire_ray.text.tokenizer import SpeechTokenizer


@pytest.fixture
def recipe(tmp_path, tiny_codebook, tiny_model, monkeypatch):
    """A function that writes and runs a recipe with some settings; returns the exit status."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    units = tmp_path / "units"
    units.mkdir()
    for part in range(3):
        rows = [
            {
                "utt_id": f"u{part}-{number}", "text": f"the dog {number}", "language": "en", "split": "train", "duration": 1.0,
                "translations": [("de", "der Hund")], "units": [number % 20, part, 7], "status": "labelled",
            }
            for number in range(40)
        ]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows, schema=UNITS), units / f"part-{part:06d}.parquet")
    (units / "fingerprint.json").write_text(json.dumps(tiny_codebook.fingerprint.to_dict()))
    text = [{"utt_id": f"t{n}", "text": f"a cat {n}", "language": "en", "split": "train"} for n in range(30)]
    pq.write_table(pa.Table.from_pylist(text), tmp_path / "text.parquet")
    sources = [
        {"task": "asr", "data": str(units), "tokens": 900},
        {"task": "st_multiturn", "data": str(units), "target_language": "de", "format": "it"},
        {"task": "text", "data": str(tmp_path / "text.parquet"), "weight": 1.5},
    ]

    def run(name, **changes):
        config = {"stage": "pack", "output": str(tmp_path / name), "model": tiny_model, "sequence_length": 96, "sources": sources}
        (tmp_path / "pack.yaml").write_text(yaml.safe_dump(config | {"tracking": {"enabled": False}} | changes))
        return cli.main(["pack", "--config", str(tmp_path / "pack.yaml")])

    return run


def test_workers_and_blocks_change_no_byte_and_a_stopped_run_goes_on(
    ray_session, recipe, tmp_path, tiny_model, monkeypatch, capsys
):
    assert recipe("one", workers=1, to="jsonl") == 0
    monkeypatch.setattr(pack, "_PARTS_IN_A_BLOCK", 1)
    monkeypatch.setattr(pack, "_ROWS_IN_A_BLOCK", 7)

    def stop(*_):
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch:  # after the blocks, before the choice
        patch.setattr(choice, "choose", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            recipe("two", workers=3, to="jsonl")
    blocks = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "two" / "_tokens").glob("*.json")}
    assert len(blocks) == 3 + 3 + 5
    last = tmp_path / "two" / "_tokens" / "block-000004.json"
    last.unlink()
    assert recipe("two", workers=2, to="jsonl") == 0
    assert "done in" in capsys.readouterr().out
    one, two = ((tmp_path / name / "rows-00000.arrow").read_bytes() for name in ("one", "two"))
    assert one == two
    lines = {path.name: path.read_text() for path in (tmp_path / "one" / "jsonl").iterdir()}
    assert lines == {path.name: path.read_text() for path in (tmp_path / "two" / "jsonl").iterdir()}
    index = json.loads((tmp_path / "two" / "index.json").read_text())
    assert [source["name"] for source in index["sources"]] == ["asr", "st_multiturn.de", "text"]
    assert abs(index["sources"][0]["tokens"] - 900) < 15
    assert index["sources"][2]["documents"] == 45
    assert "register_template(" in lines.pop("swift_template.py")
    counts = {name: len(text.splitlines()) for name, text in lines.items()}
    documents = [source["documents"] for source in index["sources"]]
    assert counts == {"chat-00000.jsonl": documents[1], "text-00000.jsonl": documents[0] + 45, "chat_template.jinja": 1}
    assert index["directions"] == ["asr.en", "turns.en-de"]
    assert index["longest"] == {"units": 3, "seconds": 1.0}
    tokenizer = SpeechTokenizer(tiny_model)
    assert (index["tokenizer"], index["terminator"]) == (tokenizer.record.tokenizer, tokenizer.eos)
    assert not (tmp_path / "two" / "_tokens").exists()
    assert (tmp_path / "two" / "card.md").exists()
    assert (tmp_path / "two" / "card.png").exists()


TURNS = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
MALFORMED = {
    "no units": {"units": []},
    "unit above the vocabulary": {"units": [3, 20]},  # of 0 to 19
    "unknown language": {"language": "xx"},
    "longer than a row": {"units": [1] * 100_000},
    "malformed conversation": {"conversations": TURNS[:1]},
    "empty turn": {"conversations": [TURNS[0], {"from": "gpt", "value": " "}]},
    "no text": {"text": None},
    "units written as text": {"text": "the \U000f0003 dog"},
    "control token written as text": {"text": "the dog<|im_end|>"},
    "not labelled": {"status": "rejected", "error": "digital silence"},
    "no conversations": {"conversations": None},
}


def test_many_malformed_rows_are_each_reported_by_id_and_reason_and_none_is_packed(ray_session, recipe, tmp_path, capsys):
    expected, spoken, written = {}, [], [{"utt_id": "fine", "split": "train", "conversations": json.dumps(TURNS)}]
    for number in range(110):
        reason = list(MALFORMED)[number % len(MALFORMED)]
        expected[f"bad{number}"] = reason
        row = {"utt_id": f"bad{number}", "text": f"the dog {number}", "language": "en", "split": "train", "duration": 1.0}
        row |= {"translations": [("de", "der Hund")], "units": [number % 20, 7], "status": "labelled", **MALFORMED[reason]}
        if "conversations" in row:
            written.append({**row, "conversations": json.dumps(row["conversations"]) if row["conversations"] else None})
        else:
            spoken.append(row)
    pq.write_table(pa.Table.from_pylist(spoken, schema=UNITS), tmp_path / "units" / "part-000003.parquet")
    pq.write_table(pa.Table.from_pylist(written), tmp_path / "chats.parquet")
    sources = [
        {"task": "asr", "data": str(tmp_path / "units")},
        {"task": "text", "data": str(tmp_path / "chats.parquet"), "format": "it"},
    ]
    assert recipe("pack", sources=sources) == 0
    listed = pq.read_table(tmp_path / "pack" / "rejected").to_pylist()
    assert len(listed) == 110
    assert {row["utt_id"]: row["reason"].partition(": ")[0] for row in listed} == expected
    assert "asr: left out 10: no units, such as bad0 (no units)" in capsys.readouterr().out
    opened = Pack(str(tmp_path / "pack"))
    packed = {utt_id for number in range(len(opened)) for utt_id in opened.described(number)["utt_ids"]}
    assert packed == {f"u{part}-{number}" for part in range(3) for number in range(40)} | {"fine"}
    card = (tmp_path / "pack" / "card.md").read_text()
    assert all(f"| {reason} | 10 |" in card for reason in MALFORMED)


def test_units_of_cut_and_of_whole_recordings_are_not_packed_together(ray_session, recipe, tmp_path, tiny_codebook, capsys):
    shutil.copytree(tmp_path / "units", tmp_path / "cut")
    for name, recordings in (("units", "whole"), ("cut", "cut 30s")):
        made = replace(tiny_codebook.fingerprint, identity=replace(tiny_codebook.fingerprint.identity, recordings=recordings))
        (tmp_path / name / "fingerprint.json").write_text(json.dumps(made.to_dict()))
    sources = [{"task": "asr", "name": name, "data": str(tmp_path / name)} for name in ("units", "cut")]
    assert recipe("pack", sources=sources) == 2
    assert "do not mean the same: recordings 'whole' against 'cut 30s'" in capsys.readouterr().err
    assert recipe("alone", sources=sources[1:]) == 0  # the codebook of the model says nothing of recordings


def test_units_of_another_dtype_warn_in_a_pack_or_are_refused(ray_session, recipe, tmp_path, capsys):
    for number, dtype in enumerate(("float32", "bfloat16")):
        marks.write(str(tmp_path / "units"), number, marks.Mark(numerics={"dtype": dtype}))
    sources = [{"task": "asr", "data": str(tmp_path / "units")}]
    assert recipe("pack", sources=sources) == 0
    assert "warning: units were made in different ways: dtype bfloat16 and float32" in capsys.readouterr().out
    assert recipe("strict", sources=sources, units={"strict": True}) == 2
    assert "units.strict=true" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sources": []}, "sources: name at least one"),
        ({"sequence_length": 1}, "sequence_length=1: a row holds 2 tokens at least"),
        ({"terminator": "<none>"}, "has no such token"),
    ],
)
def test_what_cannot_be_packed_is_one_line(ray_session, recipe, capsys, changes, reason):
    assert recipe("wrong", **changes) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("pack: error: ") and reason in line


def test_documents_without_bos_are_no_lines_for_other_trainers(recipe, capsys):
    assert recipe("pack", to="jsonl", packing="megatron") == 2
    assert "to=jsonl: other trainers begin every document with BOS; packing=megatron does not" in capsys.readouterr().err
