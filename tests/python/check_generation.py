"""Proves that attend's beam search finds what transformers' generate finds, the n best and their scores.

usage: check_generation.py MODEL_DUMP

transformers writes random models and their generation_config.json, which says how to search; attend reads
both, and rules about tokens and target prefixes are among the cases. Then attend writes a folder, and generate, told nothing, answers as attend does. Cases in which the
answers of transformers change when log-probabilities are off by 1e-5 are left out and counted.
"""

import importlib.util
import itertools
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import MarianMTModel, logging

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
spec = importlib.util.spec_from_file_location("fixtures", GOLDEN / "make_generation_fixtures.py")
fixtures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fixtures)

CASES_OF_A_MODEL = 36


def attend_answers(dump, command, folder, lines):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([dump, command, folder], input=text, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"model_dump failed: {done.stderr}")
    return [json.loads(line)["found"] for line in done.stdout.splitlines()]


def same(case, got, expected):
    if fixtures.tokens(got) != fixtures.tokens(expected):
        print(f"  {case}\n   attend       {got}\n   transformers {expected}")
        return False
    pairs = [(one["score"], other["score"]) for a, b in zip(got, expected) for one, other in zip(a, b)]
    return all(b is None or abs(a - b) <= 1e-4 * max(1, abs(b)) for a, b in pairs)


def random_ids(generator, least, most):
    return [generator.randrange(1, fixtures.PAD) for _ in range(generator.randint(least, most))]


def random_rules(generator):
    """Some of the rules about tokens, in one of two cases."""
    every = {"repetition_penalty": generator.choice((0.9, 1.1, 1.5)),
             "no_repeat_ngram_size": generator.randint(1, 4), "min_length": generator.randint(2, 9),
             "min_new_tokens": generator.randint(2, 6), "forced_bos_token_id": generator.randrange(1, fixtures.PAD),
             "suppress_tokens": random_ids(generator, 1, 5), "begin_suppress_tokens": random_ids(generator, 1, 6),
             "exponential_decay_length_penalty": [generator.randint(0, 6), generator.choice((0.8, 1.2, 1.5))]}
    chosen = {key: every[key] for key in generator.sample(sorted(every), generator.choice((0, 0, 1, 2, 3)))}
    if chosen.get("forced_bos_token_id") in chosen.get("suppress_tokens", []):
        del chosen["suppress_tokens"]
    return chosen


def cases_of(model, generator):
    bad = [[fixtures.PAD]] if model.config.is_encoder_decoder else []
    every = list(itertools.product((1, 2, 3, 4, 5), (False, True, "never"), (-0.5, 0.0, 0.6, 1.0, 1.7),
                                   (5, 8, 13, 22), (False, True), (False, True), ([], [[4], [11]])))
    for beams, early, penalty, length, forced, renormalize, more in generator.sample(every, CASES_OF_A_MODEL):
        case = {"num_beams": beams, "early_stopping": early, "length_penalty": penalty, "max_length": length,
                "forced_eos": forced, "renormalize_logits": renormalize, "rules": random_rules(generator),
                "bad_words_ids": bad + more + ([random_ids(generator, 2, 3)] if beams % 2 else [])}
        if model.config.is_encoder_decoder and generator.random() < 0.3:
            case["prefixes"] = [random_ids(generator, 0, 3) for _ in range(3)]
        yield case


def compare(dump, command, folder, made, generator):
    model, ids, mask, end = made
    cases, expected, near, impossible = [], [], 0, 0
    for case in cases_of(model, generator):
        found = fixtures.answer(model, ids, mask, end, case)
        if not fixtures.is_possible(found):
            impossible += 1
        elif fixtures.tokens(found) == fixtures.tokens(fixtures.answer(model, ids, mask, end, case, noise=True)):
            cases.append(case)
            expected.append(found)
        else:
            near += 1
    model.save_pretrained(folder)
    # transformers_version: as in every folder of theirs.
    own = ("forced_eos", "rules", "prefixes")
    lines = [{"ids": ids.tolist(), "prefixes": case.get("prefixes", []), "generation":
              {key: value for key, value in case.items() if key not in own} | case["rules"] |
              {"eos_token_id": end, "forced_eos_token_id": end if case["forced_eos"] else None,
               "transformers_version": "5.23.0"}} for case in cases]
    answers = attend_answers(dump, command, folder, lines)
    count = sum(same(case, got, found) for case, got, found in zip(cases, answers, expected))
    print(f"{command} {Path(folder).name}: {count} of {len(cases)} cases the same, {near} left out as near, "
          f"{impossible} where generate finds too few")
    return count == len(cases) and near + impossible < CASES_OF_A_MODEL // 3


def compare_own_folder(dump, folder, seed):
    subprocess.run([dump, "make", folder, "marian", str(seed)], check=True)
    model = MarianMTModel.from_pretrained(folder).eval()
    ids = torch.tensor([[5, 9, 3, 17, 2, 0], [8, 8, 14, 0, 22, 22]])
    with torch.no_grad():
        out = model.generate(input_ids=ids, attention_mask=ids.ne(22).long(), num_return_sequences=5,
                             return_dict_in_generate=True, output_scores=True)
    rows = [row[:row.index(0)] if 0 in row else row for row in out.sequences[:, 1:].tolist()]
    expected = list(zip(rows, out.sequences_scores.tolist()))
    got = [(one["tokens"], one["score"]) for sentence in
           attend_answers(dump, "search", folder, [{"ids": ids.tolist()}])[0] for one in sentence]
    fine = all(a[0] == b[0] and abs(a[1] - b[1]) < 1e-4 for a, b in zip(got, expected)) and len(got) == len(expected)
    print(f"attend's own folder, seed {seed}: generate, told nothing, answers {'the same' if fine else 'OTHERWISE'}")
    if not fine:
        print(f"   attend       {got}\n   transformers {expected}")
    return fine


def main():
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    dump = sys.argv[1]
    generator = random.Random(1)
    fine = True
    with tempfile.TemporaryDirectory() as temporary:
        for make, command, seeds in ((fixtures.marian, "search", (0, 2, 3)),
                                     (fixtures.gpt2, "search-causal-lm", (2, 3, 7))):
            for seed in seeds:
                folder = str(Path(temporary) / f"{make.__name__}-{seed}")
                fine &= compare(dump, command, folder, make(seed), generator)
        for seed in range(3):
            fine &= compare_own_folder(dump, str(Path(temporary) / f"attend{seed}"), seed)
    print("all the same" if fine else "FAILED")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
