#!/usr/bin/env python3
"""Compares attend's SubwordTokenizer with transformers' MarianTokenizer.

usage: check_tokenizer.py FOLDER FILE

FOLDER is a model folder with tokenizer files; FILE holds JSON Lines made from it by
`tokenizer_dump encode` (tests/python/tokenizer_dump.cpp), each an object with the keys text,
source_ids, target_ids, target_text (the decoded target_ids) and reversed_text (the decoded
target_ids in reverse order). Prints every mismatch; exits with 1 if there is any, else with 0.

It also saves the tokenizer with transformers and compares the vocabulary and model files byte for
byte. Needs transformers and sentencepiece (no torch).
"""

import json
import pathlib
import sys
import tempfile

import sentencepiece
import transformers


def mismatches(tokenizer, record):
    """Yields (what, expected by Python, got from C++) for one line of the file."""
    text = record["text"]
    # attend never reads a special token out of a text.
    plain = {"split_special_tokens": True}
    expected = {
        "source_ids": tokenizer(text, **plain)["input_ids"],
        "target_ids": tokenizer(text_target=text, **plain)["input_ids"],
        "target_text": tokenizer.decode(record["target_ids"], skip_special_tokens=True),
        "reversed_text": tokenizer.decode(record["target_ids"][::-1], skip_special_tokens=True),
    }
    for what, value in expected.items():
        if record[what] != value:
            yield what, value, record[what]


def file_mismatches(tokenizer, folder):
    """Yields the names of the files that transformers would write with other bytes."""
    with tempfile.TemporaryDirectory() as saved:
        tokenizer.save_pretrained(saved)
        for name in ("vocab.json", "target_vocab.json", "source.spm", "target.spm"):
            ours, theirs = folder / name, pathlib.Path(saved) / name
            if ours.exists() != theirs.exists():
                yield name
            elif ours.exists() and ours.read_bytes() != theirs.read_bytes():
                yield name


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    folder = pathlib.Path(sys.argv[1])
    tokenizer = transformers.MarianTokenizer.from_pretrained(folder)
    lines = pathlib.Path(sys.argv[2]).read_bytes().decode().split("\n")
    records = [json.loads(line) for line in lines if line]
    if not records:
        print(f"check_tokenizer: expected lines in {sys.argv[2]}, got none", file=sys.stderr)
        return 1

    count = 0
    for name in file_mismatches(tokenizer, folder):
        count += 1
        print(f"{name}: transformers saves other bytes")
    for number, record in enumerate(records, start=1):
        for what, expected, got in mismatches(tokenizer, record):
            count += 1
            print(f"line {number} {what} of {record['text']!r}:")
            print(f"  transformers {expected!r}\n  attend       {got!r}")
    print(
        f"check_tokenizer: {len(records)} texts, {count} mismatches (transformers "
        f"{transformers.__version__}, sentencepiece {sentencepiece.__version__})"
    )
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
