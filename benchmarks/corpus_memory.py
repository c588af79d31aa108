"""Trains on a generated corpus of any size and prints the memory that it took.

    python3 benchmarks/corpus_memory.py build/release/apps/seq2seq/attend-seq2seq --gigabytes 5

Anonymous resident memory (RssAnon of /proc/PID/status) is what the machine must have; pages of mapped
files can be given back at any time. It is read every 50 ms, from the program's start to its end.
"""
import argparse
import itertools
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time


def write_corpus(folder, size):
    """Two files of `size` bytes together: sentences of invented words, a line each."""
    numbers = random.Random(1)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    words = ["".join(numbers.choices(syllables, k=numbers.randint(1, 4))) for _ in range(50_000)]
    sums = list(itertools.accumulate(1 / (rank + 10) for rank in range(len(words))))  # Zipf's law
    sentences = [" ".join(numbers.choices(words, cum_weights=sums, k=numbers.randint(4, 20))) for _ in range(100_000)]
    written = 0
    with open(folder / "train.en", "w") as source, open(folder / "train.fr", "w") as target:
        while written < size:
            left = numbers.choices(sentences, k=50_000)
            # Pairs of sentences that hardly ever come twice.
            right = numbers.choices(sentences, k=50_000)
            lines = [a + " " + b for a, b in zip(left, right)]
            turned = [b + " " + a for a, b in zip(left, right)]
            written += source.write("\n".join(lines) + "\n")
            written += target.write("\n".join(turned) + "\n")


def memory_of(process):
    """Anonymous and mapped resident memory, in bytes."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    kilobytes = dict(line.split(":", 1) for line in status.splitlines())
    return [int(kilobytes.get(name, "0 kB").split()[0]) * 1024 for name in ("RssAnon", "RssFile")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path, help="attend-seq2seq")
    parser.add_argument("--gigabytes", type=float, default=0.5, help="of both files together, 10^9 bytes each")
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--folder", type=pathlib.Path, help="where corpus and model are written and stay; a corpus that is there is used again; default: a temporary "
                             "one")
    arguments = parser.parse_args()
    folder = arguments.folder or pathlib.Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    try:
        texts = [folder / "train.en", folder / "train.fr"]
        if not texts[1].exists():
            write_corpus(folder, arguments.gigabytes * 1e9)
        with open(texts[0], "rb") as text:
            pairs = sum(1 for _ in text)
        print(f"{pairs:,} pairs, {sum(text.stat().st_size for text in texts) / 1e9:.2f} GB", flush=True)
        process = subprocess.Popen([
            arguments.program, "train", "-m", folder / "model", "-t", folder / "train.en", folder / "train.fr",
            "--vocab-size", "8000", "--embed-dim", "128", "--heads", "4", "--encoder-layers", "2",
            "--decoder-layers", "2", "--ffn-dim", "256", "--after", f"{arguments.updates}u", "--disp-freq", "10u"],
            stderr=subprocess.PIPE, text=True)
        peak, phase, start = {}, "start", time.monotonic()
        lines = iter(process.stderr.readline, "")

        def follow():
            nonlocal phase
            for line in lines:
                print(f"{time.monotonic() - start:7.0f} s  {line}", end="", flush=True)
                if "joint subwords" in line:
                    phase = "subwords"
                elif "million pairs encoded" in line:
                    phase = "encoding"
                elif "training pairs" in line:
                    phase = "training"

        reader = threading.Thread(target=follow)
        reader.start()
        while process.poll() is None:
            try:
                now = memory_of(process)
            except (FileNotFoundError, ValueError, ProcessLookupError):
                break
            peak[phase] = [max(a, b) for a, b in zip(peak.get(phase, [0, 0]), now)]
            time.sleep(0.05)
        reader.join()
        for name, (anonymous, mapped) in peak.items():
            print(f"{name}: at most {anonymous / 1e9:.2f} GB anonymous, {mapped / 1e9:.2f} GB of files")
        return process.wait()
    finally:
        if not arguments.folder:
            shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
