"""Speed of translation beside CTranslate2, side by side in one run: sentences/s, and whether translations agree.

usage: translation_speed.py TRANSLATION_SPEED FOLDER TEXT [--lines 500] [--rounds 3] [--batches 1 32 64] [--beams 1 5]
                            [--base] [--command ATTEND_SEQ2SEQ]

TRANSLATION_SPEED is the program of the same name; FOLDER a post-norm model that attend-seq2seq trained; TEXT its source
text, one sentence a line. Each round runs every contender once, in a process of its own, which translates the text once
before; the ratio is taken in each round. A contender gets the text in batches, one call each. CTranslate2 runs with four
settings, of which each round takes the fastest: all threads in each operation, or a part of the batch for each thread (of
a batch of one: one thread), each with OpenMP's default wait policy and with OMP_WAIT_POLICY=ACTIVE. p50 and p99: of the
milliseconds of a call, in the median round. --base: instead of FOLDER's weights, random ones of Transformer-base (6 + 6 layers, 512 wide,
32,000 subwords), with 24 forced target tokens. --command: instead of these
programs, whole commands, from the start to the last line: `attend-seq2seq translate` and a Python program that loads and
runs CTranslate2, its seconds and peak memory. Needs ctranslate2, transformers and sentencepiece: build/test-env of scripts/setup --with-python-tests.
"""

import argparse
import json
import math
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
SETTINGS = [(split, {} if policy is None else {"OMP_WAIT_POLICY": policy})
            for split in (False, True) for policy in (None, "ACTIVE")]
BASE_VOCABULARY, BASE_TARGET = 32_000, 24


def make_base(folder):
    """Replaces the weights in `folder` by random ones of Transformer-base, whose end token is never the best."""
    import torch
    import transformers

    vocabulary = json.loads((folder / "vocab.json").read_text())
    pad = BASE_VOCABULARY - 1
    del vocabulary["<pad>"]
    vocabulary |= {f"<more_{i}>": i for i in range(len(vocabulary), pad)} | {"<pad>": pad}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    torch.manual_seed(1)
    end, unknown = vocabulary["</s>"], vocabulary["<unk>"]
    ids = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": pad, "decoder_start_token_id": pad}
    model = transformers.MarianMTModel(transformers.MarianConfig(
        vocab_size=BASE_VOCABULARY, d_model=512, encoder_layers=6, decoder_layers=6, encoder_attention_heads=8,
        decoder_attention_heads=8, encoder_ffn_dim=2048, decoder_ffn_dim=2048, activation_function="relu",
        max_position_embeddings=512, scale_embedding=True, static_position_embeddings=True, forced_eos_token_id=None, **ids))
    model.final_logits_bias[0, [end, unknown]] = -1e4
    model.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(
        {**ids, "bad_words_ids": [[pad]], "num_beams": 5, "max_length": 1 + BASE_TARGET, "length_penalty": 1.0}))


def percentile(seconds, share):
    """Nearest rank."""
    return sorted(seconds)[max(math.ceil(share * len(seconds)), 1) - 1]


def ctranslate2_run(folder, text, batch, beam, kind, split, target_tokens, output, rounds=2):
    """Prints the seconds of the last round, before which there may be others, and the percentiles of its calls."""
    import ctranslate2
    import sentencepiece

    source, target = (sentencepiece.SentencePieceProcessor(f"{folder}/{side}.spm") for side in ("source", "target"))
    inter, intra = (THREADS, 1) if split else (1, THREADS)
    translator = ctranslate2.Translator(f"{folder}/ct2", compute_type=kind, inter_threads=inter, intra_threads=intra)
    lines = pathlib.Path(text).read_text(encoding="utf-8").splitlines()
    length = {"max_decoding_length": target_tokens, "min_decoding_length": target_tokens} if target_tokens else {
        "min_decoding_length": 0}
    for _ in range(rounds):
        calls, found = [], []
        for first in range(0, len(lines), batch):
            begin = time.perf_counter()
            tokens = [source.encode(line, out_type=str) + ["</s>"] for line in lines[first:first + batch]]
            results = translator.translate_batch(tokens, beam_size=beam, max_batch_size=-(-batch // inter), **length)
            found += [target.decode_pieces(one.hypotheses[0]) for one in results]
            calls.append(time.perf_counter() - begin)
    print(sum(calls), percentile(calls, 0.5), percentile(calls, 0.99))
    pathlib.Path(output).write_text("".join(f"{line}\n" for line in found), encoding="utf-8")


def seconds(command, environment=None):
    """Of a round, and the percentiles of its calls."""
    done = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, **(environment or {})})
    return tuple(float(number) for number in done.stdout.split()[-3:])


