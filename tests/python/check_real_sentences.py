"""Proves that on real sentences attend's beam search finds what transformers' generate finds.

usage: check_real_sentences.py MODEL_DUMP ATTEND_SEQ2SEQ TEXT [MODEL]

TEXT is a folder with train.en.gz, train.fr.gz and val.en.gz, such as Multi30k's. A small model is trained on it,
unless MODEL names a trained folder. The first 200 sentences of val.en.gz are searched with a beam of 5 and
early_stopping, in float32: by generate, and by attend with the module and with the prepared model.

All five hypotheses of a sentence must be the same, their tokens and their scores to 1e-4. The one exception: two
programs add numbers up in other orders, so hypotheses whose scores differ by rounding may change places, or be chosen
one for the other. Then each must score within 1e-5 of the one in its place.

CTranslate2 searches by the same rules but for what is never chosen, whose probability it shares among the rest; told to
do that, attend must find its best hypotheses, by the same measure.
"""

import gzip
import json
import shutil
import sys
import tempfile
from pathlib import Path

import check_ctranslate2
import torch
from transformers import MarianMTModel, MarianTokenizer, logging

SENTENCES, BATCH, BEAM = 200, 20, 5
AGREEMENT, ROUNDING = 1e-4, 1e-5
NO_TEXT = 77  # what CTest takes for a test that was skipped
PAIRS, UPDATES = 20000, 600


def lines_of(path, count):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [line.rstrip("\n") for _, line in zip(range(count), file)]


def train(program, text, folder):
    corpus = []
    for side in ("en", "fr"):
        corpus.append(folder.with_suffix(f".{side}"))
        corpus[-1].write_text("".join(f"{line}\n" for line in lines_of(text / f"train.{side}.gz", PAIRS)), encoding="utf-8")
    check_ctranslate2.run(program, "train", "-q", "-m", folder, "-t", *corpus, "--vocab-size", 4000, "--embed-dim", 64,
                          "--heads", 4, "--encoder-layers", 2, "--decoder-layers", 2, "--ffn-dim", 256, "--learn-rate", 0.004,
                          "--lr-warmup", 100, "--batch-tokens", 2048, "--after", f"{UPDATES}u", "--valid-freq", f"{UPDATES}u",
                          "--seed", 1)


def batches(folder, sentences):
    tokenizer = MarianTokenizer.from_pretrained(folder)
    for first in range(0, len(sentences), BATCH):
        yield tokenizer(sentences[first:first + BATCH], return_tensors="pt", padding=True)


def transformers_hypotheses(folder, inputs):
    """For each sentence, (tokens without start and end, score), best first."""
    model = MarianMTModel.from_pretrained(folder, dtype=torch.float32).eval()
    end, found = model.config.eos_token_id, []
    for batch in inputs:
        with torch.no_grad():
            out = model.generate(**batch, num_beams=BEAM, num_return_sequences=BEAM, early_stopping=True,
                                 return_dict_in_generate=True, output_scores=True)
        rows = [row[:row.index(end)] if end in row else row for row in out.sequences[:, 1:].tolist()]
        every = list(zip(rows, out.sequences_scores.tolist()))
        found += [every[i:i + BEAM] for i in range(0, len(every), BEAM)]
    return found


def attend_hypotheses(dump, command, folder, inputs):
    saved = json.loads((folder / "generation_config.json").read_text())
    generation = {**saved, "num_beams": BEAM, "early_stopping": True}
    text = "".join(json.dumps({"ids": batch["input_ids"].tolist(), "generation": generation}) + "\n" for batch in inputs)
    out = check_ctranslate2.run(dump, command, folder, text=text)
    return [[(one["tokens"], one["score"]) for one in sentence]
            for line in out.splitlines() for sentence in json.loads(line)["found"]]


def compare(name, ours, theirs):
    """Whether both found the same hypotheses, by the rule above; each a list of (hypothesis, score) a sentence."""
    alike = near = wrong = 0
    largest = 0.0
    for number, (mine, other) in enumerate(zip(ours, theirs)):
        differences = [abs(a - b) for (_, a), (_, b) in zip(mine, other)]
        largest = max(largest, *differences)
        same = [a == b for (a, _), (b, _) in zip(mine, other)]
        fine = len(mine) == len(other) and all(difference <= (AGREEMENT if equal else ROUNDING)
                                               for equal, difference in zip(same, differences))
        alike += fine and all(same)
        near += fine and not all(same)
        wrong += not fine
        for rank, (one, another) in enumerate(zip(mine, other)):
            if one[0] != another[0]:
                print(f"  sentence {number}, place {rank}: attend {one}, other {another}")
    print(f"{name}: of {len(theirs)} sentences {alike} the same, {near} but for hypotheses as good, {wrong} wrong; "
          f"largest difference of scores {largest:.1e}")
    return wrong == 0 and len(ours) == len(theirs)


def compare_with_ctranslate2(program, folder, sentences):
    converted = folder.with_name("converted")
    check_ctranslate2.search_as_ctranslate2(folder)
    check_ctranslate2.run(sys.executable, "-c", check_ctranslate2.CONVERTER, "--model", folder, "--output_dir", converted)
    ours = check_ctranslate2.attend_translations(program, folder, BEAM, sentences)
    theirs = check_ctranslate2.ctranslate2_translations(folder, converted, BEAM, sentences)
    ended = [i for i, one in enumerate(theirs) if one is not None]
    print(f"{len(theirs) - len(ended)} translations of CTranslate2 reach its limit")
    return len(ended) > 0.95 * SENTENCES and compare(
        "CTranslate2, the best", [[ours[i]] for i in ended], [[theirs[i]] for i in ended])


def main():
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    dump, program, text = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if not (text / "val.en.gz").exists():
        print(f"no real sentences: expected val.en.gz in {text}")
        return NO_TEXT
    sentences = lines_of(text / "val.en.gz", SENTENCES)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        if len(sys.argv) > 4:
            folder.mkdir()
            for name in ("config.json", "generation_config.json", "model.safetensors", "source.spm", "target.spm",
                         "tokenizer_config.json", "vocab.json"):
                shutil.copy(Path(sys.argv[4]) / name, folder)
        else:
            train(program, text, folder)
        inputs = list(batches(folder, sentences))
        expected = transformers_hypotheses(folder, inputs)
        print(f"{len({str(one[0][0]) for one in expected})} different translations")
        fine = True
        for name, command in (("generate, the module", "search"), ("generate, prepared", "search-prepared")):
            fine &= compare(name, attend_hypotheses(dump, command, folder, inputs), expected)
        fine &= compare_with_ctranslate2(program, folder, sentences)
    print("all the same" if fine else "FAILED")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
