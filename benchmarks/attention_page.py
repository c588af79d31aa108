"""How fluent the attention page is: 200 + 200 tokens, 3 views of 6 layers x 8 heads, in headless Chromium.

usage: attention_page.py [repetitions, default 5]

Prints milliseconds, median and slowest: from a key to the second frame after it, by tab, when all that is in sight has
been drawn; between two frames while the pointer moves over tokens and while the page scrolls. Needs what
tests/viz/page/attention_page_test.py needs; headless Chromium draws without a GPU.
"""

import collections
import pathlib
import statistics
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/viz/page"))

from attention_page_test import LargeTest  # noqa: E402

SWITCH = """async ([key, ready]) => {
  const frame = () => new Promise(requestAnimationFrame);
  const begin = performance.now();
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  await frame();
  while (!document.querySelector(ready)) await frame();
  await frame();
  return performance.now() - begin;
}"""

WATCH_FRAMES = """() => {
  window.gaps = [];
  let last = performance.now();
  const tick = (now) => { gaps.push(now - last); last = now; window.ticking = requestAnimationFrame(tick); };
  requestAnimationFrame(tick);
}"""


class Measurement(LargeTest):
    def runTest(self):
        self.times = collections.defaultdict(list)
        page = self.open(self.data, hash="#view=encoder")
        page.wait_for_selector(self.READY["1"], state="attached")
        for _ in range(REPETITIONS):
            for tab in "123456":
                self.times[f"switch to tab {tab}"].append(page.evaluate(SWITCH, [tab, self.READY[tab]]))
            page.keyboard.press("1")
            page.evaluate("scrollTo(0, 0)")
            box = page.locator(".token-list.queries").bounding_box()
            self.frames("hover over tokens", page,
                        lambda i: page.mouse.move(box["x"] + 20, box["y"] + 12 + 24 * (i % 20)))
            page.mouse.move(640, 500)
            self.frames("scroll the heads", page, lambda i: page.mouse.wheel(0, 120))
        print(f"\n{'':20}{'median':>9}{'slowest':>9}   ms")
        for what, times in self.times.items():
            print(f"{what:20}{statistics.median(times):9.0f}{max(times):9.0f}")

    def frames(self, what, page, act):
        page.evaluate(WATCH_FRAMES)
        for i in range(25):
            act(i)
            page.wait_for_timeout(16)
        self.times[what] += page.evaluate("() => { cancelAnimationFrame(ticking); return gaps; }")


if __name__ == "__main__":
    REPETITIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    result = unittest.TextTestRunner(verbosity=0).run(unittest.TestSuite([Measurement()]))
    sys.exit(not result.wasSuccessful())