def described(ratios):
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def whole(command, environment=None):
    """Seconds and MB of a command."""
    begin = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={**os.environ, **(environment or {})})
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise subprocess.CalledProcessError(status, command)
    return time.perf_counter() - begin, usage.ru_maxrss / 1000


def compare_commands(program, folder, text, beam, rounds, output):
    def of_attend(kind):
        return whole([program, "translate", "-m", folder, "-i", text, "-o", output / kind, "-b", beam, "--precision", kind,
                      "--mini-batch", 512, "--quiet"])

    def of_peer(kind):
        return min(whole([sys.executable, __file__, "--peer", folder, text, 512, beam, kind, int(split), 0,
                          output / f"ct2-{kind}", 1], environment) for split, environment in SETTINGS)

    times = {name: [] for name in ("fp32", "int8", "CTranslate2 float32", "CTranslate2 int8")}
    for _ in range(rounds):
        for name, taken in times.items():
            taken.append((of_peer if " " in name else of_attend)(name.split()[-1]))
    cells = [beam]
    for name, taken in times.items():
        cells += [f"{statistics.median(t[0] for t in taken):.2f} s, {max(t[1] for t in taken):.0f} MB"]
    cells += [described([b[0] / a[0] for a, b in zip(times[own], times[f"CTranslate2 {peer}"])])
              for own, peer in (("fp32", "float32"), ("int8", "int8"))]
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def compare(options, folder, text, batch, beam, rounds, target_tokens, output):
    def of_attend(kind):
        return seconds([options.program, folder, text, batch, beam, kind, THREADS, 1, output / kind])

    def of_peer(kind):
        return min(seconds([sys.executable, __file__, "--peer", folder, text, batch, beam, kind, int(split),
                            target_tokens, output / f"ct2-{kind}"], environment)
                   for split, environment in SETTINGS)

    contenders = {kind: of_attend for kind in ATTEND} | {f"CTranslate2 {kind}": of_peer for kind in PEERS}
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            times[name].append(run(name.split()[-1]))
    lines = sum(1 for _ in open(text, encoding="utf-8"))

    def ratio(own, peer):
        return described([b[0] / a[0] for a, b in zip(times[own], times[f"CTranslate2 {peer}"])])

    def latency(name):
        _, middle, late = sorted(times[name])[len(times[name]) // 2]
        return f"{1e3 * middle:.1f}, {1e3 * late:.1f}"

    a, b = ((output / name).read_text(encoding="utf-8").splitlines() for name in ("fp32", "ct2-float32"))
    row = [batch, beam] + [f"{lines / statistics.median(t[0] for t in times[name]):.{1 if target_tokens else 0}f}" for name in contenders]
    row += [ratio("fp32", "float32"), ratio("bf16", "float32"), ratio("int8", "int8"),
            latency("fp32"), latency("CTranslate2 float32"), sum(x != y for x, y in zip(a, b))]
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
    parser.add_argument("--base", action="store_true")
    parser.add_argument("--command", type=pathlib.Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        folder = work / "model"
        shutil.copytree(options.folder, folder)
        if options.base:
            make_base(folder)
        # CTranslate2's rules: it ends with the first K finished, and shares the probability of what is never chosen.
        config = json.loads((folder / "generation_config.json").read_text())
        (folder / "generation_config.json").write_text(
            json.dumps({**config, "early_stopping": True, "renormalize_logits": True}))
        subprocess.run([sys.executable, "-c", CONVERTER, "--model", folder, "--output_dir", folder / "ct2"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        lines = options.text.read_text(encoding="utf-8").splitlines()[:options.lines]
        text = work / "text"
        text.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        if options.command:
            print("| beam | attend fp32 | attend int8 | CTranslate2 float32 | CTranslate2 int8 | float32, attend is faster by "
                  "| int8 |\n" + "| --- " * 7 + "|", flush=True)
            for beam in options.beams:
                compare_commands(options.command, folder, text, beam, options.rounds, work)
            return
        header = ["batch", "beam", *(f"attend {kind}" for kind in ATTEND), *(f"CTranslate2 {kind}" for kind in PEERS),
                  "float32, attend is faster by", "bf16 beside float32", "int8 beside int8", "p50, p99 of attend fp32, ms", "of CTranslate2 float32", "texts that differ, float32"]
        print("| " + " | ".join(header) + " |\n" + "| --- " * len(header) + "|", flush=True)
        for batch in options.batches:
            for beam in options.beams:
                compare(options, folder, text, batch, beam, options.rounds, BASE_TARGET if options.base else 0, work)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        folder, text, batch, beam, kind, split, target_tokens, output, *rounds = sys.argv[2:]
        ctranslate2_run(folder, text, int(batch), int(beam), kind, split == "1", int(target_tokens), output,
                        *map(int, rounds))
    else:
        main()
