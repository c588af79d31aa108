"""Speed of translation beside CTranslate2, side by side in one run: sentences/s, and whether translations agree.

usage: translation_speed.py TRANSLATION_SPEED FOLDER TEXT [--lines 500] [--rounds 3] [--batches 1 32 64] [--beams 1 5]

TRANSLATION_SPEED is the program of the same name; FOLDER a post-norm model that attend-seq2seq trained; TEXT its source
text, one sentence a line. Each round runs every contender once, in a process of its own, which translates the text once
before; the ratio is taken in each round. A contender gets the text in batches, one call each. CTranslate2 runs with two
settings, all threads in each operation, or a part of the batch for each thread (of a batch of one: one thread), of which
each round takes the faster. Needs ctranslate2, transformers and sentencepiece: build/test-env of scripts/setup --with-python-tests.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

CONVERTER = "from ctranslate2.converters.transformers import main; main()"  # ct2-transformers-converter
ATTEND = ("fp32", "bf16", "int8")
PEERS = {"float32": "float32", "int8": "int8"}
THREADS = os.cpu_count()


def ctranslate2_run(folder, text, batch, beam, kind, split, output):
    """Prints the seconds of a round after one that is not counted."""
    import ctranslate2
    import sentencepiece

    source, target = (sentencepiece.SentencePieceProcessor(f"{folder}/{side}.spm") for side in ("source", "target"))
    inter, intra = (THREADS, 1) if split else (1, THREADS)
    translator = ctranslate2.Translator(f"{folder}/ct2", compute_type=kind, inter_threads=inter, intra_threads=intra)
    lines = pathlib.Path(text).read_text(encoding="utf-8").splitlines()
    for counts in (False, True):
        begin, found = time.perf_counter(), []
        for first in range(0, len(lines), batch):
            tokens = [source.encode(line, out_type=str) + ["</s>"] for line in lines[first:first + batch]]
            results = translator.translate_batch(tokens, beam_size=beam, min_decoding_length=0,
                                                 max_batch_size=-(-batch // inter))
            found += [target.decode_pieces(one.hypotheses[0]) for one in results]
        if counts:
            print(time.perf_counter() - begin)
    pathlib.Path(output).write_text("".join(f"{line}\n" for line in found), encoding="utf-8")


def seconds(command):
    done = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.split()[-1])


def described(ratios):
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def compare(options, folder, text, batch, beam, rounds, output):
    def of_attend(kind):
        return seconds([options.program, folder, text, batch, beam, kind, THREADS, 1, output / kind])

    def of_peer(kind):
        return min(seconds([sys.executable, __file__, "--peer", folder, text, batch, beam, kind, int(split),
                            output / f"ct2-{kind}"])
                   for split in (False, True))

    contenders = {kind: of_attend for kind in ATTEND} | {f"CTranslate2 {kind}": of_peer for kind in PEERS}
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            times[name].append(run(name.split()[-1]))
    lines = sum(1 for _ in open(text, encoding="utf-8"))

    def ratio(own, peer):
        return described([b / a for a, b in zip(times[own], times[f"CTranslate2 {peer}"])])

    a, b = ((output / name).read_text(encoding="utf-8").splitlines() for name in ("fp32", "ct2-float32"))
    row = [batch, beam] + [f"{lines / statistics.median(times[name]):.0f}" for name in contenders]
    row += [ratio("fp32", "float32"), ratio("bf16", "float32"), ratio("int8", "int8"),
            sum(x != y for x, y in zip(a, b))]
    print("| " + " | ".join(str(cell) for cell in row) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("--lines", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32, 64])
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        folder = work / "model"
        shutil.copytree(options.folder, folder)
        # CTranslate2's rules: it ends with the first K finished, and shares the probability of what is never chosen.
        config = json.loads((folder / "generation_config.json").read_text())
        (folder / "generation_config.json").write_text(
            json.dumps({**config, "early_stopping": True, "renormalize_logits": True}))
        subprocess.run([sys.executable, "-c", CONVERTER, "--model", folder, "--output_dir", folder / "ct2"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        lines = options.text.read_text(encoding="utf-8").splitlines()[:options.lines]
        text = work / "text"
        text.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        header = ["batch", "beam", *(f"attend {kind}" for kind in ATTEND), *(f"CTranslate2 {kind}" for kind in PEERS),
                  "float32, attend is faster by", "bf16 beside float32", "int8 beside int8", "texts that differ, float32"]
        print("| " + " | ".join(header) + " |\n" + "| --- " * len(header) + "|", flush=True)
        for batch in options.batches:
            for beam in options.beams:
                compare(options, folder, text, batch, beam, options.rounds, work)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        folder, text, batch, beam, kind, split, output = sys.argv[2:]
        ctranslate2_run(folder, text, int(batch), int(beam), kind, split == "1", output)
    else:
        main()
