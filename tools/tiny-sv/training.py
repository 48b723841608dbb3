"""What both training scripts share: checkpoints, bf16 weights with fp32 masters, and a log."""

import collections
import math
import time

import torch

import data


class MasterWeights:
    """Compute in bf16, update in fp32: twice as fast on a CPU with bf16, and nothing is lost to rounding."""

    def __init__(self, modules, peak, weight_decay):
        self._parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        self._masters = [p.detach().clone().float() for p in self._parameters]
        for module in modules:
            module.to(torch.bfloat16)
        self._peak = peak
        matrices = [w for w in self._masters if w.dim() >= 2 and w.shape[0] < 2000]
        others = [w for w in self._masters if not (w.dim() >= 2 and w.shape[0] < 2000)]
        self._optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=peak,
            betas=(0.9, 0.98),
            fused=True,
        )

    def step(self, number, share, warmup, floor):
        """Update after ``backward``: linear warm-up, then a cosine over the share of the time that has passed."""
        rate = self._peak * min(1, (number + 1) / warmup)
        rate *= floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        for parameter, master in zip(self._parameters, self._masters, strict=True):
            gradient = parameter.grad
            master.grad = torch.zeros_like(master) if gradient is None else gradient.float()
            parameter.grad = None
        torch.nn.utils.clip_grad_norm_(self._masters, 2.0)
        self._optimizer.step()
        with torch.no_grad():
            for parameter, master in zip(self._parameters, self._masters, strict=True):
                parameter.copy_(master)

    def state(self, module):
        """A module's state in fp32."""
        state = {name: value.float().clone() for name, value in module.state_dict().items()}
        exact = {id(p): w for p, w in zip(self._parameters, self._masters, strict=True)}
        for name, parameter in module.named_parameters():
            if id(parameter) in exact:
                state[name] = exact[id(parameter)].clone()
        return state


def save(path, model, phone_head, position_head):
    """Arguments are state dictionaries; the output projection is the embedding."""
    model["proj_out.weight"] = model["model.decoder.embed_tokens.weight"]
    numbers = dict(data.phone_numbers)
    torch.save(
        {"model": model, "phone_head": phone_head, "position_head": position_head, "phones": numbers}, path
    )


def load(path, model, phone_head, position_head):
    """Restore what :func:`save` wrote; layers the checkpoint lacks stay as they are."""
    checkpoint = torch.load(path, weights_only=True)
    model.load_state_dict(checkpoint["model"], strict=False)
    phone_head.load_state_dict(checkpoint["phone_head"])
    position_head.load_state_dict(checkpoint["position_head"])
    data.phone_numbers.update(checkpoint["phones"])
    return checkpoint


class Log:
    """Means of figures, printed every so many steps."""

    def __init__(self, every=50):
        self._begun, self._every = time.monotonic(), every
        self._sums, self._count = collections.defaultdict(float), 0

    @property
    def minutes(self):
        return (time.monotonic() - self._begun) / 60

    def add(self, step, figures):
        self._count += 1
        for name, value in figures.items():
            self._sums[name] += value.item() if torch.is_tensor(value) else value
        if step % self._every == 0:
            means = "  ".join(f"{name} {value / self._count:.3f}" for name, value in self._sums.items())
            print(f"step {step}  {self.minutes:.1f} min  {means}", flush=True)
            self._sums.clear()
            self._count = 0
