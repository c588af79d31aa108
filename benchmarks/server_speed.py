"""Speed of attend-seq2seq serve under load, beside `translate` of the same lines, in one run.

usage: server_speed.py ATTEND_SEQ2SEQ MODEL TEXT [--lines 1000] [--clients 1 8 32 64] [--rounds 3] [-- FLAG...]

`translate` is timed from start to end, with and without a text: the difference is the lines'. Clients send a line in a request,
over one connection each, and wait for the answer. They run on the same machine, in one process of Python's, whose time
counts. FLAGs are those of the search. What the server answers is compared with what `translate` wrote.
"""

import argparse
import http.client
import json
import pathlib
import re
import statistics
import subprocess
import threading
import time


def translate_seconds(program, model, lines, flags):
    """The time of the lines beyond that of no lines, and the translations."""
    command = [program, "translate", "-m", model, "--mini-batch", "1000000", *flags]

    def timed(text):
        began = time.perf_counter()
        out = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=True).stdout
        return time.perf_counter() - began, out.splitlines()

    nothing = timed("")[0]
    seconds, translations = timed("".join(f"{line}\n" for line in lines))
    return seconds - nothing, translations


def serve_seconds(port, lines, clients):
    """The time of all lines, that of each, and the translations."""
    found, latencies, todo, lock = [None] * len(lines), [], iter(range(len(lines))), threading.Lock()

    def client():
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while True:
            with lock:
                i = next(todo, None)
            if i is None:
                return
            began = time.perf_counter()
            connection.request("POST", "/translate", json.dumps({"text": lines[i]}))
            found[i] = json.loads(connection.getresponse().read())["results"][0]["translations"][0]["text"]
            latencies.append(time.perf_counter() - began)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began, latencies, found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("flags", nargs="*")
    options = parser.parse_args()
    lines = options.text.read_text(encoding="utf-8").splitlines()[:options.lines]

    times = []
    for _ in range(options.rounds):
        seconds, expected = translate_seconds(options.program, options.model, lines, options.flags)
        times.append(seconds)
    print(f"translate: {len(lines) / statistics.median(times):.0f} lines/s", flush=True)

    server = subprocess.Popen([options.program, "serve", "-m", options.model, "--port", "0", *options.flags],
                              stderr=subprocess.PIPE, text=True)
    try:
        port = int(re.search(r":(\d+), ", server.stderr.readline())[1])
        serve_seconds(port, lines[:100], 8)
        for clients in options.clients:
            times, latencies = [], []
            for _ in range(options.rounds):
                seconds, of_each, found = serve_seconds(port, lines, clients)
                times.append(seconds)
                latencies += of_each
                assert found == expected, "other translations than translate's"
            cuts = statistics.quantiles(latencies, n=100)
            print(f"serve, {clients} clients: {len(lines) / statistics.median(times):.0f} lines/s, "
                  f"half within {1000 * cuts[49]:.1f} ms, 99 % within {1000 * cuts[98]:.1f} ms", flush=True)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
