"""A training-time forward pass over a stock WhisperForConditionalGeneration.

Differs from the stock one in two ways: a crop of a few seconds can stand anywhere in the 30 s, and the attention
of some decoder heads is given out, to be taught where each token is heard.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from data import PHONES
from torch import nn
from transformers import WhisperConfig, WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import sinusoids

WIDTH, HEADS = 128, 4
# Sinusoids of the positional encoding, with wavelengths of 20 to 1600 frames, that say where a frame is.
POSITIONS = [*range(8, 40, 2), *(WIDTH // 2 + i for i in range(8, 40, 2))]
# A time stamp next to the right one is nearly right: a Gaussian of 1.5 steps (30 ms).
SOFT = [(step, 2.718281828 ** (-step * step / (2 * 1.5**2))) for step in range(-4, 5)]


def guided(model):
    """[(decoder layer, head)] taught to look at what is being said: the first head of all layers but the first."""
    return [(layer, 0) for layer in range(1, model.config.decoder_layers)]


def build(tokens, decoder_layers=4, encoder_layers=3, feed_forward=384):
    """An untrained model. Time stamps start out as positions."""
    config = WhisperConfig(
        vocab_size=tokens.time_zero + 1501,
        num_mel_bins=80,
        d_model=WIDTH,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=feed_forward,
        decoder_ffn_dim=feed_forward,
        max_source_positions=1500,
        max_target_positions=448,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        activation_function="gelu",
        scale_embedding=False,
        pad_token_id=tokens.end,
        bos_token_id=tokens.end,
        eos_token_id=tokens.end,
        decoder_start_token_id=tokens.start,
        suppress_tokens=[],
        begin_suppress_tokens=[],
        tie_word_embeddings=True,
    )
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        embedding = model.model.decoder.embed_tokens.weight
        embedding.normal_(0, 0.05)
        embedding[tokens.time_zero : tokens.time_zero + 1501] = sinusoids(1501, WIDTH) * 0.07
        model.model.decoder.embed_positions.weight.normal_(0, 0.02)
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "embed" not in name and "proj_out" not in name:
                nn.init.xavier_uniform_(parameter)
        for convolution in (model.model.encoder.conv1, model.model.encoder.conv2):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)
    return model


def heads():
    """Two read-outs of the encoder that only training uses: the phone, and the position, of a frame."""
    return nn.Linear(WIDTH, PHONES), nn.Linear(WIDTH, len(POSITIONS))


def _attend(layer, x, source=None, causal=False):
    """(output, scores of the first head before the softmax)"""
    source = x if source is None else source
    size = WIDTH // HEADS

    def split(z):
        return z.view(z.shape[0], -1, HEADS, size).transpose(1, 2)

    query, key, value = split(layer.q_proj(x)), split(layer.k_proj(source)), split(layer.v_proj(source))
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
    output = layer.out_proj(mixed.transpose(1, 2).reshape(x.shape))
    return output, lambda: (query[:, 0] @ key[:, 0].transpose(1, 2)).float() * size**-0.5


def _feed_forward(layer, x):
    return layer.fc2(F.gelu(layer.fc1(layer.final_layer_norm(x))))


def encode(model, mel, offsets):
    """(batch, 80, frames) to (batch, frames / 2, width); ``offsets`` says where in the 30 s each crop stands."""
    encoder = model.model.encoder
    x = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel)))).transpose(1, 2)
    x = x + encoder.embed_positions.weight[offsets[:, None] + torch.arange(x.shape[1])]
    for layer in encoder.layers:
        x = x + _attend(layer.self_attn, layer.self_attn_layer_norm(x))[0]
        x = x + _feed_forward(layer, x)
    return encoder.layer_norm(x)


def decode(model, encoded, ids):
    """(hidden states, attention scores of the guided heads)"""
    decoder = model.model.decoder
    x = decoder.embed_tokens(ids) + decoder.embed_positions.weight[: ids.shape[1]]
    taught = {layer for layer, _ in guided(model)}
    looks = []
    for number, layer in enumerate(decoder.layers):
        x = x + _attend(layer.self_attn, layer.self_attn_layer_norm(x), causal=True)[0]
        output, scores = _attend(layer.encoder_attn, layer.encoder_attn_layer_norm(x), source=encoded)
        x = x + output
        if number in taught:
            looks.append(scores())
        x = x + _feed_forward(layer, x)
    return decoder.layer_norm(x), looks


def positions(model, offsets, frames):
    """What the position head should read: (batch, frames, positions)."""
    table = model.model.encoder.embed_positions.weight
    return table[offsets[:, None] + torch.arange(frames)][..., torch.tensor(POSITIONS)].float()


def losses(model, phone_head, batch, tokens, position_head=None, encoded=None):
    """({token, phone, look, position} losses, figures to watch). ``encoded`` given means the encoder is frozen."""
    mel, inputs, targets, intervals, phones, offsets = batch
    phone_loss = position_loss = torch.zeros(())
    if encoded is None:
        encoded = encode(model, mel.to(model.model.encoder.conv1.weight.dtype), offsets)
        phone_loss = F.cross_entropy(phone_head(encoded).float().flatten(0, 1), phones.flatten())
    if position_head is not None:
        wanted = positions(model, offsets, encoded.shape[1])
        position_loss = F.mse_loss(position_head(encoded).float(), wanted)
    hidden, looks = decode(model, encoded, inputs)
    asked = targets.flatten() >= 0
    logits = hidden.flatten(0, 1)[asked] @ model.model.decoder.embed_tokens.weight.T
    log_p, right = logits.float().log_softmax(-1), targets.flatten()[asked]
    per_token = _token_losses(log_p, right, tokens.time_zero)
    parts = {
        "token": per_token.mean(),
        "phone": phone_loss,
        "look": _look_loss(looks, intervals, encoded.shape[1]),
        "position": position_loss,
    }
    return parts, _figures(log_p.detach().argmax(-1), right, tokens)


def _token_losses(log_p, right, time_zero):
    loss = -log_p.gather(1, right[:, None])[:, 0]
    stamps = right >= time_zero
    if not stamps.any():
        return loss
    weighted, total = 0, 0
    for step, weight in SOFT:
        near = right[stamps] + step
        valid = ((near >= time_zero) & (near <= time_zero + 1500)).float() * weight
        clamped = near.clamp(time_zero, time_zero + 1500)[:, None]
        weighted = weighted - log_p[stamps].gather(1, clamped)[:, 0] * valid
        total = total + valid
    loss = loss.clone()
    loss[stamps] = weighted / total
    return loss


def _look_loss(looks, intervals, frames):
    """How little of each guided head's attention lies where its token is heard."""
    frame = torch.arange(frames)
    inside = (frame >= intervals[..., :1]) & (frame <= intervals[..., 1:])
    known = (intervals[..., 1] >= 0) & inside.any(-1)
    loss = torch.zeros(())
    for scores in looks:
        share = torch.logsumexp(scores.masked_fill(~inside, -1e4), -1) - torch.logsumexp(scores, -1)
        if known.any():
            loss = loss - share[known].mean()
    return loss


def _figures(guess, right, tokens):
    stamps = right >= tokens.time_zero
    text, end = ~stamps & (right < tokens.end), right == tokens.end

    def share(hits):
        return hits.float().mean().item() if len(hits) else 1.0

    return {
        "text right": share(guess[text] == right[text]),
        "end right": share(guess[end] == tokens.end),
        "time within 0.1 s": share((guess[stamps] - right[stamps]).abs() <= 5),
    }
