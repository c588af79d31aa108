"""Training and translating where memory runs out: one line that says so, and exit 1."""

import json
import resource
import unittest

from support import SMALL, ProgramTest, run

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
