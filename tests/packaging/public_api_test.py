"""The public API is what tests/packaging/public_api.txt says, so that a change of it is seen in review."""

import difflib
import subprocess
import unittest

from support import BUILD, SOURCE

LIST = SOURCE / "tests/packaging/public_api.txt"


class PublicApi(unittest.TestCase):

    def test_the_list_is_that_of_the_libraries(self):
        if not (BUILD / "src/libattend_toolkit.so").exists():
            self.skipTest("the toolkit was not built")
        now = subprocess.run([SOURCE / "scripts/public_api", BUILD], check=True, stdout=subprocess.PIPE, text=True).stdout
        changes = list(difflib.unified_diff(LIST.read_text().splitlines(), now.splitlines(), "committed", "built",
                                            lineterm="", n=0))
        self.assertFalse(changes, "the public API has changed: run scripts/public_api build/release > "
                         "tests/packaging/public_api.txt and review the difference\n" + "\n".join(changes))


if __name__ == "__main__":
    unittest.main()
