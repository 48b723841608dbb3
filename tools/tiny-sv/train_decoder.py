"""Train the decoder alone on full windows: the encoder is frozen, so a window is encoded once and used often."""

import argparse
import os

import numpy as np
import torch

import net
import training
from data import Bank, Tokens, collate, generator, log_mel, window

POOL, FRESH, BATCH = 48, 4, 12


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    tokens, bank, rng = Tokens(options.tokenizer), Bank(options.bank), generator(11)
    model = net.build(tokens)
    phone_head, position_head = net.heads()
    checkpoint = training.load(options.init, model, phone_head, position_head)
    if not any("decoder.layers.3" in name for name in checkpoint["model"]):
        _as_identity(model.model.decoder.layers[3])
    for parameter in model.model.encoder.parameters():
        parameter.requires_grad_(False)
    encoder = {
        name: value.float().clone() for name, value in model.state_dict().items() if "encoder." in name
    }
    weights = training.MasterWeights([model], options.peak, weight_decay=0.005)
    pool = encoded_windows(model, bank, rng, POOL)
    log, step = training.Log(options.log_every), 0
    while (share := log.minutes / options.minutes) < 1:
        pool += encoded_windows(model, bank, rng, FRESH)
        chosen = [*pool[-FRESH:], *(rng.choice(pool) for _ in range(BATCH - FRESH))]
        texts = collate(bank, tokens, rng, [(segments, 0) for _, segments in chosen], 30, 0.1)
        example = (None, *texts, None, torch.zeros(BATCH, dtype=torch.long))
        encoded = torch.stack([states for states, _ in chosen])
        parts, figures = net.losses(model, phone_head, example, tokens, encoded=encoded)
        (parts["token"] + 0.4 * parts["look"]).backward()
        weights.step(step, share, warmup=60, floor=0.15)
        step += 1
        log.add(step, {"token": parts["token"], "look": parts["look"], **figures})
    # The frozen encoder has been rounded to bf16 for computing: it is saved as it came.
    state = {**weights.state(model), **{k: v for k, v in encoder.items() if k.startswith("model.encoder.")}}
    training.save(options.out, state, checkpoint["phone_head"], checkpoint["position_head"])
    print(f"{options.out}: {step} steps in {log.minutes:.1f} min")


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("init")
    parser.add_argument("out")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--peak", type=float, default=1.3e-3, help="learning rate")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--bank", required=True)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--log-every", type=int, default=50)
    return parser.parse_args()


def _as_identity(layer):
    """A layer put on top changes next to nothing at first."""
    with torch.no_grad():
        for projection in (layer.self_attn.out_proj, layer.encoder_attn.out_proj, layer.fc2):
            projection.weight.mul_(0.1)
            projection.bias.zero_()


def encoded_windows(model, bank, rng, count):
    """[(encoder states, segments)]"""
    windows = [window(bank, rng, 30) for _ in range(count)]
    mel = log_mel(torch.from_numpy(np.stack([audio for audio, _, _ in windows])))
    with torch.no_grad():
        states = net.encode(model, mel.to(torch.bfloat16), torch.zeros(count, dtype=torch.long))
    return [(states[i], segments) for i, (_, segments, _) in enumerate(windows)]


if __name__ == "__main__":
    main()
