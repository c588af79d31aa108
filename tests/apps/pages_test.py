"""What is made of the programs' flags beside the help: the manual, and completion in real shells."""

import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import tempfile
import time
import unittest

from common_flags_test import PROGRAMS, commands, run_program


def flags_of(command):
    """The flags that a command's help shows, all names of each."""
    page = run_program(*command, "--help")[1]
    return [names for line in re.findall(r"^  (-\S+)", page, re.MULTILINE)
            if (names := [name for name in line.replace("{false}", "").split(",") if name.startswith("-")])]


class Pages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folders = {}
        for name, program in PROGRAMS.items():
            cls.folders[name] = pathlib.Path(tempfile.mkdtemp(prefix="attend-pages-"))
            cls.addClassCleanup(shutil.rmtree, cls.folders[name])
            subprocess.run([program, "--write-pages", cls.folders[name]], check=True)

    def page(self, command):
        return self.folders[command[0]] / "man1" / f"{'-'.join(command)}.1"


class Manual(Pages):
    def test_each_command_has_a_page_with_all_its_flags(self):
        pages = {path.name for folder in self.folders.values() for path in folder.glob("man1/*")}
        self.assertEqual(pages, {self.page(command).name for command in [*commands(), ("attend-seq2seq",)]})
        for command in [*commands(), ("attend-seq2seq",)]:
            text = self.page(command).read_text().replace("\\-", "-")
            for names in flags_of(command):
                self.assertRegex(text, r"\.TP\n" + ", ".join(rf"\\fB{name}\\fR" for name in names), command)
            self.assertRegex(text, rf"(?m)^{'-'.join(command)} - [a-z]")
        self.assertIn(".BR attend\\-seq2seq\\-translate (1)", self.page(("attend-seq2seq",)).read_text())
        self.assertNotIn("write-pages", self.page(("attend-seq2seq",)).read_text().replace("\\", ""))

    def rendered(self, *command):
        if not shutil.which(command[0]):
            self.skipTest(f"no {command[0]}")
        done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8"}, check=False)
        return done.returncode, done.stdout, done.stderr

    def test_groff_has_nothing_to_say_against_them(self):
        for command in [*commands(), ("attend-seq2seq",)]:
            status, out, errors = self.rendered("groff", "-man", "-Tutf8", "-ww", "-rLL=100n", self.page(command))
            self.assertEqual((status, errors), (0, ""), command)
            text = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", out)
            for names in flags_of(command):
                self.assertRegex(text, rf"(?m)^ +{', '.join(names)}\b")

    def test_mandoc_has_nothing_to_say_against_them(self):
        for command in [*commands(), ("attend-seq2seq",)]:
            # "style" is about the date, which the pages leave out so that builds are reproducible.
            status, out, errors = self.rendered("mandoc", "-T", "lint", "-W", "error", self.page(command))
            self.assertEqual((status, out, errors), (0, "", ""), command)


