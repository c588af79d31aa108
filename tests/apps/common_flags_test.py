"""What all programs and commands share: configuration files, the log, quiet, the version and wrong flags."""

import os
import re
import subprocess
import unittest

from support import PROGRAM, SMALL, ProgramTest, run

PROGRAMS = {
    "attend-seq2seq": PROGRAM,
    "attend-tour": os.environ.get("ATTEND_TOUR", "attend-tour"),
    "attend-visualize": os.environ.get("ATTEND_VISUALIZE", "attend-visualize"),
}
TIME = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] "


def run_program(name, *arguments, **options):
    done = subprocess.run([PROGRAMS[name], *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300, check=False, **options)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def commands():
    """Every program and subcommand, as a program's name and the arguments that choose the command."""
    listed = run_program("attend-seq2seq", "--help")[1].partition("\nSubcommands:\n")[2]
    return [("attend-seq2seq", name) for name in re.findall(r"^  ([\w-]+) ", listed, re.MULTILINE)] + \
        [("attend-tour",), ("attend-visualize",)]


def settings(text):
    """The keys of a configuration with their values as they are written; None for one without a value."""
    return {key: None if mark else value
            for mark, key, value in re.findall(r"^(# )?([a-z0-9-]+) = ?(.*)$", text, re.MULTILINE)}


class Configuration(ProgramTest):
    def setUp(self):
        self.config = self.folder / "flags.toml"

    def dump(self, command, *arguments):
        status, out, errors = run_program(*command, *arguments, "--dump-config")
        self.assertEqual((status, errors), (0, ""), command)
        return out

    def refused(self, result, status, *phrases):
        self.assertEqual(result[0], status, result)
        self.assertEqual(result[1], "")
        for phrase in phrases:
            self.assertIn(phrase, result[2])

    def test_every_flag_of_every_command_is_dumped_with_its_default(self):
        for command in commands():
            with self.subTest(command=command):
                help_page = run_program(*command, "--help")[1]
                flags = {flag: (kind, default) for flag, kind, default in re.findall(
                    r"^  (?:-\w, ?)?--([a-z0-9-]+)(?: \[?([A-Z]+(?:\|mean)?))?[^\s=]*(?:=(\S+))?", help_page,
                    re.MULTILINE)}
                for own in ("help", "version", "config", "dump-config"):
                    flags.pop(own, None)
                found = settings(self.dump(command))
                for positional in ("text", "chapters"):
                    found.pop(positional, None)
                self.assertEqual(set(found), set(flags))
                for flag, (kind, default) in flags.items():
                    if not kind or kind == "E":  # a switch, or one that excludes another
                        self.assertEqual(found[flag], "false")
                    elif not default:
                        self.assertIsNone(found[flag], flag)
                    elif kind in ("INT", "NUMBER") and float(default) < 2**63:
                        self.assertEqual(float(found[flag]), float(default), flag)
                    elif found[flag].startswith("["):
                        self.assertTrue(found[flag].startswith(f"['{default}', "), flag)
                    else:
                        self.assertEqual(found[flag].strip("'\""), default, flag)

    def test_what_was_dumped_is_read_back(self):
        # Texts with what TOML and shells take for syntax; a seed that no number of TOML holds.
        odd = "a # b, [c] = 'd' \"e\" \\ é\n x"
        given = {
            "train": ["-m", odd, "-t", odd, "  ", "--valid-metrics", "bleu", "chrf", "--after", "7u", "--seed",
                      "18446744073709551615", "--dropout", "1e-3", "--pre-norm", "--no-reload", "--restrict-vocab",
                      "--adam-eps", ".5", "--log", "a.log", "--lr-decay", "linear"],
            "translate": ["-m", odd, "-b", "3", "-n", "-0.5", "--n-best", "2", "--early-stopping", "true", "--json",
                          "--subword-mix-scripts", "--quiet"],
            "evaluate": ["--hypotheses", odd, "--references", "r", "--tokenize", "none"],
            "demo": ["--short", "--updates", "5"],
        }
        given["translate"].remove("--subword-mix-scripts")
        cases = [(("attend-seq2seq", name), arguments) for name, arguments in given.items()]
        cases += [(("attend-visualize",), ["-m", odd, "--head", "mean", "--layer", "-2", "one", "two"]),
                  (("attend-tour",), ["self-attention", "causal", "--threads", "1"])]
        for command, arguments in cases:
            with self.subTest(command=command):
                first = self.dump(command, *arguments)
                self.config.write_text(first)
                again = self.dump(command, "-c", self.config)
                self.assertEqual(again, first)
                self.assertNotEqual(first, self.dump(command))
                self.assertEqual(self.dump(command, *arguments, "-c", self.config), first)

    def test_a_run_from_a_file_is_the_run_that_was_dumped(self):
        arguments = ["-m", self.folder / "by-flags", "-t", self.english, self.french, "--valid-sets", self.english,
                     self.french, *SMALL, "--after", "9u", "--seed", "3"]
        status, _, errors = run("train", *arguments)
        self.assertEqual(status, 0, errors)
        self.config.write_text(self.dump(("attend-seq2seq", "train"), *arguments))
        status, _, errors = run("train", "--config", self.config, "-m", self.folder / "by-file")
        self.assertEqual(status, 0, errors)
        models = [(self.folder / name / "model.safetensors").read_bytes() for name in ("by-flags", "by-file")]
        self.assertEqual(*models)
        translate = ("attend-seq2seq", "translate")
        for flags in ([], ["--n-best", "1"]):
            self.config.write_text(self.dump(translate, "-m", self.folder / "by-file", "-i", self.english, *flags))
            status, out, _ = run("translate", "-c", self.config)
            self.assertEqual((status, out.count(" ||| ") > 0), (0, bool(flags)))
            self.assertEqual(out, run("translate", "-m", self.folder / "by-file", "-i", self.english, *flags)[1])

    def test_the_command_line_wins(self):
        self.config.write_text('beam-size = 7\nn-best = 3\nmodel-dir = "of the file"\nscore = true\n')
        found = settings(self.dump(("attend-seq2seq", "translate"), "-b", 2, "-c", self.config, "-m", "given",
                                   "--score=false"))
        self.assertEqual((found["beam-size"], found["n-best"], found["score"]), ("2", "3", "false"))
        self.assertEqual(found["model-dir"].strip("'\""), "given")

    def test_what_is_wrong_is_named_by_file_and_line(self):
        command = ("attend-seq2seq", "translate")
        for text, phrases in (
                ("beam-size = 2\nbeem-size = 2\n", ("line 2: expected a flag of translate, got the key beem-size",)),
                ("b = 2\n", ("line 1: ", "got the key b")),
                ('config = "x"\n', ("line 1: ", "got the key config")),
                ("\n[train]\nbeam-size = 2\n", ("line 2: ", "got the key train")),
                ("beam-size = 0\n", ("line 1: --beam-size: expected a whole number in [1, 1000], got 0",)),
                ('beam-size = "two"\n', ("line 1: --beam-size: expected a whole number", "got two")),
                ("beam-size = [2, 3]\n", ("line 1: --beam-size",)),
                ("beam-size = 2024-01-01\n", ("line 1: --beam-size: expected a text, a number or a list",)),
                ('alignment = "loose"\n', ("line 1: --alignment: expected one of hard, soft, got loose",)),
                ("score = 1\n", ("line 1: --score: expected true or false",)),
                ("json = \n", ("line 1: ",)),
                ("beam-size = 2\nbeam-size = 3\n", ("line 2: ",)),
                ("\udcff = 1\n", ("line 1: ",))):
            with self.subTest(text=text):
                self.config.write_bytes(text.encode(errors="surrogateescape"))
                self.refused(run_program(*command, "-m", "model", "-c", self.config), 2,
                             f"attend-seq2seq: {self.config}: ", *phrases)
        self.refused(run_program(*command, "-m", "model", "-c", self.folder / "none"), 1, "none: cannot")
        self.refused(run_program(*command, "-m", "model", "-c", self.folder), 1, "folder")
        # A flag that excludes another does so from a file too; false leaves it off.
        self.config.write_text("separate-vocabs = true\nrestrict-vocab = true\n")
        train = ["train", "-m", "model", "-t", "a", "b", "-c", self.config]
        self.refused(run_program("attend-seq2seq", *train), 2, "excludes")
        self.config.write_text("separate-vocabs = false\nrestrict-vocab = true\n")
        self.refused(run_program("attend-seq2seq", *train), 1, "a: cannot read")

    def test_what_is_not_utf8_is_not_dumped(self):
        self.refused(run_program("attend-seq2seq", "translate", "-m", b"\xff".decode(errors="surrogateescape"),
                                 "--dump-config"), 1, "--dump-config: expected UTF-8 for model-dir")

    def test_a_full_device_is_an_error(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "train", "--dump-config"], stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"standard output: cannot write", done.stderr)


