"""Every system answers, in batches, as its own class's `generate` does to one clip or text alone."""

import os

import numpy as np
import pytest
import torch
import transformers

from spire_ray.audio import wav
from spire_ray.evaluation.systems import SYSTEMS, Answer
from spire_ray.evaluation.tasks import TASKS, Question
from spire_ray.evaluation.test_set import Recording, Row
from spire_ray.settings import EvaluatedModel, GenerateSettings
from tests.evaluation.systems import tiny_systems

SECONDS = (1.0, 0.4, 2.3, 0.7)


@pytest.fixture(scope="module")
def rows():
    draw = np.random.default_rng(0)
    made = []
    for n, seconds in enumerate(SECONDS):
        time = np.arange(int(16_000 * seconds)) / 16_000
        sound = sum(np.sin(2 * np.pi * f * time) for f in draw.uniform(100, 4000, 6)) / 8 + draw.standard_normal(len(time)) / 50
        clip = Recording(wav.encode(sound.astype(np.float32)), 0.0, None)
        text = " ".join(draw.choice(tiny_systems.WORDS, n + 2))
        made.append(Row(utt_id=str(n), language="en", text=text, translation="w1", audio=clip, duration=seconds))
    return made


def system(kind, folder="", tasks=("asr",), **options):
    model = EvaluatedModel(name="m", system=kind, model=str(folder), tasks=tasks, options=options)
    settings = GenerateSettings(output="", data="d", models=(model,), max_new_tokens=12, batch_size=3)
    return SYSTEMS[kind].load(model, settings)


def answers(made, task, rows, target="de"):
    found = made.answer([TASKS[task].request(Question(row, target, row.text)) for row in rows])
    assert all(isinstance(answer, Answer) and not answer.error for answer in found)
    return [answer.text for answer in found]


def samples(row):
    from spire_ray.audio import decode

    return decode.load(*row.audio)


@pytest.mark.parametrize("languages", [True, False])
def test_whisper_writes_what_its_own_generate_writes(tmp_path, rows, languages):
    folder = tiny_systems.whisper(str(tmp_path), languages)
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def alone(row, task):
        features = extractor(samples(row), sampling_rate=16_000, return_tensors="pt").input_features
        how = {"language": "en", "task": task} if languages else {}
        return tokenizer.decode(model.generate(features, max_new_tokens=12, **how)[0], skip_special_tokens=True).strip()

    made = system("whisper", folder)
    expected = [alone(row, "transcribe") for row in rows]
    assert answers(made, "asr", rows) == expected and len(set(expected)) > 1
    if languages:
        assert answers(made, "st_direct", rows, "en") == [alone(row, "translate") for row in rows] != expected


def test_whisper_translates_into_english_alone():
    model = EvaluatedModel(name="m", system="whisper", model="a", tasks=("st_direct",))
    with pytest.raises(ValueError, match="whisper translates into English alone, not into de"):
        SYSTEMS["whisper"].check(model, [("st", "en", "de")])


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_ctc_writes_what_each_clip_alone_gives(tmp_path, rows, norm):
    folder = tiny_systems.hubert(str(tmp_path), norm)
    model = transformers.HubertForCTC.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    expected = []
    for row in rows:
        with torch.inference_mode():
            logits = model(extractor(samples(row), sampling_rate=16_000, return_tensors="pt").input_values).logits
        expected.append(tokenizer.decode(logits[0].argmax(-1)).strip())
    assert answers(system("ctc", folder), "asr", rows) == expected and len(set(expected)) > 1


def test_seamless_writes_what_its_own_generate_writes(tmp_path, rows):
    folder = tiny_systems.seamless(str(tmp_path))
    model = transformers.SeamlessM4Tv2Model.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)

    def alone(given, language):
        ids = model.generate(**given, tgt_lang=language, generate_speech=False, max_new_tokens=12)
        return tokenizer.decode(ids[0][0] if not isinstance(ids, torch.Tensor) else ids[0], skip_special_tokens=True).strip()

    made = system("seamless", folder)
    spoken = [extractor(samples(row), sampling_rate=16_000, return_tensors="pt") for row in rows]
    written = [tokenizer(row.text, return_tensors="pt") for row in rows]
    said = answers(made, "asr", rows)
    assert said == [alone(each, "eng") for each in spoken] and len(set(said)) > 1
    assert answers(made, "st_direct", rows) == [alone(each, "deu") for each in spoken]
    assert answers(made, "mt", rows) == [alone(each, "deu") for each in written]


