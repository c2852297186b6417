"""Published folders, by their structure: pieces in the sentencepiece model, several weight files, no spire.json."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from spire_ray.model.adopt import adopt
from spire_ray.text import prompts
from spire_ray.text.record import UnitVocabulary
from spire_ray.text.tokenizer import SpeechTokenizer
from spire_ray.tools import units
from spire_ray.units import codec
from tests.model import families

COUNT = 20


@pytest.fixture
def published(tmp_path):
    """SpireFull in small: a Llama whose units and ChatML tokens are pieces of `tokenizer.model`, in two weight files."""
    from sentencepiece import sentencepiece_model_pb2
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path / "SpireFull"
    folder.mkdir()
    families.sentencepiece_model(folder)
    proto = sentencepiece_model_pb2.ModelProto.FromString((folder / "tokenizer.model").read_bytes())
    words = ["<CLS>", "<EOD>", "<MASK>", "<PAD>", "<SEP>", *(chr(0xF0000 + i) for i in range(COUNT))]
    for word in words:
        proto.pieces.add(piece=word, score=proto.pieces[-1].score - 1, type=1 if len(word) == 1 else 4)
    (folder / "tokenizer.model").write_bytes(proto.SerializeToString())
    im_end = len(proto.pieces)
    added = {str(im_end + i): {"content": word, "special": True} for i, word in enumerate(("<|im_end|>", "<|im_start|>"))}
    named = json.loads((folder / "tokenizer_config.json").read_text())
    named |= {"added_tokens_decoder": added, "eos_token": "<|im_end|>", "pad_token": "</s>"}
    named |= {"chat_template": prompts_template()}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    rows = -(-(im_end + 2) // 64) * 64
    model = LlamaForCausalLM(LlamaConfig(**shape, vocab_size=rows, eos_token_id=im_end, max_position_embeddings=256))
    model.config.save_pretrained(folder)
    tensors = dict(model.state_dict())
    files = {name: f"model-0000{1 + ('layers' in name)}-of-00002.safetensors" for name in tensors}
    for file in set(files.values()):
        save_file({n: t.clone() for n, t in tensors.items() if files[n] == file}, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return folder, proto.SerializeToString(), len(proto.pieces) - COUNT


def prompts_template():
    from spire_ray.text.chat import CHATML_TEMPLATE

    return CHATML_TEMPLATE


def test_a_published_folder_is_used_as_it_is(published, tiny_codebook):
    import sentencepiece
    from transformers import AutoModelForCausalLM

    folder, pieces, first = published
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    vocabulary = adopt(str(folder), tiny_codebook)
    assert (vocabulary.first, vocabulary.count, vocabulary.surface) == (first, COUNT, "pua")
    assert all((folder / name).read_bytes() == content for name, content in before.items())
    tokenizer = SpeechTokenizer(str(folder))
    units = np.array([0, 19, 7], np.uint16)
    [(ids, _)] = tokenizer.encode([prompts.completion(prompts.asr_completion(), "the dog", units)])
    reference = sentencepiece.SentencePieceProcessor(model_proto=pieces)
    assert ids.tolist() == reference.encode(f"Speech: {codec.encode(units)}\nEnglish: the dog")
    assert tokenizer.text.token_to_id("<|im_end|>") in tokenizer.stops
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert torch.isfinite(model(input_ids=torch.from_numpy(ids.astype(np.int64))[None]).logits).all()


def test_the_fingerprint_is_that_of_the_codebook_and_says_that_it_is_asserted(published, tiny_codebook, tmp_path, capsys):
    folder, *_ = published
    tiny_codebook.save(str(tmp_path / "codebook"))
    assert units.main(["adopt", str(folder), str(tmp_path / "codebook")]) == 0
    assert "the fingerprint is asserted" in capsys.readouterr().out
    vocabulary = UnitVocabulary.load(str(folder))
    assert vocabulary.fingerprint.identity == tiny_codebook.fingerprint.identity
    assert vocabulary.fingerprint.numerics["asserted"] == "spire units adopt"
    assert (folder / "codebook" / "codebook.json").exists()
    assert units.main(["adopt", str(folder), str(tmp_path / "codebook")]) == 0  # once more changes nothing
    assert UnitVocabulary.load(str(folder)) == vocabulary


@pytest.mark.parametrize("model", ["", "absent"])
def test_what_is_no_published_model_is_one_line(tmp_path, tiny_base, tiny_codebook, capsys, model):
    tiny_codebook.save(str(tmp_path / "codebook"))
    folder = str(tmp_path / model) if model else tiny_base
    assert units.main(["adopt", folder, str(tmp_path / "codebook")]) == 2
    error = capsys.readouterr().err
    assert ("holds no unit words" if not model else "no config.json there") in error
    assert error.count("\n") == 1


def test_a_codebook_of_another_size_is_refused(published, tiny_codebook):
    from dataclasses import replace

    small = replace(tiny_codebook.fingerprint.identity, clusters=19)
    other = replace(tiny_codebook, fingerprint=replace(tiny_codebook.fingerprint, identity=small))
    with pytest.raises(ValueError, match="holds 20 unit words, but the codebook has 19 clusters"):
        adopt(str(published[0]), other)
    assert not Path(published[0], "spire.json").exists()
