"""Proves that CTranslate2 translates as attend does what attend trained.

usage: check_ctranslate2.py ATTEND_SEQ2SEQ

Trains small models, with all subwords and with a restricted vocabulary, and converts their folders as
ct2-transformers-converter does. Greedily and with a beam of 5, each of 300 lines must get the same text, and a
log-probability that agrees to 1e-4.
"""

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import ctranslate2
import sentencepiece

CONVERTER = "from ctranslate2.converters.transformers import main; main()"  # ct2-transformers-converter
MOST_TOKENS = 256
SEED, PAIRS, LINES = 1, 3000, 300
NOUNS = {"cat": "le chat", "dog": "le chien", "house": "la maison", "car": "la voiture", "bird": "le oiseau",
         "flower": "la fleur", "bread": "le pain", "table": "la table", "king": "le roi", "queen": "la reine"}
ADJECTIVES = {"old": ("vieux", "vieille"), "small": ("petit", "petite"), "black": ("noir", "noire"),
              "green": ("vert", "verte"), "white": ("blanc", "blanche")}
VERBS = {"sees": "voit", "likes": "aime", "draws": "dessine", "finds": "trouve", "wants": "veut"}
ADVERBS = {"": "", " today": " aujourd'hui", " slowly": " lentement", " here": " ici"}


def phrase(chance):
    noun, adjective = chance.choice(list(NOUNS)), chance.choice(list(ADJECTIVES))
    article, french = NOUNS[noun].split()
    definite = chance.random() < 0.5
    words = f"{'the' if definite else 'a'} {adjective} {noun}"
    own = article if definite else {"le": "un", "la": "une"}[article]
    return words, f"{own} {french} {ADJECTIVES[adjective][article == 'la']}"


def pair(chance):
    (subject, sujet), (thing, chose) = phrase(chance), phrase(chance)
    verb, adverb = chance.choice(list(VERBS)), chance.choice(list(ADVERBS))
    return f"{subject} {verb} {thing}{adverb}", f"{sujet} {VERBS[verb]} {chose}{ADVERBS[adverb]}"


def run(*command, text=""):
    done = subprocess.run(list(map(str, command)), input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} {command[1]}: exit status {done.returncode}\n{done.stderr}")
    return done.stdout


def train(program, folder, texts, *flags):
    run(program, "train", "-q", "-m", folder, "-t", *texts, "--vocab-size", 150, "--embed-dim", 48, "--heads", 4,
        "--encoder-layers", 2, "--decoder-layers", 2, "--ffn-dim", 96, "--max-positions", 64, "--batch-tokens", 1024,
        "--learn-rate", 0.004, "--lr-warmup", 40, "--after", "140u", "--valid-freq", "140u", "--seed", SEED, *flags)


def search_as_ctranslate2(folder):
    """It ends with the first K finished, and shares the probability of what is never chosen among the rest."""
    path = folder / "generation_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "early_stopping": True, "renormalize_logits": True}))


def attend_translations(program, folder, beam, lines):
    out = run(program, "translate", "-q", "-m", folder, "-b", beam, "--max-length-factor", 1000000, "--json", text="".join(f"{line}\n" for line in lines))
    best = [json.loads(line)["translations"][0] for line in out.splitlines()]
    return [(one["text"], one["log_probability"]) for one in best]


def ctranslate2_translations(folder, converted, beam, lines):
    source, target = (sentencepiece.SentencePieceProcessor(str(folder / f"{side}.spm")) for side in ("source", "target"))
    translator = ctranslate2.Translator(str(converted), compute_type="float32", inter_threads=1, intra_threads=1)
    # By default CTranslate2 takes the end token's probability away from a first step, and shares it among the others.
    results = translator.translate_batch([source.encode(line, out_type=str) + ["</s>"] for line in lines],
                                         beam_size=beam, return_scores=True, min_decoding_length=0,
                                         max_decoding_length=MOST_TOKENS)
    # Its score is the log-probability divided by the number of tokens, the end token counted, as attend's.
    # A hypothesis at the limit has no end; attend's limit is another.
    return [(target.decode_pieces(one.hypotheses[0]), one.scores[0] * (len(one.hypotheses[0]) + 1))
            if len(one.hypotheses[0]) < MOST_TOKENS else None for one in results]


def main():
    program = sys.argv[1]
    chance = random.Random(SEED)
    pairs = [pair(chance) for _ in range(PAIRS)]
    lines = [pair(chance)[0] for _ in range(LINES)]
    fine = True
    with tempfile.TemporaryDirectory() as temporary:
        texts = [Path(temporary) / name for name in ("text.en", "text.fr")]
        for side, path in enumerate(texts):
            path.write_text("".join(f"{one[side]}\n" for one in pairs))
        for name, flags in {"joint": [], "restricted": ["--restrict-vocab"]}.items():
            folder, converted = Path(temporary) / name, Path(temporary) / f"{name}-converted"
            train(program, folder, texts, *flags)
            search_as_ctranslate2(folder)
            run(sys.executable, "-c", CONVERTER, "--model", folder, "--output_dir", converted)
            for beam in (1, 5):
                ours, theirs = (attend_translations(program, folder, beam, lines),
                                ctranslate2_translations(folder, converted, beam, lines))
                alike = sum(a == b for (a, _), (b, _) in zip(ours, theirs))
                error = max(abs(a - b) for (_, a), (_, b) in zip(ours, theirs))
                print(f"{name}, beam {beam}: {alike} of {len(lines)} texts alike ({len({a for a, _ in ours})} different "
                      f"ones), largest difference of log-probabilities {error:.1e}")
                for (a, _), (b, _) in [both for both in zip(ours, theirs) if both[0][0] != both[1][0]][:5]:
                    print(f"  attend      {a}\n  CTranslate2 {b}")
                fine &= len(ours) == len(theirs) == len(lines) and alike == len(lines) and error < 1e-4
    print("all the same" if fine else "FAILED")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
