"""Speed of greedy generation beside transformers' `generate`, side by side in one run: tokens/s.

usage: generation_speed.py GENERATION_SPEED [--batches 1 8] [--prompt 32] [--new 64] [--rounds 3] [--layers 12]

GENERATION_SPEED is the program of the same name. The model is GPT-2 of the small size (12 layers of 768 dimensions, 50,257
tokens) with random weights, in float32. Each round runs every contender once, in a process of its own, which generates once
before; the ratio is taken in each round. Needs torch and transformers: build/test-env of scripts/setup --with-python-tests.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

KINDS = ("fp32", "bf16", "int8", "module")


def transformers_run(folder, batch, prompt, new):
    import torch
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(folder).eval()
    ids = (torch.arange(batch * prompt) * 7919 % 50000).view(batch, prompt)
    for counts in (False, True):
        begin = time.perf_counter()
        found = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False,
                               pad_token_id=50256)
        if counts:
            print(time.perf_counter() - begin)
    for row in found[:, prompt:].tolist():
        print(*row)


def run(command):
    done = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True).stdout
    first, _, tokens = done.partition("\n")  # seconds, then the tokens of each prompt
    return float(first), [line.split() for line in tokens.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=12)
    options = parser.parse_args()
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as folder:
        model = GPT2LMHeadModel(GPT2Config(n_layer=options.layers, initializer_range=0.1))
        model.save_pretrained(folder)
        print("| batch | contender | tokens/s, median | generate of transformers takes longer by | the same tokens |\n"
              "| --- | --- | --- | --- | --- |", flush=True)
        for batch in options.batches:
            times = {name: [] for name in ("generate", *KINDS)}
            tokens = {}
            for _ in range(options.rounds):
                for name, of_name in times.items():
                    sizes = [folder, batch, options.prompt, options.new]
                    seconds, tokens[name] = run(
                        [sys.executable, __file__, "--peer", *sizes] if name == "generate" else
                        [options.program, *sizes, name, torch.get_num_threads(), 1])
                    of_name.append(seconds)
            for name, of_name in times.items():
                ratios = [b / a for a, b in zip(of_name, times["generate"])]
                rate = batch * options.new / statistics.median(of_name)
                print(f"| {batch} | {name} | {rate:.1f} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to "
                      f"{max(ratios):.2f}) | {'yes' if tokens[name] == tokens['generate'] else 'no'} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        transformers_run(pathlib.Path(sys.argv[2]), *map(int, sys.argv[3:]))
    else:
        main()
