"""attend-seq2seq from the shell: what it answers, what it refuses, and with which exit status."""

import gzip
import json
import os
import platform
import pty
import re
import socket
import subprocess
import unittest
from pathlib import Path

from support import ENGLISH, PROGRAM, SMALL, ProgramTest, run


class Translate(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = cls.folder / "model"
        status, _, errors = cls.train(cls.model, "--after", "60u", "--valid-freq", "60u")
        assert status == 0, errors

    def test_one_line_in_gives_one_line_out(self):
        text = "the cat sees the dog\n\n  \na dog sleeps\r\n\tthe old cat runs\n"
        status, out, errors = run("translate", "-m", self.model, text=text)
        self.assertEqual((status, len(out.splitlines())), (0, 5), errors)
        self.assertEqual(out.splitlines()[1:3], ["", ""])
        # No difference for a byte order mark, a carriage return, or a last line without an end.
        again = run("translate", "-m", self.model, text="\ufeffthe cat sees the dog\r\n\na\u00a0dog\nend")[1]
        self.assertEqual(again.splitlines()[0], out.splitlines()[0])
        self.assertEqual(len(again.splitlines()), 4)

    def test_it_answers_each_line_at_once(self):
        process = subprocess.Popen([PROGRAM, "translate", "-q", "-m", str(self.model)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True, bufsize=1)
        for line in (ENGLISH[0], "", ENGLISH[1]):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            self.assertTrue(process.stdout.readline().endswith("\n"))
        process.stdin.close()
        self.assertEqual(process.wait(timeout=60), 0)
        process.stdout.close()

    def test_n_best_lists_and_alignments(self):
        status, out, _ = run("translate", "-m", self.model, "-b", 4, "--n-best", 3, "--alignment", "hard",
                             text="the cat sees the dog\n")
        self.assertEqual(status, 0)
        lines = [line.split(" ||| ") for line in out.splitlines()]
        self.assertEqual([line[0] for line in lines], ["0"] * 3)
        scores = [float(line[-1]) for line in lines]
        self.assertEqual(scores, sorted(scores, reverse=True))
        for line in lines:
            links = [tuple(map(int, link.split("-"))) for link in line[2].split()]
            self.assertEqual(links, sorted(links))
            words = len(line[1].split())
            self.assertTrue(all(source < 5 and target < words for source, target in links), line)

    def test_when_a_search_ends(self):
        for name in ("true", "false", "never"):
            status, out, errors = run("translate", "-m", self.model, "--early-stopping", name, text="a cat\n")
            self.assertEqual((status, len(out.splitlines())), (0, 1), errors)
        self.refused(run("translate", "-m", self.model, "--early-stopping", "soon"), 2, "--early-stopping", "soon")
        # The folder says it where no flag does.
        config = self.model / "generation_config.json"
        saved = config.read_text()
        try:
            config.write_text(json.dumps(json.loads(saved) | {"early_stopping": "soon"}))
            self.refused(run("translate", "-m", self.model, text="a cat\n"), 1, "generation_config.json",
                         "early_stopping", "soon")
        finally:
            config.write_text(saved)

    def test_rules_about_tokens(self):
        def log_probability(*flags):
            status, out, errors = run("translate", "-m", self.model, "-b", 2, "--max-length-factor", 20, "--score", *flags,
                                      text="the cat sees the dog\n")
            self.assertEqual((status, len(out.splitlines())), (0, 1), errors)
            return float(out.split("F0= ")[1].split(" ")[0])
        long = log_probability("--min-length", 40)
        self.assertLessEqual(long, log_probability())
        self.assertLess(log_probability("--min-length", 40, "--no-repeat-ngram-size", 2), long)
        self.assertLess(log_probability("--min-length", 40, "--repetition-penalty", 5), long)

    def test_translations_begin_with_their_prefix(self):
        prefixes = self.folder / "prefixes"
        prefixes.write_text("un chien\n\n\nle\n")
        text = "the cat sees the dog\na cat\n\na dog\n"
        _, plain, _ = run("translate", "-m", self.model, text=text)
        status, out, errors = run("translate", "-m", self.model, "--target-prefix", prefixes, text=text)
        self.assertEqual((status, len(out.splitlines())), (0, 4), errors)
        self.assertTrue(out.startswith("un chien"), out)
        self.assertEqual(out.splitlines()[1:3], plain.splitlines()[1:3])
        self.assertTrue(out.splitlines()[3].startswith("le"), out)
        self.refused(run("translate", "-m", self.model, "--target-prefix", prefixes, text=text + "a cat\n"), 1,
                     "prefixes", "expected a line for each line of the input, got 4")
        self.refused(run("translate", "-m", self.model, "--target-prefix", prefixes, text="a cat\n"), 1,
                     "prefixes", "expected the 1 lines of the input, got more")
        self.refused(run("translate", "-m", self.model, "--target-prefix", prefixes / "none", text="a cat\n"), 1,
                     "prefixes")

    def test_json_lines(self):
        status, out, _ = run("translate", "-m", self.model, "--json", "--alignment", "soft",
                             text="the cat sees the dog\n\n")
        self.assertEqual(status, 0)
        first, second = map(json.loads, out.splitlines())
        translation = first["translations"][0]
        self.assertEqual(first["source"], "the cat sees the dog")
        for row in translation["attention"]:
            self.assertEqual(len(row), 5)
            # What is missing from 1 went to the end token, which is no word.
            self.assertTrue(0.0 < sum(row) < 1.0001, row)
        self.assertEqual(second["source"], "")

    def test_evaluate_prints_scores_with_signatures(self):
        status, out, errors = run("evaluate", "-m", self.model, "-t", self.english, self.french)
        self.assertEqual(status, 0, errors)
        self.assertRegex(out, r"BLEU\|nrefs:1\|.*tok:13a.* = \d")
        self.assertRegex(out, r"chrF2\|nrefs:1\|.* = \d")

    def test_evaluate_scores_a_file_of_translations_without_a_model(self):
        flags = ["-m", self.model, "-b", "1"]
        expected = run("evaluate", *flags, "-t", self.english, self.french)
        hypotheses = self.folder / "hypotheses.fr"
        self.assertEqual(run("translate", *flags, "-i", self.english, "-o", hypotheses)[0], 0)
        files = ["--hypotheses", hypotheses, "--references", self.french]
        self.assertEqual(run("evaluate", *files), expected)
        self.assertNotEqual(run("evaluate", *files, "--tokenize", "char")[1], expected[1])
        self.assertEqual(self.from_bash("cat $FOLDER/hypotheses.fr | $PROGRAM evaluate --hypotheses /dev/stdin "
                                        "--references $FR"), expected)
        (self.folder / "short.fr").write_text("".join(self.french.read_text().splitlines(keepends=True)[:-1]))
        self.refused(run("evaluate", "--hypotheses", self.folder / "short.fr", "--references", self.french), 1,
                     "text.fr: expected 31 lines, as many as in ", "short.fr, got 32")
        self.refused(run("evaluate", "--hypotheses", hypotheses, "--references", self.folder / "no.fr"), 1, "no.fr")
        needed = "expected --model-dir and --test-sets, or --hypotheses and --references"
        for some in ([], ["--hypotheses", hypotheses], ["--references", hypotheses], ["-m", self.model]):
            self.refused(run("evaluate", *some), 2, needed)
        self.refused(run("evaluate", *files, "-m", self.model), 2, "--model-dir excludes --hypotheses")

    def test_translate_says_how_fast_it_was(self):
        text = "the cat sees the dog\n\na dog sleeps\n"
        status, out, errors = run("translate", "-m", self.model, text=text)
        self.assertEqual(status, 0)
        words = len(out.split())
        self.assertRegex(errors, rf"^3 lines, 8 source words, {words} target words in \d+\.\d\d s: \d+ lines/s, "
                                 r"\d+ target words/s, latency p50 [\d.e+]+ ms, p99 [\d.e+]+ ms\n$")
        self.assertRegex(run("translate", "-m", self.model)[2], r"^0 lines, 0 source words, 0 target words in [\d.]+ s\n$")

    def test_a_file_that_is_translated_shows_its_progress_on_a_terminal(self):
        many = self.folder / "many.en"
        many.write_text("the cat sees the dog\n" * 200)
        for quiet in ([], ["--quiet"]):
            keyboard, terminal = pty.openpty()
            with (self.folder / "many.fr").open("w") as output:
                process = subprocess.Popen([PROGRAM, "translate", "-m", self.model, "-i", many, "--log",
                                            self.folder / "progress.log", *quiet], stdout=output, stderr=terminal)
                os.close(terminal)
                seen = b""
                try:
                    while part := os.read(keyboard, 4096):
                        seen += part
                except OSError:  # the other side is closed
                    pass
                self.assertEqual(process.wait(), 0)
            os.close(keyboard)
            if quiet:
                self.assertEqual(seen, b"")
            else:
                self.assertRegex(seen.decode(), r"\r.* +\d+\.\d %  \d+ lines  \d+ lines/s  \d+:\d\d left")
        lines = (self.folder / "progress.log").read_text().splitlines()
        self.assertEqual(len(lines), 2)
        for line in lines:
            self.assertRegex(line, r"^\[[\d: -]+\] 200 lines, 1000 source words, ")

    def test_evaluate_counts_as_sacrebleu_where_there_is_no_text(self):
        # sacreBLEU 2.6.0 of a hypothesis of h tokens and references without any, and the reverse.
        empty, full = self.folder / "empty.txt", self.folder / "full.txt"
        empty.write_text("\n" * 8)
        full.write_text("".join(f"{line}\n" for line in ENGLISH))
        status, out, errors = run("evaluate", "-m", self.model, "-t", full, empty)
        self.assertEqual(status, 0, errors)
        self.assertRegex(out, r"= 0\.00 0\.0/0\.0/0\.0/0\.0 "
                              r"\(BP = 1\.000 ratio = 0\.000 hyp_len = [1-9]\d* ref_len = 0\)\n")
        self.assertTrue(out.endswith(" = 0.00\n"), out)
        status, out, errors = run("evaluate", "-m", self.model, "-t", empty, full)
        self.assertEqual(status, 0, errors)
        self.assertRegex(out, r"= 0\.00 .*\(BP = 0\.000 ratio = 0\.000 hyp_len = 0 ref_len = \d+\)\n")
        status, out, errors = run("evaluate", "-m", self.model, "-t", empty, empty)
        self.assertEqual(status, 0, errors)
        self.assertRegex(out, r"= 0\.00 .*\(BP = 1\.000 ratio = 0\.000 hyp_len = 0 ref_len = 0\)\n")
        nothing = self.folder / "nothing.txt"
        nothing.write_text("")
        self.refused(run("evaluate", "-m", self.model, "-t", nothing, nothing), 1,
                     "nothing.txt: expected at least one line, got none")

    def refused(self, result, status, *phrases):
        self.assertEqual(result[0], status, result)
        for phrase in phrases:
            self.assertIn(phrase, result[2])
        self.assertNotIn("frame #", result[2], "a backtrace")

    def test_bad_text_is_named_by_file_and_line(self):
        bad = self.folder / "bad.en"
        bad.write_bytes(b"good\nb\xffd\n")
        self.refused(run("translate", "-m", self.model, "-i", bad), 1, "bad.en", "line 2", "0xFF")
        packed = self.folder / "packed.en.gz"
        packed.write_bytes(gzip.compress(b"text\n"))
        self.refused(run("translate", "-m", self.model, "-i", packed), 1, "packed.en.gz", "gzip")
        self.refused(run("translate", "-m", self.model, "-i", self.folder / "none"), 1, "none")
        short = self.folder / "short.fr"
        short.write_text("un\n")
        self.refused(self.train(self.folder / "other", "-t", self.english, short), 2, "--train-sets")
        self.refused(run("train", "-m", self.folder / "other", "-t", self.english, short), 1, "short.fr",
                     "expected 32 lines", "got 1")

    def test_a_broken_model_folder_is_named_by_file_and_tensor(self):
        self.refused(run("translate", "-m", self.folder / "nothing"), 1, "nothing/config.json")
        broken = self.folder / "broken"
        broken.mkdir(exist_ok=True)
        for path in self.model.iterdir():
            if path.is_file():
                (broken / path.name).write_bytes(path.read_bytes())
        weights = (self.model / "model.safetensors").read_bytes()
        (broken / "model.safetensors").write_bytes(weights[: len(weights) // 2])
        self.refused(run("translate", "-m", broken, text="x\n"), 1, "broken/model.safetensors", "tensor")

    def test_a_tokenizer_of_another_model_is_refused_at_once_with_both_numbers(self):
        smaller, mixed = self.folder / "smaller", self.folder / "mixed"
        status, _, errors = run("train", "-m", smaller, "-t", self.english, self.french, "--vocab-size", "30",
                                *SMALL[2:], "--after", "1u")
        self.assertEqual(status, 0, errors)
        mixed.mkdir()
        for source, names in ((smaller, ("config.json", "model.safetensors")),
                              (self.model, ("vocab.json", "tokenizer_config.json", "source.spm", "target.spm"))):
            for name in names:
                (mixed / name).write_bytes((source / name).read_bytes())
        sizes = [len(json.loads((folder / "vocab.json").read_text())) for folder in (smaller, self.model)]
        self.assertLess(*sizes)
        message = f"mixed: expected a model of at least the tokenizer's {sizes[1]} source tokens, got one of {sizes[0]}"
        self.refused(run("translate", "-m", mixed, text="the cat\n"), 1, message)
        self.refused(run("evaluate", "-m", mixed, "-t", self.english, self.french), 1, message)

    def test_subwords_of_text_in_words_may_mix_letters_and_marks(self):
        english, french = self.folder / "words.en", self.folder / "words.fr"
        english.write_text("the cat &apos;s dog\na dog &apos;s cat\nthe dog &apos;s air\n" * 8)
        french.write_text("l&apos; air du chat\nl&apos; eau d&apos; un chien\nd&apos; un chat\n" * 8)
        for flags, mixed in ([], False), (["--subword-mix-scripts"], True):
            model = self.folder / f"words-{mixed}"
            status, _, errors = run("train", "-m", model, "-t", english, french, *SMALL, "--subword-model", "bpe",
                                    "--activation-dropout", "0.2", "--after", "1u", *flags)
            self.assertEqual(status, 0, errors)
            pieces = json.loads((model / "vocab.json").read_text())
            self.assertEqual(any("&apos;" in piece for piece in pieces), mixed, pieces)
            self.assertEqual(json.loads((model / "config.json").read_text())["activation_dropout"], 0.2)

    def test_each_side_may_have_a_vocabulary_of_its_own(self):
        model = self.folder / "separate"
        status, _, errors = self.train(model, "--separate-vocabs", "--after", "60u", "--valid-freq", "60u")
        self.assertEqual(status, 0, errors)
        sizes = [len(json.loads((model / name).read_text())) for name in ("vocab.json", "target_vocab.json")]
        config = json.loads((model / "config.json").read_text())
        self.assertEqual(sizes, [config["vocab_size"], config["decoder_vocab_size"]])
        self.assertIn(f"{sizes[0]} and {sizes[1]} subwords", errors)
        self.assertLess(max(sizes), 60)
        status, out, errors = run("translate", "-m", model, text="a cat sleeps\n")
        self.assertEqual((status, len(out.splitlines())), (0, 1), errors)
        # A run that goes on reads the vocabularies of its folder.
        status, _, errors = self.train(model, "--separate-vocabs", "--after", "70u", "--valid-freq", "70u")
        self.assertEqual(status, 0, errors)
        self.assertIn("resumed after update 60", errors)

    def test_the_output_layer_may_be_of_the_targets_subwords_alone(self):
        for kind in ("transformer", "recurrent"):
            model = self.folder / f"restricted-{kind}"
            flags = ["--restrict-vocab", "--model", kind, "--valid-freq", "60u"]
            status, _, errors = self.train(model, *flags, "--after", "60u")
            self.assertEqual(status, 0, errors)
            vocabulary = json.loads((model / "vocab.json").read_text())
            config = json.loads((model / "config.json").read_text())
            self.assertTrue(config["share_encoder_decoder_embeddings"])
            self.assertEqual(len(vocabulary), config["vocab_size"])
            words = re.search(r"(\d+) subwords, (\d+) of them in the target", errors)
            self.assertEqual(int(words[1]), len(vocabulary), errors)
            self.assertLess(int(words[2]), len(vocabulary))
            key = "attend_target_vocab_size" if kind == "transformer" else "decoder_vocab_size"
            self.assertEqual(config[key], int(words[2]))
            self.assertEqual(config["pad_token_id"], config["vocab_size"] - 1)
            self.assertEqual(config["decoder_start_token_id"], config["pad_token_id"])
            status, out, errors = run("translate", "-m", model, text="a cat sleeps\n")
            self.assertEqual((status, len(out.splitlines())), (0, 1), errors)
            status, _, errors = self.train(model, *flags, "--after", "70u")
            self.assertEqual(status, 0, errors)
            self.assertIn("resumed after update 60", errors)
        self.refused(self.train(model, "--restrict-vocab", "--separate-vocabs"), 2,
                     "--separate-vocabs excludes --restrict-vocab")

    @unittest.skipUnless(platform.machine() == "x86_64", "what other processors multiply is not known")
    def test_bfloat16_on_a_processor_without_fast_products_of_it_is_told_of(self):
        processor = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next(line for line in processor if line.startswith("flags")).split()
        is_intel = "vendor_id\t: GenuineIntel" in processor
        is_fast = "amx_bf16" in flags or ("avx512_bf16" in flags and not is_intel)
        for precision in ("fp32", "bf16"):
            model = self.folder / precision
            status, _, errors = self.train(model, "--precision", precision, "--after", "1u")
            self.assertEqual(status, 0, errors)
            self.assertEqual("fp32 is faster" in errors, precision == "bf16" and not is_fast, errors)

    def test_a_run_goes_on_with_the_optimizer_that_it_began_with(self):
        model = self.folder / "muon"
        muon = ["--optimizer", "muon", "--muon-scale", "0.3", "--muon-momentum", "0.9", "--muon-iterations", "4"]
        status, _, errors = self.train(model, *muon, "--after", "6u")
        self.assertEqual(status, 0, errors)
        self.refused(self.train(model, "--after", "9u"), 1, 'the same optimizer ("adam"), got "muon"')
        status, _, errors = self.train(model, *muon, "--after", "9u")
        self.assertEqual(status, 0, errors)
        self.assertIn("resumed after update 6", errors)
        self.refused(self.train(model, "--optimizer", "muon", "--muon-scale", "0"), 2,
                     "--muon-scale: expected a number in (0, 1000000000], got 0")
        self.refused(self.train(model, "--optimizer", "sgd"), 2, "sgd")

    def test_subwords_may_be_drawn_anew_in_each_epoch(self):
        model = self.folder / "bpe-dropout"
        dropout = ["--subword-model", "bpe", "--bpe-dropout", "0.2"]
        status, _, errors = self.train(model, *dropout, "--after", "6u")
        self.assertEqual(status, 0, errors)
        self.refused(self.train(model, "--subword-model", "bpe", "--after", "9u"), 1,
                     "the same bpe_dropout (0.0), got 0.2")
        status, _, errors = self.train(model, *dropout, "--after", "9u")
        self.assertEqual(status, 0, errors)
        self.assertIn("resumed after update 6", errors)
        new = self.folder / "bpe-dropout-refused"
        self.refused(self.train(new, "--bpe-dropout", "0.2"), 1,
                     "--bpe-dropout: expected --subword-model bpe, got unigram")
        self.assertFalse(new.exists())
        self.refused(self.train(new, "--subword-model", "bpe", "--bpe-dropout", "1"), 2,
                     "--bpe-dropout: expected a number in [0, 1), got 1")

    def from_bash(self, command, **options):
        """Runs a command in which $PROGRAM, $SMALL, $EN, $FR and $FOLDER stand for themselves."""
        names = {"PROGRAM": PROGRAM, "SMALL": " ".join(SMALL), "EN": self.english, "FR": self.french,
                 "FOLDER": self.folder}
        done = subprocess.run(["bash", "-c", command], env={**os.environ, **{k: str(v) for k, v in names.items()}},
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300,
                              check=False, **options)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def test_a_corpus_may_come_from_pipes(self):
        files, pipes = self.folder / "from-files", self.folder / "from-pipes"
        for after in ("6u", "9u"):
            status, _, errors = self.train(files, "--after", after)
            self.assertEqual(status, 0, errors)
            status, _, errors = self.from_bash(
                f"$PROGRAM train -m $FOLDER/from-pipes $SMALL --after {after} -t <(cat $EN) <(cat $FR) "
                "--valid-sets <(cat $EN) <(cat $FR)")
            self.assertEqual(status, 0, errors)
        self.assertIn("resumed after update 6", errors)
        for name in ("model.safetensors", "vocab.json"):
            self.assertEqual((pipes / name).read_bytes(), (files / name).read_bytes(), name)
        self.assertEqual([path.name for path in pipes.iterdir() if path.name.startswith(".attend")], [])

        # Standard input, and pipes that one process fills by turns.
        status, _, errors = self.from_bash(
            "cat $EN | $PROGRAM train -m $FOLDER/from-stdin $SMALL --after 1u -t /dev/stdin $FR")
        self.assertEqual(status, 0, errors)
        self.assertRegex(errors, r"/dev/stdin can be read only once: copying it to .*from-stdin/\.attend-text-1\.tmp")
        status, _, errors = self.from_bash(
            "mkfifo $FOLDER/a $FOLDER/b; paste $EN $FR | for i in $(seq 300); do cat; done >/dev/null;"
            "(for i in $(seq 2000); do cat $EN; done) | tee $FOLDER/a > $FOLDER/b & "
            "$PROGRAM train -m $FOLDER/from-fifos $SMALL --after 1u -t $FOLDER/a $FOLDER/b")
        self.assertEqual(status, 0, errors)
        self.assertIn("64000 training pairs", errors)

    def test_pipes_that_do_not_fit_leave_no_folder(self):
        self.refused(self.from_bash("$PROGRAM train -m $FOLDER/unfit $SMALL --after 1u -t <(cat $EN) <(head -n 5 $FR)"),
                     1, "expected 32 lines", "got 5")
        self.refused(self.from_bash("cat $EN | $PROGRAM train -m $FOLDER/unfit $SMALL -t /dev/stdin /dev/stdin"), 1,
                     "--train-sets: expected two texts, got one pipe for both: /dev/stdin and /dev/stdin")
        self.refused(self.from_bash("$PROGRAM train -m $FOLDER/unfit $SMALL -t <(true) <(true)"), 1,
                     "expected sentences with text")
        self.refused(self.from_bash("$PROGRAM train -m $FOLDER/unfit $SMALL -t $FOLDER/nothing $FR"), 1,
                     "nothing: cannot read")
        self.refused(self.from_bash("$PROGRAM train -m $FOLDER/unfit $SMALL -t $FOLDER $FR"), 1,
                     "expected a file, got a folder")
        self.assertFalse((self.folder / "unfit").exists())

    def test_other_commands_read_pipes_too(self):
        expected = run("evaluate", "-m", self.model, "-t", self.english, self.french)
        self.assertEqual(self.from_bash("$PROGRAM evaluate -m $FOLDER/model -t <(cat $EN) <(cat $FR)"), expected)
        expected = run("translate", "-q", "-m", self.model, "-i", self.english)
        self.assertEqual(self.from_bash("$PROGRAM translate -q -m $FOLDER/model -i <(cat $EN)"), expected)
        self.assertEqual(self.from_bash("cat $EN | $PROGRAM translate -q -m $FOLDER/model -i /dev/stdin"), expected)

    # What becomes of each flag of `train` in a run that goes on: refused with another value since the folder fixes it,
    # refused by the snapshot, or in force from then on.
    LASTING = {"--vocab-size": "50", "--subword-model": "bpe", "--subword-mix-scripts": None, "--separate-vocabs": None,
               "--restrict-vocab": None, "--subword-pairs": "7", "--model": "recurrent", "--embed-dim": "32",
               "--heads": "4", "--encoder-layers": "2", "--decoder-layers": "2", "--ffn-dim": "64",
               "--activation": "gelu", "--pre-norm": None}
    OF_SNAPSHOT = {"--batch-tokens": "128", "--exponential-smoothing": "0.1", "--optimizer": "muon", "--seed": "7",
                   "--max-length": "12", "--max-length-ratio": "1.2", "--bpe-dropout": "0.1"}
    FREE = {"--after": "7u", "--valid-freq": "2u", "--disp-freq": "2u", "--dropout": "0.2",
            "--attention-dropout": "0.1", "--activation-dropout": "0.1", "--max-positions": "80",
            "--shuffle-pairs": "5000", "--label-smoothing": "0.2", "--clip-norm": "2", "--average-checkpoints": "2",
            "--max-bad-updates": "5", "--precision": "bf16", "--learn-rate": "0.001", "--lr-warmup": "3",
            "--lr-decay": "linear", "--cooldown": "0.1", "--cooldown-floor": "0.5", "--muon-momentum": "0.9",
            "--muon-scale": "0.1", "--muon-iterations": "4", "--adam-beta1": "0.8", "--adam-beta2": "0.9",
            "--adam-eps": "1e-8", "--weight-decay": "0.1", "--early-stopping": "9", "--valid-metrics": "chrf",
            "--valid-beam-size": "2", "--valid-tokenize": "char", "--worker-timeout": "60", "--device": "cpu",
            "--threads": "2", "--quiet": None, "--shortlist": None}
    OTHERS = {"--help", "--model-dir", "--train-sets", "--valid-sets", "--no-reload", "--config", "--dump-config",
              "--log"}

    def go_on(self, model, changes):
        """The command that `model` was trained by, longer and with some flags changed."""
        flags = dict(zip(SMALL[::2], SMALL[1::2])) | {"--after": "6u"} | changes
        words = [word for flag, value in flags.items() for word in (flag, value) if word is not None]
        return run("train", "-m", model, "-t", self.english, self.french, "--valid-sets", self.english, self.french,
                   *words)

    def test_every_flag_of_a_run_that_goes_on_is_refused_or_in_force(self):
        known = set(self.LASTING) | set(self.OF_SNAPSHOT) | set(self.FREE) | self.OTHERS
        told = set(re.findall(r"^ +(?:-\w, *)?(--[a-z0-9-]+)", run("train", "--help")[1], re.MULTILINE))
        self.assertEqual(told, known)

        model = self.folder / "begun"
        status, _, errors = self.train(model, "--after", "3u")
        self.assertEqual(status, 0, errors)
        before = {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()}
        begun = json.loads((model / "training-flags.json").read_text())
        self.assertEqual(set(begun), set(self.LASTING))
        for flag, value in self.LASTING.items():
            told = "true" if value is None else value if value.isdigit() else f'"{value}"'
            self.refused(self.go_on(model, {flag: value}), 1, "training-flags.json: expected a run with the same ",
                         f"{flag} ({told})", json.dumps(begun[flag]), "start again with --no-reload")
        self.refused(self.go_on(model, {"--vocab-size": "50", "--heads": "4"}), 1,
                     "the same --vocab-size (50), --heads (4), got 60, 2;")
        for flag, value in self.OF_SNAPSHOT.items():
            if flag != "--bpe-dropout":  # which goes with bpe: test_subwords_may_be_drawn_anew_in_each_epoch
                self.refused(self.go_on(model, {flag: value}), 1, "training.safetensors: expected a run with the same ")
        for name, content in before.items():
            if name != "training-tokens.bin":
                self.assertEqual((model / name).read_bytes(), content, name)
        status, _, errors = self.go_on(model, self.FREE)
        self.assertEqual(status, 0, errors)
        self.assertEqual(json.loads((model / "config.json").read_text())["max_position_embeddings"], 80)

    def test_processes_of_one_group_train_into_one_folder(self):
        model = self.folder / "group"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [PROGRAM, "train", "-m", model, "-t", self.english, self.french, "--valid-sets", self.english,
                   self.french, *SMALL, "--after", "3u", "--worker-timeout", "60"]
        group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        processes = [subprocess.Popen(list(map(str, command)), env={**os.environ, **group, "RANK": str(rank)},
                                      stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for rank in range(2)]
        errors = [process.communicate(timeout=300)[1].decode() for process in processes]
        if "built without" in errors[0]:
            self.skipTest("one process only")
        self.assertEqual([process.returncode for process in processes], [0, 0], errors)
        self.assertIn("finished after 3 updates", errors[0])
        self.assertFalse((model / ".attend-lock").exists())

    def test_flags_are_compared_with_the_configuration_of_an_older_folder(self):
        for flags in ([], ["--restrict-vocab"], ["--model", "recurrent"]):
            model = self.folder / "-".join(["older", *flags])
            status, _, errors = self.train(model, *flags, "--after", "3u")
            self.assertEqual(status, 0, errors)
            (model / "training-flags.json").unlink()
            config = json.loads((model / "config.json").read_text())
            if "--restrict-vocab" in flags:  # attend 0.1 had the padding elsewhere
                (model / "config.json").write_text(json.dumps(config | {"pad_token_id": 2}))
            own = dict(zip(flags[::2], flags[1::2])) if len(flags) == 2 else dict.fromkeys(flags)
            self.refused(self.go_on(model, own | {"--embed-dim": "32", "--separate-vocabs": None}
                                    if not flags else own | {"--embed-dim": "32"}), 1,
                         "config.json: expected a run with the same ", "--embed-dim (32)", "16")
            if "--model" not in flags:
                self.refused(self.go_on(model, own | {"--heads": "4", "--activation": "gelu"}), 1,
                             '--heads (4), --activation ("gelu"), got 2, "relu"')
            (model / "config.json").write_text(json.dumps(config))
            if "--restrict-vocab" not in flags:
                status, _, errors = self.go_on(model, own)
                self.assertEqual(status, 0, errors)

    def test_reading_does_not_flush_what_is_being_written(self):
        # Many at once, so that the reading thread of each may wake at any time.
        running = [subprocess.Popen(["sh", "-c", 'echo a b | "$0" "$@"', PROGRAM, "translate", "-q", "-m", self.model, "-b",
                                     "1"], stdout=subprocess.PIPE) for _ in range(12)]
        self.assertEqual([len(one.communicate()[0].splitlines()) for one in running], [1] * 12)

    def test_weights_may_be_rounded(self):
        flags = ["translate", "-q", "-m", self.model, "--score"]
        exact = run(*flags, text="a b\n")
        self.assertEqual(run(*flags, "--precision", "fp32", text="a b\n"), exact)
        for precision in ("bf16", "int8"):
            status, out, errors = run(*flags, "--precision", precision, text="a b\n")
            self.assertEqual((status, errors), (0, ""))
            self.assertNotEqual(out, exact[1])
            self.assertEqual(out.count(" ||| "), 2)
        self.refused(run("translate", "-m", self.model, "--precision", "fp16", text="a\n"), 2, "--precision", "fp16")

    def test_steps_may_be_captured(self):
        # On the CPU the same steps without graphs, which compute what prepared ones do.
        flags = ["translate", "-q", "-m", self.model]
        lines = "a b\nb\na a b\nb b b a\n" * 5
        self.assertEqual(run(*flags, "--graphed", text=lines), run(*flags, text=lines))
        self.refused(run(*flags, "--graphed", "--precision", "int8", text="a\n"), 2, "--graphed excludes --precision")
        self.refused(run(*flags, "--graphed", "--shortlist", __file__, text="a\n"), 1,
                     "expected a precision with a shortlist, got none")

    def test_a_finished_run_makes_a_shortlist(self):
        model = self.folder / "shortlist"
        status, _, errors = self.train(model, "--after", "6u")
        self.assertEqual(status, 0, errors)
        lexicon = model / "lex.s2t"
        self.refused(run("translate", "-m", model, "--shortlist", text="a b\n"), 1, "lex.s2t", "train --shortlist")
        status, _, errors = self.train(model, "--after", "6u", "--shortlist")
        self.assertEqual(status, 0, errors)
        self.assertIn("resumed after update 6", errors)
        lines = [line.split(" ") for line in lexicon.read_text().splitlines()]
        self.assertTrue(all(len(line) == 3 and 0 <= float(line[2]) <= 1 for line in lines))
        self.assertIn("NULL", {line[1] for line in lines})
        for best in model.glob("best-*"):
            self.assertEqual((best / "lex.s2t").read_bytes(), lexicon.read_bytes())
        text = "the cat sees the dog\n\na dog\n"
        own = run("translate", "-q", "-m", model, "--score", "--shortlist", text=text)
        self.assertEqual((own[0], len(own[1].splitlines()), own[2]), (0, 3, ""))
        self.assertEqual(run("translate", "-q", "-m", model, "--score", "--shortlist", lexicon, 100, 100, text=text), own)
        few = run("translate", "-q", "-m", model, "--score", "--shortlist", lexicon, 0, 0, text=text)
        self.assertNotEqual(few[1], own[1])
        self.assertEqual(run("evaluate", "-m", model, "--shortlist", "-t", self.english, self.french)[0], 0)
        self.refused(run("translate", "-m", model, "--shortlist", lexicon, "many", text=text), 2,
                     "--shortlist: expected a whole number in [0, 10000000], got many")
        broken = self.folder / "broken.s2t"
        broken.write_text(lexicon.read_text() + "a b\n")
        self.refused(run("translate", "-m", model, "--shortlist", broken, text=text), 1,
                     f"broken.s2t: line {len(lines) + 1}: expected target token, source token and probability")
        # A new run has other subwords.
        status, _, errors = self.train(model, "--after", "3u", "--no-reload")
        self.assertEqual(status, 0, errors)
        self.assertFalse(lexicon.exists())

    def test_usage_errors_exit_with_2(self):
        self.refused(run(), 2)
        self.refused(run("nonsense", "-m", "x"), 2, "expected demo, train, translate, evaluate or serve, got nonsense")
        self.refused(run("translate", "-m", self.model, "--no-such-flag"), 2, "--no-such-flag")
        self.refused(run("translate", "-m", self.model, "-b", "many"), 2, "many")
        self.refused(run("train", "-m", self.model, "-t", "a", "b", "--after", "5x"), 2, "5x")

    def test_help_is_no_error(self):
        for command in ([], ["train"], ["translate"], ["evaluate"], ["demo"]):
            status, out, errors = run(*command, "--help")
            self.assertEqual((status, errors), (0, ""), command)
            self.assertIn("--help", out)

    def test_a_full_device_is_an_error(self):
        self.refused(run("translate", "-m", self.model, "-o", "/dev/full", text="a\n"), 1, "/dev/full")


if __name__ == "__main__":
    unittest.main()