class Messages(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = cls.folder / "model"
        cls.log = cls.folder / "training.log"
        cls.trained = cls.train(cls.model, "--after", "20u", "--valid-freq", "20u", "--log", cls.log)
        assert cls.trained[0] == 0, cls.trained

    def test_the_log_has_what_standard_error_has(self):
        lines = self.log.read_text().splitlines()
        for line in lines:
            self.assertRegex(line, f"^{TIME}")
        self.assertEqual([re.sub(f"^{TIME}", "", line) for line in lines], self.trained[2].splitlines())
        self.assertIn("finished after 20 updates", lines[-1])

    def test_quiet_leaves_errors_and_the_log(self):
        log = self.folder / "quiet.log"
        model = self.folder / "quiet"
        self.assertEqual(self.train(model, "--after", "2u", "-q", "--log", log), (0, "", ""))
        self.assertIn("finished after 2 updates", log.read_text())
        # Appended: also an error, which the screen shows too.
        status, out, errors = run("translate", "-q", "-m", self.folder / "none", "--log", log)
        self.assertEqual((status, out), (1, ""))
        self.assertRegex(errors, r"^attend-seq2seq: .*none/config\.json.*\n$")
        self.assertEqual(re.sub(f"^{TIME}", "", log.read_text().splitlines()[-1]), errors[:-1])
        self.assertIn("finished after 2 updates", log.read_text())
        self.assertEqual(run("translate", "-m", self.model, "-q", text="a cat\n")[2], "")
        status, _, errors = run_program("attend-visualize", "-q", "-m", self.model, "a cat", cwd=self.folder)
        self.assertEqual((status, errors), (0, ""))
        # Wrong usage is an error.
        self.assertIn("--beam-size", run("translate", "-q", "-m", self.model, "-b", "0")[2])

    def test_a_log_that_cannot_be_written_is_refused(self):
        status, out, errors = run("translate", "-m", self.model, "--log", self.folder / "no" / "log", text="a\n")
        self.assertEqual((status, out), (1, ""))
        self.assertIn("no/log: cannot open for writing", errors)


class Usage(unittest.TestCase):
    def test_versions_name_libtorch_and_the_instruction_sets(self):
        for name in PROGRAMS:
            status, out, errors = run_program(name, "--version")
            self.assertEqual((status, errors), (0, ""))
            self.assertRegex(out, rf"^{name} \d+\.\d+\.\d+, with LibTorch \d+\.\d+\.\d+\S*\n"
                                  r"CPU: [A-Z0-9_]+ in attend's kernels, [A-Z0-9_ ]+ in LibTorch's, \d+ threads\n$")

    def test_wrong_flags_name_what_was_expected(self):
        for command in commands():
            status, out, errors = run_program(*command, "--no-such-flag")
            self.assertEqual((status, out), (2, ""))
            self.assertRegex(errors, rf"^{command[0]}: .*\nRun with --help for the flags of {command[-1]}\.\n$")
        errors = run_program("attend-seq2seq", "translate", "-m", "x", "--no-such-flag", "more")[2]
        self.assertIn("expected flags of translate, got --no-such-flag more\n", errors)
        errors = run_program("attend-seq2seq", "translate", "-m", "x", "--alignment", "loose")[2]
        self.assertIn("--alignment: expected one of hard, soft, got loose\n", errors)


if __name__ == "__main__":
    unittest.main()
