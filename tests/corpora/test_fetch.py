"""A data recipe → everything it names, from a hub that is played here or from copies, and then no network."""

import io
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from spire_ray.core import config, storage
from spire_ray.corpora import fetch
from spire_ray.corpora.fetch import Recipe
from spire_ray.settings.common import LicenseSettings
from spire_ray.tools import data
from tests.corpora.small import TABLES, flores_plus, gigaspeech, tar, tower_eval

ACCEPTED = LicenseSettings(accept=("gigaspeech", "towerblocks", "wmt23", "cc-by-nc-4.0"))


@pytest.fixture
def hub(tmp_path, monkeypatch, tiny_base):
    """A hub that holds some corpora and a model, and counts what is asked of it."""
    import huggingface_hub

    root, asked = tmp_path / "hub", []
    names = ("speechcolab/gigaspeech", "google/fleurs", "openlanguagedata/flores_plus", "Unbabel/TowerEval-Data-v0.1")
    roots = {name: root / name.replace("/", "--") for name in (*names, "Unbabel/TowerBlocks-v0.2")}
    sound = io.BytesIO()
    soundfile.write(sound, np.random.default_rng(0).standard_normal(40_000) / 8, 16_000, format="WAV")
    gigaspeech(roots["speechcolab/gigaspeech"], sound.getvalue())
    (roots["Unbabel/TowerBlocks-v0.2"] / "data").mkdir(parents=True)
    blocks = pa.Table.from_pylist(TABLES["towerblocks"])
    pq.write_table(blocks, roots["Unbabel/TowerBlocks-v0.2"] / "data" / "train-00000-of-00004.parquet")
    tar(roots["speechcolab/gigaspeech"] / "data" / "audio" / "test_files" / "test_chunks_0000.tar.gz", {})
    for split in ("dev", "devtest"):
        flores_plus(roots["openlanguagedata/flores_plus"], split)
    (roots["google/fleurs"] / "parquet-data" / "en_us").mkdir(parents=True)
    sentences = [
        {**TABLES["fleurs"][0], "path": f"{n}.wav", "raw_transcription": t} for n, t in enumerate(("A tornado.", "Other."))
    ]
    pq.write_table(
        pa.Table.from_pylist(sentences), roots["google/fleurs"] / "parquet-data" / "en_us" / "train-00000-of-00001.parquet"
    )
    wmt = tower_eval(tmp_path / "wmt", "mt", "wmt23", {"src": "Hi", "ref": "Hallo"})
    tar(roots["Unbabel/TowerEval-Data-v0.1"] / "data.tar.gz", {"data/raw_data/mt/wmt23.en-de/test.jsonl": wmt.read_bytes()})

    def files(self, name, **given):
        return [str(path.relative_to(roots[name])) for path in sorted(roots[name].rglob("*")) if path.is_file()]

    def download(name, file, **given):
        asked.append(file)
        return str(roots[name] / file)

    def info(self, name, **given):
        if name == "org/unread":
            raise OSError("no network")
        return SimpleNamespace(card_data={"license": "cc-by-nc-4.0"})

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", files)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **given: asked.append(name) or tiny_base)
    return asked


def test_what_was_fetched_is_enough_without_a_network(hub, tmp_path, monkeypatch, capsys):
    import socket

    from spire_ray.text.tokenizer import SpeechTokenizer

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "{corpora: [gigaspeech, fleurs, flores-plus], models: [some/model@v1], casing: sentence,"
        " license: {accept: [gigaspeech, some/model]}}"
    )
    to = str(tmp_path / "data")
    assert data.main(["fetch", str(recipe), "--to", to]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "license of" not in line] == [
        f"flores-plus: 2 rows, 0 refused → {to}/flores-plus",
        f"gigaspeech: 1 rows, 1 refused → {to}/gigaspeech",
        f"fleurs: 2 rows, 0 refused, 1 without a translation → {to}/fleurs",
    ]
    assert hub[0] == "some/model"
    assert "data/audio/xs_files/xs_chunks_0000.tar.gz" in hub and "data/audio/test_files/test_chunks_0000.tar.gz" not in hub
    asked = len(hub)
    assert data.main(["fetch", str(recipe), "--to", to]) == 0  # done already: nothing is asked for
    assert len(hub) == asked

    def blocked(*_, **__):
        raise AssertionError("a network was asked")

    monkeypatch.setattr(socket, "socket", blocked)
    assert data.main(["check", "gigaspeech", f"{to}/gigaspeech"]) == 0
    assert "1 rows, 0.0 h, 0.0% of its own 10000 h" in capsys.readouterr().out
    said = pq.read_table(next((tmp_path / "data" / "gigaspeech").glob("part-*.parquet"))).to_pylist()
    assert [row["text"] for row in said] == ["As they're leaving, can kash pull zahra aside?"]
    refused = pq.read_table(tmp_path / "data" / "gigaspeech" / "refused").to_pylist()
    assert {row["reason"] for row in refused} == {"noise segment: <MUSIC>"}
    read = pq.read_table(next((tmp_path / "data" / "fleurs").glob("part-*.parquet"))).to_pylist()
    assert [sorted(row["translations"]) for row in read] == [[("de", "Ein Tornado."), ("zh", "龙卷风。")], []]
    assert SpeechTokenizer(f"{to}/models/model").encode([]) == []


