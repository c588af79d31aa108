"""The numeric flags of all programs: each says its range, in one line and with exit status 2."""

import concurrent.futures
import os
import re
import subprocess
import unittest

PROGRAMS = {
    "seq2seq": os.environ.get("ATTEND_SEQ2SEQ", "attend-seq2seq"),
    "tour": os.environ.get("ATTEND_TOUR", "attend-tour"),
    "visualize": os.environ.get("ATTEND_VISUALIZE", "attend-visualize"),
}
# What a command needs before it looks at the numbers.
NEEDED = {
    "demo": ["-m", "/nowhere/model"],
    "train": ["-m", "/nowhere/model", "-t", "/nowhere/text.en", "/nowhere/text.fr"],
    "translate": ["-m", "/nowhere/model", "-i", "/nowhere/text"],
    "evaluate": ["-m", "/nowhere/model", "-t", "/nowhere/text.en", "/nowhere/text.fr"],
    "serve": ["-m", "/nowhere/model"],
    "visualize": ["-m", "/nowhere/model", "text"],
    "tour": ["--list"],
}
BEAM, COUNT, COUNT_OR_NONE = "a whole number in [1, 1000]", "a whole number in [1, 1000000000]", \
    "a whole number in [0, 1000000000]"
SIZE, LAYERS = "a whole number in [1, 1048576]", "a whole number in [0, 1000]"
TOKENS, REPETITION = "a whole number in [0, 1000000]", "a number in (0, 100]"
PROBABILITY, PART = "a number in [0, 1)", "a number in [0, 1]"
POSITIVE, POSITIVE_OR_NONE = "a number in (0, 1000000000]", "a number in [0, 1000000000]"
SEED, THREADS = "a whole number in [0, 18446744073709551615]", "a whole number in [0, 4096]"
INDEX = "a whole number in [-1000, 1000]"
RANGES = {
    "demo": {"--updates": COUNT, "--seed": SEED, "--threads": THREADS},
    "train": {
        "--embed-dim": SIZE, "--heads": SIZE, "--encoder-layers": LAYERS, "--decoder-layers": LAYERS,
        "--ffn-dim": SIZE, "--dropout": PROBABILITY, "--attention-dropout": PROBABILITY,
        "--activation-dropout": PROBABILITY, "--max-positions": SIZE,
        "--vocab-size": "a whole number in [4, 10000000]", "--subword-pairs": COUNT, "--worker-timeout": COUNT,
        "--batch-tokens": COUNT, "--max-length": COUNT,
        "--max-length-ratio": "0 or a number in [1, 1000000000]",
        "--shuffle-pairs": "a whole number in [1, 1000000000000]", "--bpe-dropout": PROBABILITY,
        "--label-smoothing": PROBABILITY, "--clip-norm": POSITIVE_OR_NONE, "--exponential-smoothing": PROBABILITY,
        "--average-checkpoints": COUNT_OR_NONE, "--max-bad-updates": COUNT, "--learn-rate": POSITIVE,
        "--lr-warmup": COUNT_OR_NONE, "--cooldown": PART, "--cooldown-floor": PART, "--muon-momentum": PROBABILITY,
        "--muon-scale": POSITIVE, "--muon-iterations": "a whole number in [1, 1000]", "--adam-beta1": PROBABILITY,
        "--adam-beta2": PROBABILITY, "--adam-eps": POSITIVE, "--weight-decay": POSITIVE_OR_NONE,
        "--early-stopping": COUNT_OR_NONE, "--valid-beam-size": BEAM, "--seed": SEED, "--threads": THREADS,
    },
    "translate": {"--beam-size": BEAM, "--normalize": "a number in [-10, 10]", "--n-best": BEAM,
                  "--repetition-penalty": REPETITION, "--no-repeat-ngram-size": TOKENS, "--min-length": TOKENS,
                  "--max-length-factor": "a number in [0, 1000000]", "--mini-batch": "a whole number in [1, 1000000]",
                  "--threads": THREADS},
    "evaluate": {"--beam-size": BEAM, "--normalize": "a number in [-10, 10]", "--repetition-penalty": REPETITION,
                 "--no-repeat-ngram-size": TOKENS, "--min-length": TOKENS, "--threads": THREADS},
    "serve": {"--port": "a whole number in [0, 65535]", "--beam-size": BEAM, "--normalize": "a number in [-10, 10]",
              "--repetition-penalty": REPETITION, "--no-repeat-ngram-size": TOKENS, "--min-length": TOKENS,
              "--workers": THREADS, "--max-batch": "a whole number in [1, 1000000]",
              "--max-queue": "a whole number in [1, 1000000]", "--max-text": COUNT, "--max-body": COUNT,
              "--max-connections": "a whole number in [1, 10000]", "--timeout": "a number in (0, 1000000]",
              "--threads": THREADS},
    "visualize": {"--beam-size": BEAM, "--layer": INDEX, "--head": INDEX, "--threads": THREADS},
    "tour": {"--threads": THREADS},
}
DURATIONS = ["--after", "--valid-freq", "--disp-freq"]
HUGE = "99999999999999999999"