class Bash(Pages):
    def complete(self, *words, name="attend-seq2seq"):
        """What bash offers for the last of the words, after a name that the shell would complete."""
        words = [name, *words]
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
        script = f"""
            source {self.folders[name] / 'bash' / name}
            spec=$(complete -p {name}) || exit 3
            function=${{spec##*-F }}; function=${{function%% *}}
            COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}
            COMP_LINE="${{COMP_WORDS[*]}}"; COMP_POINT=${{#COMP_LINE}}
            $function {name} "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
            printf '%s\\n' "${{COMPREPLY[@]}}" """
        done = subprocess.run(["bash", "--norc", "-uec", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), words)
        return [line for line in done.stdout.splitlines() if line]

    def test_subcommands(self):
        names = [command[1] for command in commands() if len(command) > 1]
        self.assertEqual(self.complete(""), [*names, "-h", "--help", "--version"])
        self.assertEqual(self.complete("tra"), ["train", "translate"])

    def test_flags(self):
        for command in commands():
            names = [name for flag in flags_of(command) for name in flag]
            self.assertEqual(sorted(self.complete(*command[1:], "-", name=command[0])), sorted(names))
        self.assertEqual(self.complete("translate", "--n"), ["--normalize", "--no-repeat-ngram-size", "--n-best"])
        self.assertEqual(self.complete("translate", "-b", "4", "--alig"), ["--alignment"])
        self.assertEqual(self.complete("train", "-t", "a", "b", "--pre"), ["--pre-norm", "--precision"])
        self.assertEqual(self.complete("translate", "--sco"), ["--score"])
        self.assertIn("--json", self.complete("translate", "--score", ""))

    def test_values_that_are_names(self):
        self.assertEqual(self.complete("translate", "--alignment", ""), ["hard", "soft"])
        self.assertEqual(self.complete("translate", "--alignment", "s"), ["soft"])
        self.assertEqual(self.complete("translate", "--alignment", "=", "s"), ["soft"])
        self.assertEqual(self.complete("translate", "--alignment", "="), ["hard", "soft"])
        self.assertEqual(self.complete("-f", "", name="attend-visualize"), ["html", "png", "svg", "json", "text"])
        # The same name has other values in another command.
        self.assertEqual(self.complete("train", "--precision", ""), ["fp32", "bf16"])
        self.assertEqual(self.complete("translate", "--precision", ""), ["fp32", "bf16", "int8"])

    def test_values_that_are_files_are_left_to_bash(self):
        for words in (["translate", "-i", "x"], ["train", "-t", "one", ""], ["translate", "-m", ""],
                      ["train", "-c", ""]):
            self.assertEqual(self.complete(*words), [], words)
        self.assertNotEqual(self.complete("train", "-t", "one", "two", ""), [])
        spec = subprocess.run(["bash", "-c", f"source {self.folders['attend-seq2seq']}/bash/attend-seq2seq; "
                               "complete -p attend-seq2seq"], stdout=subprocess.PIPE, text=True, check=True).stdout
        self.assertIn("-o default", spec)

    def test_a_real_command_line_is_completed(self):
        """Keys typed at a terminal: the tabulator completes a subcommand, a flag, its value and a file."""
        folder = self.folders["attend-seq2seq"]
        (folder / "texts.en").write_text("")
        keyboard, terminal = pty.openpty()
        shell = subprocess.Popen(["bash", "--norc", "--noprofile", "-i"], stdin=terminal, stdout=terminal, stderr=terminal,
                                 cwd=folder, start_new_session=True,
                                 env={"PATH": os.environ["PATH"], "TERM": "dumb", "HISTFILE": "", "PS1": "ready$ "})
        os.close(terminal)
        seen = ""

        def type_and_wait(keys, phrase):
            nonlocal seen
            os.write(keyboard, keys.encode())
            deadline, seen = time.monotonic() + 60, ""
            while phrase not in seen:
                self.assertLess(time.monotonic(), deadline, seen)
                if select.select([keyboard], [], [], 1)[0]:
                    seen += os.read(keyboard, 4096).decode(errors="replace")

        try:
            type_and_wait("", "ready$ ")
            type_and_wait(f"attend-seq2seq() {{ printf '<%s>' \"$@\"; echo ' end'; }}; source {folder}/bash/attend-seq2seq;"
                          " echo so''urced\n", "sourced\r\n")
            type_and_wait("attend-seq2seq transl\t--align\th\t-i tex\t\n", "> end")
            self.assertIn("<translate><--alignment><hard><-i><texts.en> end", seen)
        finally:
            shell.kill()
            shell.wait()
            os.close(keyboard)


class OtherShells(Pages):
    def test_zsh_reads_its_files(self):
        if not shutil.which("zsh"):
            self.skipTest("no zsh")
        for name, folder in self.folders.items():
            subprocess.run(["zsh", "-n", folder / "zsh" / f"_{name}"], check=True)

    def test_fish_completes(self):
        if not shutil.which("fish"):
            self.skipTest("no fish")

        def complete(line):
            script = f"source {self.folders['attend-seq2seq']}/fish/attend-seq2seq.fish; complete -C '{line}'"
            done = subprocess.run(["fish", "--no-config", "-c", script], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            return [offer.split("\t")[0] for offer in done.stdout.splitlines()]

        self.assertEqual(complete("attend-seq2seq tra"), ["train", "translate"])
        self.assertEqual(complete("attend-seq2seq translate --alignment "), ["hard", "soft"])
        self.assertIn("--n-best", complete("attend-seq2seq translate --n"))
        self.assertNotIn("--vocab-size", complete("attend-seq2seq translate --"))


if __name__ == "__main__":
    unittest.main()
