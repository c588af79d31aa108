"""Training speed of attend beside Python's, side by side in one run: source + target tokens/s.

usage: training_speed.py TRAINING_SPEED [--size tiny|base] [--precision fp32|bf16] [--device cpu|cuda] [--rounds 5]
                         [--updates 10]

TRAINING_SPEED is the program of the same name. Each round runs every contender once, in a process of its own, so that a
slow minute of the machine meets all of them; the ratio to attend is taken in each round. Python's: nn.Transformer eager
and compiled, and Hugging Face's MarianMTModel, all with fused Adam, the same sizes, batch (64 sentences of 32 + 32
tokens), dropout and label smoothing; with bf16 under autocast. Needs torch and transformers: build/test-env of scripts/setup --with-python-tests.
"""

import argparse
import statistics
import subprocess
import sys
import time

VOCAB, BATCH, LENGTH, WARM_UP = 10_000, 64, 32, 3
SIZES = {"tiny": dict(d=128, heads=4, layers=4, ffn=256, dropout=0.3),
         "base": dict(d=512, heads=8, layers=6, ffn=2048, dropout=0.1)}


def python_speed(contender, size, updates, precision, device):
    import torch
    from torch import nn
    torch.manual_seed(1)
    s = SIZES[size]

    class Translator(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(VOCAB, s["d"])
            self.positions = nn.Parameter(torch.randn(LENGTH, s["d"]) * 0.02, requires_grad=False)
            self.dropout = nn.Dropout(s["dropout"])
            self.transformer = nn.Transformer(s["d"], s["heads"], s["layers"], s["layers"], s["ffn"], s["dropout"],
                                              batch_first=True)

        def forward(self, source, target):
            embed = lambda ids: self.dropout(self.embedding(ids) * s["d"] ** 0.5 + self.positions)
            mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1], device=device)
            out = self.transformer(embed(source), embed(target), tgt_mask=mask, tgt_is_causal=True)
            return out @ self.embedding.weight.T

    if contender == "marian":
        from transformers import MarianConfig, MarianMTModel
        model = MarianMTModel(MarianConfig(
            vocab_size=VOCAB, d_model=s["d"], encoder_layers=s["layers"], decoder_layers=s["layers"],
            encoder_attention_heads=s["heads"], decoder_attention_heads=s["heads"], encoder_ffn_dim=s["ffn"],
            decoder_ffn_dim=s["ffn"], dropout=s["dropout"], max_position_embeddings=64, pad_token_id=VOCAB - 1,
            eos_token_id=0, decoder_start_token_id=VOCAB - 1, activation_function="relu"))
        logits = lambda source, target: model(input_ids=source, decoder_input_ids=target, use_cache=False).logits
    else:
        model = Translator().to(device)
        logits = torch.compile(model) if contender == "compiled" else model
    model.to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9, fused=True)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)
    source, target, labels = (torch.randint(3, VOCAB - 1, (BATCH, LENGTH), device=device) for _ in range(3))

    def update():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            loss = loss_of(logits(source, target).flatten(0, 1), labels.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    finish = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(WARM_UP):
        update()
    finish()
    start = time.perf_counter()
    for _ in range(updates):
        update()
    finish()
    return 2 * BATCH * LENGTH * updates / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--python", choices=["eager", "compiled", "marian"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.python:
        print(f"{python_speed(args.python, args.size, args.updates, args.precision, args.device):.0f}")
        return
    own = [args.program, args.size, str(args.updates), args.precision, args.device]
    python = lambda name: [sys.executable, __file__, args.program, "--size", args.size, "--updates", str(args.updates),
                           "--precision", args.precision, "--device", args.device, "--python", name]
    commands = {"attend": own, "nn.Transformer": python("eager"), "nn.Transformer, torch.compile": python("compiled"),
                "MarianMTModel": python("marian")}
    speeds = {name: [] for name in commands}
    for _ in range(args.rounds):
        for name, command in commands.items():
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            speeds[name].append(float(done.stdout.split()[-1]))
    print("| | tokens/s, median | attend is faster by: median | smallest | largest |\n| --- | --- | --- | --- | --- |")
    for name, values in speeds.items():
        ratios = [a / b for a, b in zip(speeds["attend"], values)]
        print(f"| {name} | {statistics.median(values):,.0f} | {statistics.median(ratios):.2f} | {min(ratios):.2f} | "
              f"{max(ratios):.2f} |")


if __name__ == "__main__":
    main()
