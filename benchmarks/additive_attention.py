"""Additive attention of attend beside torch.compile and eager Python, side by side in one run: milliseconds.

usage: additive_attention.py ADDITIVE_ATTENTION_BENCHMARK [--rounds 5] [--threads 2]

ADDITIVE_ATTENTION_BENCHMARK is the program of the same name. B 8, T = S = 256, 512 hidden units, tanh, float32. Each
round runs every contender once, so that a slow minute of the machine meets all of them; the ratio to attend is taken in
each round. Needs torch: build/test-env of scripts/setup --with-python-tests.
"""

import argparse
import json
import os
import statistics
import subprocess
import time

BATCH, LENGTH, DIM = 8, 256, 512


def attend_time(program, threads, backward):
    name = "fused_tanh_forward" + ("_and_backward" if backward else "")
    done = subprocess.run([program, f"--benchmark_filter=^square/{name}/dim:{DIM}/", "--benchmark_format=json"],
                          env=dict(os.environ, OMP_NUM_THREADS=str(threads)), check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["benchmarks"][0]["real_time"]  # milliseconds


def python_contenders(threads):
    import torch
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    query, key, value = (torch.randn(BATCH, LENGTH, DIM) for _ in range(3))
    vector, gradient = torch.randn(DIM) / DIM ** 0.5, torch.randn(BATCH, LENGTH, DIM)

    def attention(query, key, vector, value):
        scores = torch.tanh(query.unsqueeze(2) + key.unsqueeze(1)) @ vector
        return torch.softmax(scores, -1) @ value

    def timed(function, backward):
        inputs = [x.detach().requires_grad_(backward) for x in (query, key, vector, value)]
        began = time.perf_counter()
        with torch.set_grad_enabled(backward):
            output = function(*inputs)
            if backward:
                torch.autograd.grad(output, inputs, gradient)
        return 1000 * (time.perf_counter() - began)

    compiled = torch.compile(attention)
    contenders = {"eager": lambda backward: timed(attention, backward),
                  "torch.compile": lambda backward: timed(compiled, backward)}
    for run in contenders.values():  # compiles
        for backward in (False, True):
            run(backward)
    return contenders


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    contenders = python_contenders(args.threads)
    for backward in (False, True):
        ours, times = [], {name: [] for name in contenders}
        for _ in range(args.rounds):
            ours.append(attend_time(args.program, args.threads, backward))
            for name, run in contenders.items():
                times[name].append(run(backward))
        print("forward and backward" if backward else "forward")
        print(f"  {'attend':14} {statistics.median(ours):9.1f} ms")
        for name, each in times.items():
            ratios = sorted(theirs / own for theirs, own in zip(each, ours))
            print(f"  {name:14} {statistics.median(each):9.1f} ms, {statistics.median(ratios):.1f} times attend's "
                  f"({ratios[0]:.1f} to {ratios[-1]:.1f})")


if __name__ == "__main__":
    main()
