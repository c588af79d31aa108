"""What the tests of the programs share: a small corpus, a small model, and how to run."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

PROGRAM = os.environ.get("ATTEND_SEQ2SEQ", "attend-seq2seq")

ENGLISH = ["the cat sees the dog", "the dog sees the cat", "a cat sleeps", "a dog sleeps", "the old cat runs",
           "the old dog runs", "a small cat sees a big dog", "a big dog sees a small cat"]
FRENCH = ["le chat voit le chien", "le chien voit le chat", "un chat dort", "un chien dort",
          "le vieux chat court", "le vieux chien court", "un petit chat voit un grand chien",
          "un grand chien voit un petit chat"]

# The smallest model that still has every part, with dropout, so that random states matter.
SMALL = ["--vocab-size", "60", "--embed-dim", "16", "--heads", "2", "--encoder-layers", "1", "--decoder-layers",
         "1", "--ffn-dim", "32", "--max-positions", "64", "--dropout", "0.1", "--batch-tokens", "64",
         "--lr-warmup", "20", "--threads", "1"]


def run(*arguments, text="", **options):
    """Runs the program to its end: exit status, standard output, standard error."""
    done = subprocess.run([PROGRAM, *map(str, arguments)], input=text.encode(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300, check=False, **options)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


class ProgramTest(unittest.TestCase):
    """A test with a folder of its own, in which the corpus lies."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="attend-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.english, cls.french = cls.folder / "text.en", cls.folder / "text.fr"
        cls.english.write_text("".join(f"{line}\n" for line in ENGLISH * 4))
        cls.french.write_text("".join(f"{line}\n" for line in FRENCH * 4))

    @classmethod
    def train(cls, model, *arguments, **options):
        return run("train", "-m", model, "-t", cls.english, cls.french, "--valid-sets", cls.english, cls.french,
                   *SMALL, *arguments, **options)
