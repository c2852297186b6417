"""Folders with random weights of the true classes of other people's systems, as the Hub has them."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    GenerationConfig,
    HubertConfig,
    HubertForCTC,
    PreTrainedTokenizerFast,
    SeamlessM4TFeatureExtractor,
    SeamlessM4Tv2Config,
    SeamlessM4Tv2Model,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

WORDS = [f"w{n}" for n in range(40)]


def sharpened(model):
    """Larger weights, so that answers depend on what is heard."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "embed_positions" not in name:
                parameter.mul_(6)
    return model


def words(folder, specials, after=(), **named):
    """A tokenizer with a word for each id."""
    vocabulary = {word: n for n, word in enumerate([*specials, *WORDS, *after])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=specials[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if "src_lang" in named:
        end = vocabulary["</s>"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single="__eng__ $A </s>", special_tokens=[("__eng__", vocabulary["__eng__"]), ("</s>", end)]
        )
        named.pop("src_lang")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, extra_special_tokens=[*specials, *after], **named).save_pretrained(folder)
    return vocabulary


def whisper(folder, languages=True):
    """With languages, or of English alone."""
    # behind the words, since what follows `<|notimestamps|>` is a time
    specials = [f"<|{word}|>" for word in ("startoftranscript", "en", "de", "translate", "transcribe", "notimestamps")]
    ids = words(folder, ["<|endoftext|>"], specials, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    torch.manual_seed(2)
    config = WhisperConfig(
        vocab_size=len(ids), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, max_target_positions=32, pad_token_id=0, bos_token_id=0, eos_token_id=0,
        decoder_start_token_id=ids["<|startoftranscript|>"], tie_word_embeddings=False,
    )  # fmt: skip
    model = sharpened(WhisperForConditionalGeneration(config))
    with torch.no_grad():  # what is heard weighs more than what was written before
        model.model.decoder.layers[0].encoder_attn.out_proj.weight.mul_(20)
        model.model.encoder.conv1.weight.mul_(4)
    named = {"task_to_id": {name: ids[f"<|{name}|>"] for name in ("translate", "transcribe")}}
    named |= {"lang_to_id": {word: ids[word] for word in ("<|en|>", "<|de|>")}}
    model.generation_config = GenerationConfig(
        decoder_start_token_id=ids["<|startoftranscript|>"], eos_token_id=0, pad_token_id=0, bos_token_id=0,
        no_timestamps_token_id=ids["<|notimestamps|>"], suppress_tokens=[ids[word] for word in specials],
        is_multilingual=languages, **(named if languages else {}),
    )  # fmt: skip
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
    return folder


def hubert(folder, norm="layer"):
    """`layer` as the large model, `group` as the base one, which is never padded."""
    torch.manual_seed(0)
    config = HubertConfig(
        vocab_size=28, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, feat_extract_norm=norm,
        conv_dim=(16, 16), conv_stride=(5, 4), conv_kernel=(10, 8), num_feat_extract_layers=2, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4, do_stable_layer_norm=norm == "layer", pad_token_id=0,
    )  # fmt: skip
    sharpened(HubertForCTC(config)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer", do_normalize=True).save_pretrained(folder)
    letters = {letter: n for n, letter in enumerate(["<pad>", "|", *(chr(97 + n) for n in range(25)), "<unk>"])}
    Path(folder, "vocab.json").write_text(json.dumps(letters))
    Wav2Vec2CTCTokenizer(
        f"{folder}/vocab.json", pad_token="<pad>", unk_token="<unk>", word_delimiter_token="|", bos_token=None, eos_token=None
    ).save_pretrained(folder)
    return folder


def seamless(folder):
    """Speech encoder, text encoder and text decoder, each of one layer."""
    specials = ["<pad>", "<unk>", "<s>", "</s>", "__eng__", "__deu__"]
    ids = words(folder, specials, src_lang="eng", eos_token="</s>", pad_token="<pad>", bos_token="<s>", unk_token="<unk>")
    torch.manual_seed(0)
    config = SeamlessM4Tv2Config(
        vocab_size=len(ids), hidden_size=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, speech_encoder_layers=1,
        speech_encoder_attention_heads=2, speech_encoder_intermediate_size=32, t2u_vocab_size=20, t2u_encoder_layers=1,
        t2u_decoder_layers=1, t2u_encoder_attention_heads=2, t2u_decoder_attention_heads=2, t2u_encoder_ffn_dim=32,
        t2u_decoder_ffn_dim=32, max_position_embeddings=64, unit_hifi_gan_vocab_size=20, unit_embed_dim=8, lang_embed_dim=8,
        spkr_embed_dim=8, upsample_initial_channel=64, vocoder_num_langs=2, vocoder_num_spkrs=2, variance_predictor_embed_dim=8,
        variance_predictor_hidden_dim=8, char_vocab_size=20, num_adapter_layers=1, pad_token_id=0, bos_token_id=2, eos_token_id=3,
        decoder_start_token_id=3,
    )  # fmt: skip
    model = sharpened(SeamlessM4Tv2Model(config))
    model.generation_config = GenerationConfig(
        pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=3, max_new_tokens=16,
        text_decoder_lang_to_code_id={"eng": 4, "deu": 5},
    )  # fmt: skip
    model.save_pretrained(folder)
    SeamlessM4TFeatureExtractor().save_pretrained(folder)
    return folder
