"""Proves that a MarianMT folder means the same to attend and to transformers, in both directions.

usage: check_transformers.py MODEL_DUMP

transformers writes random models, attend reads them; attend writes one, transformers reads it. Each
time the logits must agree to 1e-5 with those of float64 and the greedy outputs must be the same tokens. Models that no
class of transformers reads must not claim to be Marian's.
"""

import copy
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import MarianConfig, MarianMTModel


def random_input(vocab, target_vocab, pad, generator):
    """Two rows, the second padded; targets start with the start token."""
    source = torch.randint(2, vocab - 1, (2, 7), generator=generator)
    source[source == pad] = 2
    source[:, -1] = 0
    source[1, 4] = 0
    source[1, 5:] = pad
    target = torch.randint(2, target_vocab - 1, (2, 5), generator=generator)
    target[:, 0] = pad
    return source, target


def attend_result(dump, folder, source, target):
    line = json.dumps({"source": source.tolist(), "target": target.tolist()})
    done = subprocess.run([dump, "run", folder], input=line, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"model_dump failed: {done.stderr}")
    result = json.loads(done.stdout)
    return torch.tensor(result["logits"]).view(result["shape"]), result["greedy"]


def transformers_result(model, source, target):
    mask = (source != model.config.pad_token_id).long()
    with torch.no_grad():
        # Of float64, so that the error is attend's alone.
        exact = copy.deepcopy(model).double()
        logits = exact(input_ids=source, attention_mask=mask, decoder_input_ids=target).logits
        greedy = []
        for row, row_mask in zip(source, mask):
            # As attend: at most 3 tokens for each of the source's and 20 more, end token counted.
            limit = min(3 * int(row_mask.sum()) + 20, model.config.max_position_embeddings)
            out = model.generate(input_ids=row[None], attention_mask=row_mask[None], num_beams=1,
                                 do_sample=False, max_length=limit + 1)[0].tolist()
            out = out[1:]
            if 0 in out:
                out = out[: out.index(0)]
            greedy.append(out)
    return logits, greedy


def compare(name, dump, folder, model, seed):
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    target_vocab = getattr(config, "attend_target_vocab_size", config.decoder_vocab_size or config.vocab_size)
    source, target = random_input(config.vocab_size, min(target_vocab, config.vocab_size),
                                  config.pad_token_id, generator)
    logits, greedy = attend_result(dump, folder, source, target)
    expected_logits, expected_greedy = transformers_result(model, source, target)
    # attend has no logits of words that are never predicted; transformers adds -1e9 to them.
    expected_logits, others = expected_logits.split([target_vocab, expected_logits.shape[-1] - target_vocab], dim=-1)
    assert bool((others < -1e8).all()), "words that only the source has may be predicted"
    error = (logits - expected_logits).abs().max().item()
    same = greedy == expected_greedy
    lengths = [len(row) for row in greedy]
    print(f"{name}: largest difference of logits {error:.2e}, greedy output "
          f"{'the same' if same else 'DIFFERENT'} (lengths {lengths})")
    if not same:
        print(" attend      ", greedy, "\n transformers", expected_greedy)
    return error < 1e-5 and same


def hugging_face_model(seed, **options):
    torch.manual_seed(seed)
    base = dict(vocab_size=29, d_model=16, encoder_layers=2, decoder_layers=3,
                encoder_attention_heads=4, decoder_attention_heads=2, encoder_ffn_dim=24,
                decoder_ffn_dim=40, max_position_embeddings=48, activation_function="swish",
                scale_embedding=True, pad_token_id=28, eos_token_id=0, bos_token_id=0,
                forced_eos_token_id=0, decoder_start_token_id=28, init_std=0.5)
    base.update(options)
    config = MarianConfig(**base)
    model = MarianMTModel(config).eval()
    model.final_logits_bias.normal_()
    model.generation_config.bad_words_ids = [[config.pad_token_id]]
    model.generation_config.eos_token_id = 0
    model.generation_config.pad_token_id = config.pad_token_id
    model.generation_config.decoder_start_token_id = config.decoder_start_token_id
    return model


def main():
    dump = sys.argv[1]
    fine = True
    with tempfile.TemporaryDirectory() as temporary:
        variants = {
            "marian-swish": {},
            "marian-relu-unscaled": {"activation_function": "relu", "scale_embedding": False},
            "marian-gelu-half": {"activation_function": "gelu"},
            "marian-separate": {"share_encoder_decoder_embeddings": False,
                                "decoder_vocab_size": 29},
        }
        for seed, (name, options) in enumerate(variants.items()):
            folder = str(Path(temporary) / name)
            model = hugging_face_model(seed, **options)
            model.save_pretrained(folder, safe_serialization=True)
            fine &= compare(f"transformers -> attend, {name}", dump, folder, model, seed)

        # As the hub's converted folders are: with the sinusoids, rounded; attend works them out.
        for dtype in (torch.float16, torch.bfloat16):
            folder = str(Path(temporary) / f"marian-{dtype}")
            model = hugging_face_model(0)
            positions = {name: value.clone() for name, value in model.state_dict().items() if "embed_positions" in name}
            model.to(dtype).save_pretrained(folder, safe_serialization=True)
            weights = Path(folder) / "model.safetensors"
            save_file(load_file(weights) | {name: value.to(dtype) for name, value in positions.items()},
                      weights, {"format": "pt"})
            model.float().load_state_dict(positions, strict=False)
            fine &= compare(f"transformers -> attend, {dtype} with its positions", dump, folder, model, 0)

        folder = Path(temporary) / "sharded"
        model = hugging_face_model(0)
        model.save_pretrained(folder, safe_serialization=True, max_shard_size="20KB")
        assert len(list(folder.glob("model-*.safetensors"))) > 2
        fine &= compare("transformers -> attend, in several files", dump, str(folder), model, 0)

        for seed, kind in enumerate(["marian"] * 3 + ["restricted"] * 2):
            folder = str(Path(temporary) / f"attend{seed}")
            subprocess.run([dump, "make", folder, kind, str(seed)], check=True)
            model, loading = MarianMTModel.from_pretrained(folder, output_loading_info=True)
            model.eval()
            unexpected = [key for key in ("missing_keys", "unexpected_keys", "mismatched_keys")
                          if loading.get(key)]
            if unexpected:
                print(f"from_pretrained reports {[(k, loading[k]) for k in unexpected]}")
            fine &= not unexpected
            fine &= compare(f"attend -> transformers, {kind}, seed {seed}", dump, folder, model, seed)

        for kind in ("prenorm", "recurrent"):
            folder = Path(temporary) / kind
            subprocess.run([dump, "make", str(folder), kind, "1"], check=True)
            kind_name = json.loads((folder / "config.json").read_text())["model_type"]
            print(f"{kind}: model_type {kind_name}")
            fine &= kind_name.startswith("attend_")
    print("all the same" if fine else "FAILED")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
