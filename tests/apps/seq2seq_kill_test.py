"""Training that is killed, stopped, or runs out of room, and then goes on."""

import os
import random
import resource
import signal
import subprocess
import time
import unittest

from support import PROGRAM, SMALL, ProgramTest

KILLS = int(os.environ.get("ATTEND_KILLS", "6"))  # the long form: 20
UPDATES = 40 * KILLS
ARGUMENTS = ["--after", f"{UPDATES}u", "--valid-freq", "8u", "--valid-metrics", "cross-entropy", "--seed", "5"]


class Kill(ProgramTest):
    def start(self, model, **options):
        command = [PROGRAM, "train", "-m", model, "-t", self.english, self.french, "--valid-sets", self.english,
                   self.french, *SMALL, *ARGUMENTS]
        return subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)

    def finished(self, model):
        process = self.start(model)
        errors = process.communicate(timeout=300)[1].decode()
        self.assertEqual(process.returncode, 0, errors)
        return (model / "model.safetensors").read_bytes(), errors

    def wait_for_snapshot(self, process, model):
        self.assertTrue(process.stderr.readline(), "ended without a word")  # it listens to signals by now
        deadline = time.time() + 120
        while not (model / "training.safetensors").exists():
            self.assertIsNone(process.poll(), "ended before its first snapshot")
            self.assertLess(time.time(), deadline)
            time.sleep(0.01)

    def test_killed_at_random_moments_it_ends_with_the_same_bits(self):
        expected, errors = self.finished(self.folder / "whole")
        self.assertIn(f"finished after {UPDATES} updates", errors)
        model = self.folder / "killed"
        chance = random.Random(1)
        kills = 0
        for _ in range(KILLS):
            process = self.start(model)
            self.wait_for_snapshot(process, model)
            time.sleep(chance.uniform(0.0, 0.4))
            kills += process.poll() is None
            process.kill()
            process.communicate()
        self.assertGreater(kills, KILLS // 3, "the runs ended before they could be killed")
        actual, errors = self.finished(model)
        self.assertTrue(actual == expected, "the weights differ from those of the uninterrupted run")
        # No half-written file is left either.
        self.assertEqual([path.name for path in model.iterdir() if ".tmp" in path.name], [])

    def test_a_signal_saves_and_ends_well(self):
        expected, _ = self.finished(self.folder / "unsignalled")
        model = self.folder / "signalled"
        for kind in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            process = self.start(model)
            self.wait_for_snapshot(process, model)
            process.send_signal(kind)
            errors = process.communicate(timeout=120)[1].decode()
            self.assertEqual(process.returncode, 0, errors)
        actual, _ = self.finished(model)
        self.assertTrue(actual == expected, "the weights differ from those of the uninterrupted run")

    def test_a_closed_terminal_whose_log_has_no_reader_saves_too(self):
        model = self.folder / "unread"
        process = self.start(model)
        self.wait_for_snapshot(process, model)
        process.stderr.close()
        process.send_signal(signal.SIGHUP)
        self.assertEqual(process.wait(timeout=120), 0)
        self.assertIn("resumed after update", self.finished(model)[1])

    def test_under_nohup_a_closed_terminal_ends_nothing(self):
        model = self.folder / "nohup"
        process = self.start(model, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        self.wait_for_snapshot(process, model)
        process.send_signal(signal.SIGHUP)
        errors = process.communicate(timeout=300)[1].decode()
        self.assertEqual(process.returncode, 0, errors)
        self.assertIn(f"finished after {UPDATES} updates", errors)

    def test_a_second_run_in_the_folder_is_refused(self):
        model = self.folder / "shared"
        first = self.start(model)
        self.wait_for_snapshot(first, model)
        second = self.start(model)
        errors = second.communicate(timeout=120)[1].decode()
        self.assertEqual(second.returncode, 1, errors)
        self.assertIn(f"shared: expected a folder that no other run trains into, got one that process {first.pid} on ",
                      errors)
        demo = subprocess.run([PROGRAM, "demo", "--short", "-m", model], stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, timeout=120, check=False)
        self.assertEqual(demo.returncode, 1)
        self.assertIn(f"that process {first.pid} on ".encode(), demo.stderr)
        errors = first.communicate(timeout=300)[1].decode()
        self.assertEqual(first.returncode, 0, errors)
        # After its end, or a kill, the folder is free.
        self.assertIn("resumed after update", self.finished(model)[1])
        self.assertFalse((model / ".attend-lock").exists())

    def test_without_room_for_a_file_the_previous_state_stays(self):
        model = self.folder / "full"
        first = self.start(model)
        self.wait_for_snapshot(first, model)
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=120)
        before = {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()}

        # No file may grow beyond 4 kB, as on a full disk: the write fails, no signal comes.
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

        done = subprocess.run(
            list(map(str, [PROGRAM, "train", "-m", model, "-t", self.english, self.french, "--valid-sets",
                           self.english, self.french, *SMALL, *ARGUMENTS])),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=limit, restore_signals=False,
            timeout=120, check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr.decode(), r"full/.*safetensors: ")
        for name in ("model.safetensors", "training.safetensors", "config.json"):
            self.assertEqual((model / name).read_bytes(), before[name], name)
        # With room again, it goes on.
        self.finished(model)


if __name__ == "__main__":
    unittest.main()
