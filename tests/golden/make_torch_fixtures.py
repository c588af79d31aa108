#!/usr/bin/env python3
"""Writes torch_attention.json: what Python's torch computes where torch::nn of C++ is wrong.

Run it with an interpreter that has torch 2.11, e.g. build/env/bin/python. The result is the same
bytes every time. Every number is a float64.
"""

import json
import pathlib

import torch
from torch.nn import functional as F
from torch.nn.attention.bias import causal_lower_right

B, T, S, E, H = 2, 3, 5, 8, 2


def tensors(named):
    def entry(x):
        x = x.detach()
        kind = "bool" if x.dtype == torch.bool else "float64"
        flat = x.to(torch.int64) if kind == "bool" else x
        return {"dtype": kind, "shape": list(x.shape), "data": flat.flatten().tolist()}

    return {name: entry(x) for name, x in named.items()}


def randomised(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.4)
    return module


def gradients(output, named):
    weights = torch.arange(1, output.numel() + 1, dtype=torch.float64).cos().view(output.shape)
    grads = torch.autograd.grad((output * weights).sum(), list(named.values()))
    return {f"grad.{name}": grad for name, grad in zip(named, grads)}


def leaf(*sizes):
    return torch.randn(*sizes).requires_grad_()


def attention(kdim=None, vdim=None, add_bias_kv=False, add_zero_attn=False, **masks):
    module = randomised(torch.nn.MultiheadAttention(
        E, H, kdim=kdim, vdim=vdim, add_bias_kv=add_bias_kv, add_zero_attn=add_zero_attn,
        batch_first=True))
    inputs = {"query": leaf(B, T, E), "key": leaf(B, S, kdim or E), "value": leaf(B, S, vdim or E)}
    output, weights = module(*inputs.values(), average_attn_weights=False, **masks)
    parameters = dict(module.named_parameters())
    return tensors(inputs | masks | {"output": output, "weights": weights} |
                   {f"parameter.{name}": x for name, x in parameters.items()} |
                   gradients(output, inputs | parameters))


def ignore_some(*sizes):
    """true = ignore, but no row in full."""
    mask = torch.rand(*sizes) < 0.4
    mask[..., 0] = False
    return mask


def causal_attention():
    inputs = {"query": leaf(B, H, T, 4), "key": leaf(B, H, S, 4), "value": leaf(B, H, S, 4)}
    output = F.scaled_dot_product_attention(*inputs.values(), attn_mask=causal_lower_right(T, S))
    return tensors(inputs | {"output": output} | gradients(output, inputs))


def decoder_layer():
    module = randomised(torch.nn.TransformerDecoderLayer(
        E, H, dim_feedforward=6, dropout=0.0, activation="gelu", layer_norm_eps=1e-3,
        batch_first=True, norm_first=True))
    inputs = {"target": leaf(B, T, E), "memory": leaf(B, S, E)}
    ignore = ignore_some(B, S)
    causal = torch.ones(T, T, dtype=torch.bool).triu(1)
    output = module(*inputs.values(), tgt_mask=causal, memory_key_padding_mask=ignore)
    parameters = dict(module.named_parameters())
    return tensors(inputs | {"memory_key_padding_mask": ignore, "output": output} |
                   {f"parameter.{name}": x for name, x in parameters.items()} |
                   gradients(output, inputs | parameters))


def write(path, cases):
    # One tensor a line.
    lines = [f'"{case}": {{\n' + ",\n".join(
        f'"{name}": {json.dumps(value, separators=(",", ":"))}' for name, value in named.items()
    ) + "\n}" for case, named in cases.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    cases = {
        "bool_masks": attention(attn_mask=ignore_some(T, S), key_padding_mask=ignore_some(B, S)),
        "other_sizes": attention(kdim=6, vdim=7, attn_mask=torch.randn(T, S)),
        "mask_per_head": attention(attn_mask=ignore_some(B * H, T, S)),
        "causal_lower_right": causal_attention(),
        "decoder_layer_norm_first": decoder_layer(),
    }
    write(pathlib.Path(__file__).with_name("torch_attention.json"), cases)


if __name__ == "__main__":
    main()