def test_an_archive_on_the_hub_is_unpacked(hub, tmp_path):
    counts = fetch.fetch(Recipe(corpora=("wmt23",), splits=("test",), license=ACCEPTED), str(tmp_path / "to"))
    assert counts == {"wmt23": {"rows": 1, "refused": 0}}
    assert hub == ["data.tar.gz"]


def test_files_that_are_not_there_are_named_with_what_is(hub, tmp_path):
    with pytest.raises(
        ValueError, match=r"fleurs: google/fleurs holds no parquet-data/en_us/test-\*\.parquet; it holds parquet-data"
    ):
        fetch.fetch(Recipe(corpora=("fleurs", "flores-plus"), splits=("test",)), str(tmp_path / "to"))
    with pytest.raises(ValueError, match="corpora: fleurs takes its translations of flores-plus; add that"):
        fetch.fetch(Recipe(corpora=("fleurs",)), str(tmp_path / "to"))
    with pytest.raises(ValueError, match=r"local\.gigaspeech=.*: no data/audio/\[xsml\]\*_files\*/\*\.tar\.gz there"):
        fetch.fetch(Recipe(corpora=("gigaspeech",), local={"gigaspeech": str(tmp_path)}, license=ACCEPTED), str(tmp_path / "to"))


def test_what_cannot_be_downloaded_is_said_before_anything_is(hub, tmp_path):
    with pytest.raises(ValueError, match=r"not to be downloaded: covost2 \(unpack .*then name the copy under local"):
        fetch.fetch(Recipe(corpora=("gigaspeech", "covost2")), str(tmp_path / "to"))
    assert not hub


def test_the_audio_of_a_copy_comes_along(hub, tmp_path):
    """Clips inside their rows, a recording that segments share once; what is not there is refused."""
    covost, europarl, to = (tmp_path / name for name in ("covost", "europarl", "to"))
    (covost / "clips").mkdir(parents=True)
    (covost / "clips" / "x.mp3").write_bytes(b"ID3")
    for code in ("de", "zh-CN"):
        lines = "x.mp3\tThe dog.\ty\ngone.mp3\tThe cat.\ty\n"
        (covost / f"covost_v2.en_{code}.train.tsv").write_text("path\tsentence\ttranslation\n" + lines)
    segments = europarl / "en" / "de" / "train"
    segments.mkdir(parents=True)
    (europarl / "en" / "audios").mkdir()
    (europarl / "en" / "audios" / "speech.m4a").write_bytes(b"m4a")
    for name, lines in (("lst", "speech 0.0 2.5\nspeech 2.5 4.0\n"), ("en", "One.\nTwo.\n"), ("de", "Eins.\nZwei.\n")):
        (segments / f"segments.{name}").write_text(lines)
    recipe = Recipe(
        corpora=("covost2", "europarl-st"), local={"covost2": str(covost), "europarl-st": str(europarl)}, license=ACCEPTED
    )
    assert fetch.fetch(recipe, str(to)) == {"covost2": {"rows": 1, "refused": 1}, "europarl-st": {"rows": 2, "refused": 0}}
    assert not hub
    (clip,) = pq.read_table(next((to / "covost2").glob("part-*.parquet"))).to_pylist()
    assert clip["audio"] == {"bytes": b"ID3", "path": "x.mp3"}
    (refused,) = pq.read_table(to / "covost2" / "refused").to_pylist()
    assert refused["reason"] == f"no audio: {covost}/clips/gone.mp3"
    rows = pq.read_table(next((to / "europarl-st").glob("part-*.parquet"))).to_pylist()
    assert [(row["audio"]["path"], row["offset"]) for row in rows] == [("audio/speech.m4a", 0.0), ("audio/speech.m4a", 2.5)]
    assert (to / "europarl-st" / "audio" / "speech.m4a").read_bytes() == b"m4a"
    with pytest.raises(ValueError, match=r"covost2: covost was prepared with casing=keep; choose another folder"):
        fetch.fetch(Recipe(corpora=("covost2",), casing="lower", local=recipe.local, license=ACCEPTED), str(to))


