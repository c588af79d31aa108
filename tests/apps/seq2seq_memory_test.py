"""Training and translating where memory runs out: one line that says so, and exit 1."""

import json
import os
import resource
import subprocess
import unittest

from support import PROGRAM, SMALL, ProgramTest, run

# More than the libraries map. None of it is ever used, so that it needs no such machine.
LIMIT = 6 << 30


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))


class Memory(ProgramTest):
    def assert_refused(self, result):
        status, _, errors = result
        self.assertEqual(status, 1, errors)
        self.assertRegex(errors.splitlines()[-1], r"^attend-seq2seq: .*can't allocate memory")

    def test_train(self):
        large = dict(zip(SMALL[::2], SMALL[1::2]), **{"--embed-dim": "16384", "--ffn-dim": "262144"})
        arguments = [part for flag in large.items() for part in flag]
        self.assert_refused(run(
            "train", "-m", self.folder / "large", "-t", self.english, self.french, *arguments,
            preexec_fn=limit_memory))

    def test_translating_takes_no_more_memory_for_a_longer_text(self):
        model = self.folder / "flat"
        status, _, errors = self.train(model, "--after", "2u")
        self.assertEqual(status, 0, errors)
        # Lines of all lengths, and then lines of blanks, which are long but quickly translated: a program that
        # read all of them while it translates the others would hold 60 MB.
        words = "the cat sees a dog and the old dog runs to a small cat".split()
        lines = [" ".join(words[: 1 + i * 7 % len(words)]) for i in range(len(words))]
        peaks = []
        for times in (1, 10):
            text, output = self.folder / "long.en", self.folder / "long.fr"
            text.write_text("".join(f"{line}\n" for line in lines) * (100 * times) + f"{' ' * 1000}\n" * (6000 * times))
            process = subprocess.Popen([PROGRAM, "translate", "-m", model, "-i", text, "-o", output, "-b", "1",
                                        "--max-length-factor", "1", "--threads", "1"], stderr=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.assertEqual(process.returncode, 0)
            self.assertEqual(output.read_bytes().count(b"\n"), (100 * len(lines) + 6000) * times)
            peaks.append(used.ru_maxrss)  # in kilobytes
        self.assertLess(peaks[1] - peaks[0], 10_000, peaks)

    def test_translate(self):
        model = self.folder / "small"
        status, _, errors = self.train(model, "--after", "2u")
        self.assertEqual(status, 0, errors)
        path = model / "generation_config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps({**config, "num_beams": 10_000_000}))
        self.assert_refused(run("translate", "-m", model, text="a cat sleeps\n", preexec_fn=limit_memory))


if __name__ == "__main__":
    unittest.main()
