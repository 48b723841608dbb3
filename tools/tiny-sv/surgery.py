"""Let the last decoder layer's guided head read positions linearly (least squares): time stamps start out working.

Without it, minutes of training taught words and no times.
"""

import argparse

import net
import torch
import training
from data import Bank, Tokens, batch, generator
from transformers.models.whisper.modeling_whisper import sinusoids


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("init")
    parser.add_argument("out")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--bank", required=True)
    parser.add_argument("--decoder-layers", type=int, default=3)
    options = parser.parse_args()
    tokens, bank, rng = Tokens(options.tokenizer), Bank(options.bank), generator(3)
    model = net.build(tokens, options.decoder_layers).eval()
    checkpoint = training.load(options.init, model, *net.heads())
    with torch.no_grad():
        read_out = operate(model, tokens, bank, rng)
    training.save(options.out, model.state_dict(), checkpoint["phone_head"], read_out)


def operate(model, tokens, bank, rng):
    """Rewrite the head and the time stamps' embeddings; return the position head found on the way."""
    states, wanted = [], []
    for _ in range(8):
        mel, inputs, _, _, _, offsets = batch(bank, tokens, rng, 16, 6)
        encoded = net.encode(model, mel, offsets)
        states.append(encoded.flatten(0, 1))
        wanted.append(net.positions(model, offsets, encoded.shape[1]).flatten(0, 1))
    x = torch.cat(states)
    solution = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1)], 1), torch.cat(wanted)).solution
    weight, bias = solution[:-1].T.contiguous(), solution[-1].contiguous()

    decoder = model.model.decoder
    attention = decoder.layers[-1].encoder_attn
    # Loud enough to be heard in the residual stream: a sinusoid's own RMS is 0.707.
    gain = _residual_rms(model, encoded, inputs) / 0.707
    count = len(net.POSITIONS)
    attention.v_proj.weight[:count], attention.v_proj.bias[:count] = weight, bias
    attention.out_proj.weight[:, :count] = 0
    for column, position in enumerate(net.POSITIONS):
        attention.out_proj.weight[position, column] = gain
    pattern = sinusoids(1501, net.WIDTH) * 0.02
    pattern[:, torch.tensor(net.POSITIONS)] *= 8
    stamps = decoder.embed_tokens.weight[tokens.time_zero : tokens.time_zero + 1501]
    stamps.mul_(0.4).add_(pattern)
    return {"weight": weight, "bias": bias}


def _residual_rms(model, encoded, inputs):
    """RMS of the residual stream before the decoder's final layer norm."""
    seen = []
    hook = model.model.decoder.layer_norm.register_forward_hook(
        lambda _module, given, _output: seen.append(given[0].pow(2).mean().sqrt().item())
    )
    net.decode(model, encoded, inputs)
    hook.remove()
    return seen[0]


if __name__ == "__main__":
    main()
