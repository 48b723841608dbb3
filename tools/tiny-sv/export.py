"""A checkpoint as a stock transformers Whisper directory, fp16 safetensors."""

import argparse

import net
import torch
from build_tokenizer import LANGUAGE_TOKENS
from data import Tokens
from transformers import GenerationConfig, WhisperFeatureExtractor, WhisperProcessor


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("out")
    parser.add_argument("--tokenizer", required=True)
    options = parser.parse_args()
    tokens = Tokens(options.tokenizer)
    model = net.build(tokens)
    model.load_state_dict(torch.load(options.checkpoint, weights_only=True)["model"], strict=False)
    model.tie_weights()
    model.generation_config = generation(tokens, model)
    model.config.suppress_tokens = model.config.begin_suppress_tokens = None
    model.half().save_pretrained(options.out)
    model.generation_config.save_pretrained(options.out)
    features = WhisperFeatureExtractor(feature_size=80)
    tokens.tokenizer.set_prefix_tokens(language="sv", task="transcribe")
    WhisperProcessor(feature_extractor=features, tokenizer=tokens.tokenizer).save_pretrained(options.out)
    features.save_pretrained(options.out)  # the classic preprocessor_config.json, which older tools read


def generation(tokens, model):
    """As whisper-small's, with our ids: special tokens are never chosen as text."""
    number = tokens.tokenizer.convert_tokens_to_ids
    return GenerationConfig(
        decoder_start_token_id=tokens.start,
        bos_token_id=tokens.end,
        eos_token_id=tokens.end,
        pad_token_id=tokens.end,
        forced_decoder_ids=None,
        is_multilingual=True,
        lang_to_id={name: number(name) for name in LANGUAGE_TOKENS},
        task_to_id={"translate": number("<|translate|>"), "transcribe": tokens.transcribe},
        no_timestamps_token_id=tokens.no_timestamps,
        prev_sot_token_id=tokens.previous,
        max_initial_timestamp_index=1500,
        alignment_heads=[list(head) for head in net.guided(model)],
        median_filter_width=7,
        suppress_tokens=[
            tokens.start,
            number("<|translate|>"),
            tokens.transcribe,
            number("<|startoflm|>"),
            tokens.previous,
            tokens.no_speech,
        ],
        begin_suppress_tokens=tokens.tokenizer(" ", add_special_tokens=False).input_ids,
        max_length=448,
        return_timestamps=False,
        use_cache=True,
    )


if __name__ == "__main__":
    main()