def run(command, *arguments):
    program = PROGRAMS.get(command, PROGRAMS["seq2seq"])
    subcommand = [] if command in PROGRAMS else [command]
    done = subprocess.run([program, *subcommand, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=120, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def run_all(calls):
    """The results of many short runs, in order."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda call: run(*call), calls))


def contains(text, number):
    """Whether a range, as the programs write it, holds a number."""
    zero, opening, least, most, closing = re.fullmatch(r"(0 or )?a .*number in ([\[(])(.*), (.*)([\])])", text).groups()
    above = number >= float(least) if opening == "[" else number > float(least)
    below = number <= float(most) if closing == "]" else number < float(most)
    return (bool(zero) and number == 0) or (above and below)


class NumberFlags(unittest.TestCase):
    def assert_refused(self, command, flag, value, result, expected=None):
        status, out, errors = result
        where = f"{command} {flag} {value!r}: {errors}"
        self.assertEqual((status, out), (2, ""), where)
        message, *hint = errors.splitlines()
        self.assertEqual(len(hint), 1, where)
        self.assertRegex(hint[0], "^Run with --help", where)
        self.assertLess(len(message), 250, where)
        self.assertIn(f": {flag}: expected ", message, where)
        self.assertNotIn("\x1b", message)
        if expected:
            self.assertTrue(message.endswith(f"{expected}, got {value}"), where)

    def test_the_table_holds_every_numeric_flag(self):
        for command, ranges in RANGES.items():
            status, out, _ = run(command, "--help")
            self.assertEqual(status, 0)
            flags = re.findall(r"^ +(?:-\w,)?(--[a-z0-9-]+) (?:INT|UINT|NUMBER|FLOAT)", out, re.MULTILINE)
            self.assertEqual(sorted(flags), sorted(ranges), command)
        self.assertEqual(re.findall(r"(--[a-z-]+) TIME", run("train", "--help")[1]), DURATIONS)

    def test_each_refuses_what_is_outside_its_range(self):
        calls, checks = [], []
        for command, ranges in RANGES.items():
            for flag, text in ranges.items():
                # The nearest below, one above, and for one flag of each kind what is no number in all its spellings;
                # that all are parsed alike is tested below. Each run loads LibTorch.
                is_whole = "whole" in text
                below = [value for value in ("0", "-1") if not contains(text, float(value))][:1]
                others = ["1e99", "nan", "inf", "-inf", "many"] if flag in ("--beam-size", "--clip-norm", "--seed") \
                    else [] if is_whole else ["nan"]
                for value in (*below, HUGE, *others):
                    calls.append((command, *NEEDED[command], flag, value))
                    checks.append((command, flag, value, text))
        for (command, flag, value, text), result in zip(checks, run_all(calls)):
            self.assert_refused(command, flag, value, result, text)

    def test_numbers_within_the_range_pass(self):
        calls = []
        for command in ("translate", "evaluate", "serve", "visualize"):
            for flag, text in RANGES[command].items():
                least, most = re.search(r"[\[(](.*), (.*)[\])]", text).groups()
                if flag != "--threads":  # so many would be started
                    calls += [(command, *NEEDED[command], flag, value) for value in (least, most)
                              if contains(text, float(value))]
        calls += [("visualize", *NEEDED["visualize"], "--head", "mean"),
                  ("translate", *NEEDED["translate"], "-n", "-0.5"), ("translate", *NEEDED["translate"], "-n", "1e-3")]
        for call, (status, _, errors) in zip(calls, run_all(calls)):
            self.assertEqual(status, 1, f"{call}: {errors}")
            self.assertIn("/nowhere", errors)

    def test_what_is_no_number_is_shown_on_one_line(self):
        values = ["", " 1", "1 ", "+1", "0x10", "1.5", "1,5", "five", "5\n6", "\x1b[31m5", "٣", "9" * 5000]
        results = run_all([("translate", *NEEDED["translate"], "-b", value) for value in values])
        for value, result in zip(values, results):
            self.assert_refused("translate", "--beam-size", value, result)
        self.assertIn("got an empty text\n", results[0][2])
        self.assertIn("got five\n", results[values.index("five")][2])

    def test_durations_name_their_flag(self):
        values = ["0u", "-1e", "nanu", "infm", "1e999e", "5", "u", "5x", ""]
        calls = [(flag, value) for flag in DURATIONS[:1] for value in values] + [(flag, "0u") for flag in DURATIONS[1:]]
        results = run_all([("train", *NEEDED["train"], flag, value) for flag, value in calls])
        for (flag, value), result in zip(calls, results):
            self.assert_refused("train", flag, value, result)


if __name__ == "__main__":
    unittest.main()
