#!/usr/bin/env python3
"""Writes attention_variants.json: what transformers and torch compute for attention's variants.

Run it with an interpreter that has torch 2.11 and transformers, e.g. build/test-env/bin/python. The
result is the same bytes every time.
"""

import importlib.util
import pathlib

import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb
from transformers.models.t5.modeling_t5 import T5Attention

HERE = pathlib.Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("fixtures", HERE / "make_torch_fixtures.py")
fixtures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fixtures)

D, LENGTH = 16, 48
SCALINGS = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": LENGTH},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": LENGTH},
}


def rotary(kind):
    config = LlamaConfig(hidden_size=2 * D, num_attention_heads=2, head_dim=D,
                         max_position_embeddings=8 * LENGTH,
                         rope_parameters={"rope_theta": 500.0, **SCALINGS[kind]})
    frequencies, length = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
    query, key = torch.randn(1, 2, 3, D), torch.randn(1, 2, 3, D)
    cosines, sines = LlamaRotaryEmbedding(config)(query, torch.arange(20, 23).unsqueeze(0))
    rotated = apply_rotary_pos_emb(query, key, cosines, sines)
    return {"frequencies": frequencies.double(), "length": torch.tensor([length]).double(),
            "query": query, "rotated": rotated[0]}


def alibi(heads):
    # The last position's bias is slope * (length - 1).
    return {"slopes": build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)[:, 0, 1].double()}


def buckets(bidirectional):
    distances = torch.arange(-300, 301)
    return {"buckets": T5Attention._relative_position_bucket(
        distances, bidirectional=bidirectional, num_buckets=32, max_distance=128).double()}


def main():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    cases = {f"rotary_{kind}": fixtures.tensors(rotary(kind)) for kind in SCALINGS}
    cases |= {f"alibi_{heads}": fixtures.tensors(alibi(heads)) for heads in (1, 6, 8, 12)}
    cases |= {f"buckets_{name}": fixtures.tensors(buckets(name == "both_ways"))
              for name in ("both_ways", "one_way")}
    cases["bias_and_zero"] = fixtures.attention(add_bias_kv=True, add_zero_attn=True)
    fixtures.write(HERE / "attention_variants.json", cases)


if __name__ == "__main__":
    main()
