"""Proves that GPT-2, Llama and ViT folders mean the same to attend and to transformers, in both directions.

usage: check_other_models.py MODEL_DUMP

The logits must agree to 1e-5 with those of float64, and the greedy continuations of the language models must be the same tokens.
"""

import copy
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import (GPT2Config, GPT2LMHeadModel, GPT2Model, LlamaConfig, LlamaForCausalLM, ViTConfig,
                          ViTForImageClassification)


def attend_result(dump, command, folder, **given):
    done = subprocess.run([dump, command, folder], input=json.dumps(given), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"model_dump failed: {done.stderr}")
    result = json.loads(done.stdout)
    return torch.tensor(result["logits"]).view(result["shape"]), result.get("greedy")


def loaded(kind, folder):
    model, loading = kind.from_pretrained(folder, output_loading_info=True)
    wrong = {key: loading[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if loading.get(key)}
    if wrong:
        raise SystemExit(f"from_pretrained reports {wrong}")
    return model.eval()


def randomised(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def same_causal_lm(name, dump, folder, model):
    ids = torch.randint(0, model.config.vocab_size, (2, 7))
    logits, greedy = attend_result(dump, "run-causal-lm", folder, ids=ids.tolist())
    end = model.config.eos_token_id
    with torch.no_grad():
        error = (logits - copy.deepcopy(model).double()(ids).logits).abs().max().item()
        expected = []
        for row in ids:
            out = model.generate(row[None], attention_mask=torch.ones(1, 7, dtype=torch.long), do_sample=False,
                                 max_new_tokens=11, pad_token_id=end)[0, 7:].tolist()
            expected.append(out[: out.index(end)] if end in out else out)
    print(f"{name}: largest difference of logits {error:.2e}, greedy output "
          f"{'the same' if greedy == expected else f'{greedy} instead of {expected}'}")
    return error < 1e-5 and greedy == expected


def same_vit(name, dump, folder, model):
    config = model.config
    images = torch.randn(3, config.num_channels, config.image_size, config.image_size)
    logits, _ = attend_result(dump, "run-vit", folder, shape=list(images.shape), images=images.flatten().tolist())
    with torch.no_grad():
        error = (logits - copy.deepcopy(model).double()(images.double()).logits).abs().max().item()
    print(f"{name}: largest difference of logits {error:.2e}")
    return error < 1e-5


def main():
    dump = sys.argv[1]
    fine = True
    with tempfile.TemporaryDirectory() as temporary:
        torch.manual_seed(0)
        for activation in ("gelu_new", "relu"):
            folder = str(Path(temporary) / f"gpt2-{activation}")
            config = GPT2Config(vocab_size=29, n_positions=40, n_embd=16, n_layer=2, n_head=4,
                                activation_function=activation, bos_token_id=28, eos_token_id=28)
            model = randomised(GPT2LMHeadModel(config))
            model.save_pretrained(folder, safe_serialization=True)
            fine &= same_causal_lm(f"transformers -> attend, GPT-2 {activation}", dump, folder, model)
        # The bare model's folder has no prefix.
        bare = str(Path(temporary) / "gpt2-bare")
        model.transformer.save_pretrained(bare, safe_serialization=True)
        assert isinstance(model.transformer, GPT2Model)
        fine &= same_causal_lm("transformers -> attend, GPT-2 without head", dump, bare, model)

        sharded = Path(temporary) / "gpt2-sharded"
        model.save_pretrained(sharded, safe_serialization=True, max_shard_size="20KB")
        assert len(list(sharded.glob("model-*.safetensors"))) > 1
        fine &= same_causal_lm("transformers -> attend, GPT-2 in several files", dump, str(sharded), model)

        llamas = {
            "plain": dict(num_key_value_heads=4),
            "grouped, biased": dict(num_key_value_heads=2, attention_bias=True, mlp_bias=True),
            "tied": dict(num_key_value_heads=1, tie_word_embeddings=True),
            "linear positions": dict(rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=300.0)),
            "Llama 3 positions": dict(rope_parameters=dict(
                rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                original_max_position_embeddings=16, rope_theta=500.0)),
            "YaRN positions": dict(rope_parameters=dict(
                rope_type="yarn", factor=4.0, original_max_position_embeddings=10, rope_theta=500.0))}
        for name, options in llamas.items():
            folder = str(Path(temporary) / "llama" / name)
            model = randomised(LlamaForCausalLM(LlamaConfig(
                vocab_size=29, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                max_position_embeddings=40, bos_token_id=28, eos_token_id=28, **options)))
            model.save_pretrained(folder, safe_serialization=True)
            fine &= same_causal_lm(f"transformers -> attend, Llama, {name}", dump, folder, model)

        folder = str(Path(temporary) / "vit")
        model = randomised(ViTForImageClassification(ViTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24, image_size=12,
            patch_size=3, num_channels=2, num_labels=7)))
        model.save_pretrained(folder, safe_serialization=True)
        fine &= same_vit("transformers -> attend, ViT", dump, folder, model)

        for kind, cls, same in (("gpt2", GPT2LMHeadModel, same_causal_lm), ("llama", LlamaForCausalLM, same_causal_lm),
                                ("vit", ViTForImageClassification, same_vit)):
            folder = str(Path(temporary) / f"attend-{kind}")
            subprocess.run([dump, "make", folder, kind, "1"], check=True)
            fine &= same(f"attend -> transformers, {kind}", dump, folder, loaded(cls, folder))
    print("all the same" if fine else "FAILED")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