def test_speech_is_labelled_and_packed_of_what_was_fetched_with_sockets_blocked(
    hub, tmp_path, tiny_codebook, tiny_model, monkeypatch
):
    import socket

    from spire_ray.packs import choice, pack, tokens
    from spire_ray.settings import LabelSettings, PackSettings, SourceSettings
    from tests.stages.test_label import labelled_here

    to = tmp_path / "to"
    fetch.fetch(Recipe(corpora=("gigaspeech", "towerblocks"), license=ACCEPTED), str(to))

    def blocked(*_, **__):
        raise AssertionError("a network was asked")

    monkeypatch.setattr(socket, "socket", blocked)
    tiny_codebook.save(str(tmp_path / "codebook"))
    labelled_here(
        LabelSettings(manifest=str(to / "gigaspeech"), codebook=str(tmp_path / "codebook"), output=str(tmp_path / "units"))
    )
    (row,) = pq.read_table(tmp_path / "units" / "part-000000.parquet").to_pylist()
    assert (row["status"], row["text"]) == ("labelled", "AS THEY'RE LEAVING, CAN KASH PULL ZAHRA ASIDE?")
    sources = (
        SourceSettings(task="asr", data=str(tmp_path / "units")),
        SourceSettings(task="text", data=str(to / "towerblocks"), format="it"),
    )
    settings = PackSettings(model=tiny_model, output=str(tmp_path / "pack"), sources=sources, sequence_length=256)
    tokeniser = tokens.Tokeniser(settings)
    for number, file in enumerate((tmp_path / "units" / "part-000000.parquet", next((to / "towerblocks").glob("part-*")))):
        tokeniser.write({"source": number, "files": [str(file)], "first": 0, "rows": -1, "block": number})
    chosen, form = choice.choose(settings, 2), pack.Form(256, 384)
    facts = choice.pack_group(settings, form, chosen, 2, 0)
    assert facts["documents"] == 2


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        ("{corpora: [gigaspeach]}", "corpus 'gigaspeach' is unknown; did you mean gigaspeech?"),
        ("{corpora: gigaspeech}", "corpora='gigaspeech': expected a list"),
        ("{corpora: [wmt23], casing: upper}", "casing='upper': expected keep, lower, sentence"),
        ("{corpora: [wmt23], splits: [train]}", "splits: wmt23 has no 'train'; it has test"),
        ("{corpora: [commonvoice], local: {commonvoice: /nowhere}}", "local.commonvoice=/nowhere: not found"),
        ("{corpora: [gigaspeech]}", "is non-commercial; to accept it set license.accept=[gigaspeech]"),
        ("{corpora: [fleurs, flores-plus, towerblocks]}", "on its card alone; read it and set license.accept=[towerblocks]"),
        (
            "{models: [org/nc]}",
            "its license cc-by-nc-4.0 is non-commercial; to accept it set license.accept=[cc-by-nc-4.0]",
        ),
        ("{models: [org/unread]}", "if you know and accept it, set license.accept=[org/unread]"),
        ("{corpora: [wmt23], license: yes}", "license=True: expected {accept: [name, …]}"),
        ("{corpus: [wmt23]}", "expected a mapping with any of casing, corpora, license, local, models, splits"),
    ],
)
def test_a_wrong_recipe_is_one_line_before_anything_is_asked(hub, tmp_path, capsys, recipe, reason):
    (tmp_path / "r.yaml").write_text(recipe)
    assert data.main(["fetch", str(tmp_path / "r.yaml"), "--to", str(tmp_path / "to")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("data: error: ") and line.endswith(reason)
    assert not hub


def test_a_license_of_a_corpus_is_accepted_by_its_name_before_a_copy_is_taken(hub, tmp_path):
    copy = {"local": {"covost2": str(tmp_path)}, "corpora": ("covost2",)}
    with pytest.raises(ValueError, match=r"corpus=covost2: its license cc-by-nc-4\.0 .* set license\.accept=\[cc-by-nc-4\.0\]"):
        fetch.fetch(Recipe(**copy), str(tmp_path / "to"))
    with pytest.raises(ValueError, match=r"no covost_v2"):  # the next thing that is asked
        fetch.fetch(Recipe(**copy, license=LicenseSettings(accept=("CC-BY-NC-4.0",))), str(tmp_path / "to"))


def test_a_hub_that_cannot_be_asked_is_one_line(monkeypatch, tmp_path, capsys):
    import huggingface_hub

    class GatedRepoError(Exception):
        pass

    def refuse(*_, **__):
        raise GatedRepoError("403 Client Error.\nAccess is restricted.")

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", refuse)
    (tmp_path / "r.yaml").write_text("{corpora: [gigaspeech], license: {accept: [gigaspeech]}}")
    assert data.main(["fetch", str(tmp_path / "r.yaml"), "--to", str(tmp_path / "to")]) == 2
    assert capsys.readouterr().err == (
        "data: error: speechcolab/gigaspeech: the Hub gave nothing: 403 Client Error. Access is restricted.; "
        "accept its terms on its page and set HF_TOKEN\n"
    )


def test_the_stage_fetches_what_is_named_and_goes_on_when_more_is(hub, tmp_path):
    from spire_ray.stages import fetch as stage

    segments = tmp_path / "europarl" / "en" / "de" / "train"
    segments.mkdir(parents=True)
    (tmp_path / "europarl" / "en" / "audios").mkdir()
    (tmp_path / "europarl" / "en" / "audios" / "speech.m4a").write_bytes(b"m4a")
    for name, lines in (("lst", "speech 0.0 2.5\n"), ("en", "One.\n"), ("de", "Eins.\n")):
        (segments / f"segments.{name}").write_text(lines)
    place = {"europarl-st": str(tmp_path / "europarl")}
    given = {"stage": "fetch", "output": str(tmp_path / "to"), "corpora": ["europarl-st"], "local": place}
    settings = config.validate(given | {"license": {"accept": ["cc-by-nc-4.0"]}})
    assert f"of {place['europarl-st']}" in "".join(stage.plan(settings))
    job = SimpleNamespace(settings=settings, facts={})
    assert stage.grown(settings)
    stage.run(job)
    assert job.facts == {"rows": 1, "refused": 0} and not stage.grown(settings)
    more = config.validate(given | {"models": ["some/model"]})
    assert stage.grown(more) and config.identity(more) == config.identity(settings)
    with pytest.raises(ValueError, match="corpus 'klingon' is unknown"):
        list(stage.plan(config.validate(given | {"corpora": ["klingon"]})))


def test_the_stage_takes_over_what_the_command_has_fetched_and_no_other_folder(hub, tmp_path):
    from spire_ray.core.provenance import Output
    from spire_ray.stages import fetch as stage

    given = {"corpora": ["flores-plus"], "splits": ["devtest"], "models": ["some/model"], "license": {"accept": ["some/model"]}}
    fetch.fetch(Recipe(corpora=("flores-plus",), splits=("devtest",)), str(tmp_path / "to"))
    settings = config.validate(given | {"stage": "fetch", "output": str(tmp_path / "to")})
    asked = len(hub)
    assert Output.open(settings, stage.adopts).record["status"] == "began" and stage.grown(settings)
    stage.run(SimpleNamespace(settings=settings, facts={}))
    assert not stage.grown(settings) and not any("flores" in str(file) for file in hub[asked:])  # the model alone
    (tmp_path / "to" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds files but no run\.json"):
        Output.open(settings, stage.adopts)


def test_splits_that_are_named_later_are_brought_and_another_revision_of_a_model_is_refused(hub, tmp_path):
    from spire_ray.stages import fetch as stage

    given = {"stage": "fetch", "output": str(tmp_path / "to"), "corpora": ["flores-plus"], "splits": ["devtest"]}
    given |= {"models": ["some/model@v1"], "license": {"accept": ["some/model"]}}
    corpus = tmp_path / "to" / "flores-plus" / "corpus.json"

    def settings(**changes):
        return config.validate(given | changes)

    def run(settings):
        stage.run(SimpleNamespace(settings=settings, facts={}))
        return {key: storage.read_json(str(corpus))[key] for key in ("splits", "rows")}

    assert run(settings()) == {"splits": ["devtest"], "rows": 1} and not stage.grown(settings())
    more = settings(splits=["dev"])
    asked = len(hub)
    assert stage.grown(more) and run(more) == {"splits": ["dev", "devtest"], "rows": 2}
    assert hub[asked:] and not any("devtest" in file for file in hub[asked:])  # the new split alone
    assert not any(stage.grown(settings(splits=splits)) for splits in (["dev"], ["devtest"], ["dev", "devtest"]))
    asked = len(hub)
    for model in ("some/model@v2", "some/model", "other/model@v1"):
        with pytest.raises(ValueError, match=f"models/model: holds some/model@v1, not {model}; choose another folder"):
            stage.grown(settings(models=[model]))
        with pytest.raises(ValueError, match="holds some/model@v1"):  # before anything else is brought
            run(settings(models=["new/one", model], license={"accept": ["new/one", model, "some/model"]}))
    assert len(hub) == asked
    with pytest.raises(ValueError, match="was prepared with casing=keep"):  # a split that was not there would be another way
        fetch.fetch(Recipe(corpora=("flores-plus",), splits=("dev",), casing="lower"), str(tmp_path / "to"))
