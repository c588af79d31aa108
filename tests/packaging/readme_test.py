"""The README's example is the program that the consumer tests compile and run."""

import unittest

from support import SOURCE


class Readme(unittest.TestCase):
    def test_the_example_is_the_consumer(self):
        example = (SOURCE / "tests/consumer/main.cpp").read_text()
        self.assertIn(f"```cpp\n{example}```\n", (SOURCE / "README.md").read_text())


if __name__ == "__main__":
    unittest.main()
