"""Train all weights for so many minutes, on crops that grow longer."""

import argparse
import json
import os

import torch

import net
import training
from data import Bank, Tokens, batch, generator

# (until this share of the time, seconds, batch, one utterance each)
FROM_SCRATCH = [[0.08, 4, 24, True], [0.30, 6, 16, False], [0.60, 12, 8, False], [1.01, 30, 4, False]]


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    tokens, bank, rng = Tokens(options.tokenizer), Bank(options.bank), generator(options.seed)
    development = Bank(options.dev)
    model = net.build(tokens, options.decoder_layers)
    phone_head, position_head = net.heads()
    if options.init:
        training.load(options.init, model, phone_head, position_head)
    modules = (model, phone_head, position_head)
    weights = training.MasterWeights(modules, options.peak, weight_decay=0.01)
    log, step = training.Log(options.log_every), 0
    while (share := log.minutes / options.minutes) < 1:
        _, seconds, size, single = next(stage for stage in options.stages if share < stage[0])
        prompt = 0.0 if seconds < 12 else 0.1
        example = batch(bank, tokens, rng, size, seconds, single, 0.04, seconds < 30, prompt)
        parts, figures = net.losses(model, phone_head, example, tokens, position_head)
        total(parts, share).backward()
        weights.step(step, share, warmup=30, floor=0.01)
        step += 1
        log.add(step, {**parts, **figures})
        if step % 300 == 0:
            check(model, phone_head, development, tokens, seconds)
    training.save(options.out, *(weights.state(module) for module in modules))
    print(f"{options.out}: {step} steps in {log.minutes:.1f} min")


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--bank", required=True)
    parser.add_argument("--dev", required=True, help="a bank to check on")
    parser.add_argument("--init", help="a checkpoint to go on from")
    parser.add_argument("--stages", type=json.loads, default=FROM_SCRATCH)
    parser.add_argument("--peak", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--decoder-layers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--log-every", type=int, default=50)
    return parser.parse_args()


def total(parts, share):
    """Sounds and places first, words later."""
    return (
        parts["token"]
        + (0.8 if share < 0.5 else 0.3) * parts["phone"]
        + (0.25 if share < 0.7 else 0.12) * parts["look"]
        + (1.0 if share < 0.3 else 0.5) * parts["position"]
    )


def check(model, phone_head, development, tokens, seconds):
    with torch.no_grad():
        example = batch(development, tokens, generator(5), 24, seconds, offset=seconds < 30)
        parts, figures = net.losses(model, phone_head, example, tokens)
    shown = {"token": parts["token"].item(), "phone": parts["phone"].item(), **figures}
    print("   dev  " + "  ".join(f"{name} {value:.3f}" for name, value in shown.items()), flush=True)


if __name__ == "__main__":
    main()
