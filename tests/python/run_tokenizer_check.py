"""Trains a tokenizer with attend, and compares it with transformers' MarianTokenizer.

usage: run_tokenizer_check.py TOKENIZER_DUMP
"""

import subprocess
import sys
import tempfile
from pathlib import Path

SUBJECTS = [("the cat", "le chat"), ("a dog", "un chien"), ("my sister", "ma sœur"),
            ("the old man", "le vieil homme"), ("an apple", "une pomme"), ("the children", "les enfants")]
VERBS = [("sees", "voit"), ("looks at", "regarde"), ("does not like", "n'aime pas"),
         ("forgets", "oublie"), ("dreams of", "rêve de")]
OBJECTS = [("the green tree", "l'arbre vert"), ("two hundred birds", "deux cents oiseaux"),
           ("the castle", "le château"), ("ice, snow & rain", "la glace, la neige & la pluie")]
ODD = ["", "   ", "\tTabs\tand  spaces ", "日本語 and emoji 😀", "ﬁne ligatures ＡＢＣ", "</s> <pad> <unk>",
       "a\u00a0b\u2003c", "naïve café", "x" * 500, ">>fra<< hello", "\u2581 lower one eighth block"]


def main():
    dump = sys.argv[1]
    pairs = [(f"{s[0]} {v[0]} {o[0]}.", f"{s[1]} {v[1]} {o[1]}.")
             for s in SUBJECTS for v in VERBS for o in OBJECTS]
    check = str(Path(__file__).with_name("check_tokenizer.py"))
    with tempfile.TemporaryDirectory() as temporary:
        text = Path(temporary) / "text"
        lines = [line for pair in pairs for line in pair]
        text.write_text("\n".join(lines) + "\n", encoding="utf-8")
        probe = Path(temporary) / "probe"
        probe.write_text("\n".join(lines + ODD) + "\n", encoding="utf-8")
        for kind in ("unigram", "bpe", "unigram-separate", "bpe-separate", "unigram-restricted", "bpe-restricted"):
            folder = Path(temporary) / kind
            subprocess.run([dump, "train", str(folder), "150", kind, str(text)], check=True)
            records = Path(temporary) / f"{kind}.jsonl"
            with records.open("wb") as out:
                subprocess.run([dump, "encode", str(folder), str(probe)], check=True, stdout=out)
            print(f"{kind}:", flush=True)
            if subprocess.run([sys.executable, check, str(folder), str(records)]).returncode:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