def test_a_folder_of_another_class_is_refused(tmp_path):
    folder = tiny_systems.hubert(str(tmp_path))
    with pytest.raises(ValueError, match=r"models\.m\.model=.*: is a HubertForCTC, no WhisperForConditionalGeneration"):
        system("whisper", folder)


def test_a_clip_that_cannot_be_heard_is_the_error_of_its_row(tmp_path, rows):
    broken = Row(utt_id="x", language="en", audio=Recording(b"RIFF nothing", 0.0, None))
    found = system("ctc", tiny_systems.hubert(str(tmp_path))).answer(
        [TASKS["asr"].request(Question(row, "de")) for row in (rows[0], broken)]
    )
    assert not found[0].error and found[1].error and not found[1].text


@pytest.fixture
def endpoint():
    """A server that says what it was asked, and refuses one text."""
    import json
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = 200
            if self.path == "/v1/chat/completions":
                question = json.loads(body)["messages"][0]["content"]
                status = 400 if "refuse me" in question else 200
                said = {"choices": [{"message": {"content": question}}], "usage": {"completion_tokens": 7}}
            else:
                language = body.split(b'name="language"\r\n\r\n')[1].split(b"\r\n")[0].decode()
                said = {"text": f" {self.path} {language} {b'RIFF' in body} "}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def test_an_endpoint_is_asked_in_its_own_terms(endpoint, rows):
    made = system("endpoint", url=endpoint, name="some-model")
    assert answers(made, "asr", rows) == ["/v1/audio/transcriptions en True"] * 4
    assert answers(made, "st_direct", rows[:1]) == ["/v1/audio/translations en True"]
    wrong = Row(utt_id="x", language="en", text="refuse me")
    found = made.answer([TASKS["mt"].request(Question(row, "de")) for row in (rows[0], wrong)])
    question = "Translate the following text from English to German.\nEnglish: {}\nGerman:"
    assert (found[0].text, found[0].tokens) == (question.format(rows[0].text), 7)
    assert found[1].error.startswith("refused: 400: ") and not found[1].text


def test_an_endpoint_that_is_not_there_ends_the_job_and_not_its_rows(rows, monkeypatch):
    monkeypatch.setattr("spire_ray.evaluation.systems.endpoint._RETRIES", 0)
    with pytest.raises(ConnectionError, match=r"models\.m\.options\.url=http://127\.0\.0\.1:9/v1: no answer"):
        answers(system("endpoint", url="http://127.0.0.1:9/v1", name="a"), "mt", rows)
    with pytest.raises(ValueError, match=r"models\.m\.options: needs `url`"):
        SYSTEMS["endpoint"].check(EvaluatedModel(name="m", system="endpoint", tasks=("mt",)), [])


WHISPER = os.environ.get("SPIRE_WHISPER", "")


@pytest.mark.skipif(not WHISPER, reason="SPIRE_WHISPER names no folder with weights and tokenizer of Whisper")
@pytest.mark.parametrize("beams", [1, 5])
def test_whisper_with_real_weights_writes_what_the_pipeline_writes(rows, beams):
    tokenizer = transformers.WhisperTokenizer.from_pretrained(WHISPER)
    pipeline = transformers.pipeline("automatic-speech-recognition", WHISPER, tokenizer=tokenizer, dtype=torch.float32)
    folder = os.environ["SPIRE_CLIPS"]
    clips = [Recording(os.path.join(folder, name), 0.0, None) for name in sorted(os.listdir(folder))]
    spoken = [Row(utt_id=str(n), language="en", audio=clip) for n, clip in enumerate(clips[:16])]
    how = {} if beams == 5 else {"generate_kwargs": {"num_beams": beams}}  # five are what the pipeline has by itself
    expected = [pipeline(samples(row), **how)["text"].replace("<|notimestamps|>", "").strip() for row in spoken]
    made = system("whisper", WHISPER, beams=str(beams))
    made._most = 256
    assert answers(made, "asr", spoken) == expected and len(set(expected)) > len(spoken) // 2
