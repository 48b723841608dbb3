"""Lay the model's small vocabulary out as Whisper's multilingual one (51,865 tokens): same outputs, standard ids.

For tools that know Whisper by its ids (CTranslate2's is_multilingual, faster-whisper). Text tokens keep ids
0 … n-1, fillers follow up to 50256, <|endoftext|> becomes 50257, and special and timestamp tokens follow in order.

A filler's embedding is c / gamma, where gamma is the weight and beta the bias of the decoder's final layer norm.
A normalised vector sums to zero, so for every hidden state h: h · (1/gamma) = beta · (1/gamma), a constant; c
makes it -30. So no filler is ever chosen, and the logits of all other tokens stay exactly as they were. The
filler rows are all equal, and the file compresses to its old size.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from transformers import GenerationConfig, WhisperForConditionalGeneration

VOCABULARY, END_OF_TEXT = 51_865, 50_257
FILLER_LOGIT = -30
REWRITTEN = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    model = WhisperForConditionalGeneration.from_pretrained(options.model, dtype=torch.float32)
    text_tokens = model.config.eos_token_id  # they stand before <|endoftext|>
    shift = END_OF_TEXT - text_tokens

    def moved(number):
        return number + shift if number is not None and number >= text_tokens else number

    widen(model, text_tokens, shift)
    model.config.vocab_size = VOCABULARY
    for name in ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"):
        setattr(model.config, name, moved(getattr(model.config, name)))
    model.generation_config = generation(options.model, moved)
    options.out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(options.out)
    model.generation_config.save_pretrained(options.out)
    for file in options.model.iterdir():
        if file.name not in REWRITTEN:
            shutil.copy(file, options.out)
    tokenizer(options.model / "tokenizer.json", options.out / "tokenizer.json", text_tokens, moved)


def widen(model, text_tokens, shift):
    decoder = model.model.decoder
    gamma, beta = decoder.layer_norm.weight.data.double(), decoder.layer_norm.bias.data.double()
    filler = 1 / gamma
    filler = (filler * (FILLER_LOGIT / (beta @ filler))).float()
    if filler.abs().max() >= torch.finfo(torch.float16).max:
        raise SystemExit("error: the filler row does not fit fp16")
    old = decoder.embed_tokens.weight.data
    new = torch.cat([old[:text_tokens], filler.expand(shift, -1), old[text_tokens:]])
    decoder.embed_tokens = torch.nn.Embedding.from_pretrained(new, freeze=False)
    model.proj_out = torch.nn.Linear(new.shape[1], new.shape[0], bias=False)
    model.proj_out.weight = decoder.embed_tokens.weight


def generation(directory, moved):
    fields = GenerationConfig.from_pretrained(directory).to_dict()
    for name, value in fields.items():
        if name.endswith("token_id"):
            fields[name] = moved(value)
        elif name in ("lang_to_id", "task_to_id"):
            fields[name] = {key: moved(number) for key, number in value.items()}
        elif name in ("suppress_tokens", "begin_suppress_tokens"):
            fields[name] = [moved(number) for number in value]
    return GenerationConfig.from_dict(fields)


def tokenizer(source, target, text_tokens, moved):
    document = json.loads(source.read_text(encoding="utf-8"))
    vocabulary = {
        token: number for token, number in document["model"]["vocab"].items() if number < text_tokens
    }
    vocabulary |= {f"<f{number}>": number for number in range(text_tokens, END_OF_TEXT - 1)}
    vocabulary[""] = END_OF_TEXT - 1  # by this token CTranslate2 tells a multilingual vocabulary
    vocabulary["<|endoftext|>"] = END_OF_TEXT
    document["model"]["vocab"] = vocabulary
    for token in document["added_tokens"]:
        token["id"] = moved(token["id"])
    for special in document["post_processor"].get("special_tokens", {}).values():
        special["ids"] = [moved(number) for number in special["ids"]]
    target.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


if __name__ == "__main__":
    main()
