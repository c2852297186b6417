"""Speech encoders of the true architectures, tiny and random, saved as Hugging Face saves them."""

import torch

LAYERS = 3
BLOCKS = {"hidden_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": 48}
SHAPE = {**BLOCKS, "conv_dim": (16,) * 7, "num_conv_pos_embedding_groups": 2}  # oneDNN errs in bfloat16 below 16 channels a group
WHISPER = {
    "d_model": 32,
    "encoder_layers": LAYERS,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_layers": 1,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 48,
    "vocab_size": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
KINDS = {
    "large": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
    "base": {"feat_extract_norm": "group", "do_stable_layer_norm": False},
}


def save_all(root, width=32):
    """HuBERT of both kinds, wav2vec 2.0 of both kinds, w2v-BERT 2.0 and Whisper, below a folder: name → folder."""
    from transformers import (
        HubertConfig,
        HubertModel,
        SeamlessM4TFeatureExtractor,
        Wav2Vec2BertConfig,
        Wav2Vec2BertModel,
        Wav2Vec2Config,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2Model,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperModel,
    )

    torch.manual_seed(0)
    blocks, shape, whisper = BLOCKS | {"hidden_size": width}, SHAPE | {"hidden_size": width}, WHISPER | {"d_model": width}
    models = {
        "large": HubertModel(HubertConfig(**shape, **KINDS["large"])),
        "base": HubertModel(HubertConfig(**shape, **KINDS["base"])),
        "wav2vec2": Wav2Vec2Model(Wav2Vec2Config(**shape, **KINDS["large"])),
        "wav2vec2-base": Wav2Vec2Model(Wav2Vec2Config(**shape, **KINDS["base"])),
        "w2v-bert": Wav2Vec2BertModel(Wav2Vec2BertConfig(**blocks, add_adapter=True, use_intermediate_ffn_before_adapter=True)),
        "whisper": WhisperModel(WhisperConfig(**whisper)),
    }
    extractors = {"w2v-bert": SeamlessM4TFeatureExtractor(), "whisper": WhisperFeatureExtractor()}
    for name, model in models.items():
        for parameter_name, parameter in model.named_parameters():
            if "norm" in parameter_name:  # a norm that is left out, or applied twice, must show
                torch.nn.init.normal_(parameter, 1.0, 0.3)
            elif parameter.ndim == 2:  # so that frames differ as those of trained models do
                torch.nn.init.normal_(parameter, 0.0, parameter.shape[1] ** -0.5)
        model.save_pretrained(root / name)
        of_waveforms = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=not name.endswith("base"))
        extractors.get(name, of_waveforms).save_pretrained(root / name)
    return {name: str(root / name) for name in models}
