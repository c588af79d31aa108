"""attend-seq2seq serve, with clients of many kinds at a time."""

import http.client
import json
import re
import signal
import socket
import subprocess
import threading
import time
import unittest
import zlib

from support import ENGLISH, PROGRAM, ProgramTest, run

LONG = " ".join(ENGLISH * 70)  # in parts; it takes the model a while


class Server:
    """A server of its own on a free port, which is stopped at the end."""

    def __init__(self, model, *arguments):
        self.process = subprocess.Popen(
            [PROGRAM, "serve", "-m", str(model), "--port", "0", "--threads", "2", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.greeting = self.process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.greeting)
        assert found, self.greeting + self.process.stderr.read()
        self.port = int(found[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def stop(self, how=signal.SIGTERM):
        """The exit status, and the last line as numbers by what they count."""
        self.process.send_signal(how)
        out, errors = self.process.communicate(timeout=120)
        counts = re.findall(r"(\d+) (?:requests |tokens )?(\w+)", errors.partition("; half")[0])
        return self.process.returncode, out, {what: int(number) for number, what in counts}

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def request(self, method, path, body=None, headers=None):
        """The status, the headers and the body of the answer."""
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def translate(self, **query):
        status, _, body = self.request("POST", "/translate", json.dumps(query))
        return status, json.loads(body)

    def raw(self, data):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=120)
        connection.sendall(data)
        return connection

    def metrics(self):
        status, headers, body = self.request("GET", "/metrics")
        assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4"), (status, body)
        lines = [line for line in body.decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def wait_for(self, name, least):
        deadline = time.time() + 60
        while self.metrics().get(name, 0) < least:
            assert time.time() < deadline, (name, self.metrics())
            time.sleep(0.01)


def outcome(name):
    return f'attend_requests_total{{outcome="{name}"}}'


class Serve(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = cls.folder / "model"
        status, _, errors = cls.train(cls.model, "--after", "60u", "--valid-freq", "60u")
        assert status == 0, errors

    def serve(self, *arguments):
        server = Server(self.model, *arguments)
        self.addCleanup(server.__exit__)
        return server

    def assert_adds_up(self, metrics):
        finished = sum(metrics[outcome(name)] for name in ("answered", "failed", "cancelled", "expired"))
        self.assertEqual(metrics["attend_requests_accepted_total"], finished + metrics["attend_requests_pending"])
        self.assertEqual(metrics["attend_request_seconds_count"], metrics[outcome("answered")])
        self.assertEqual(metrics['attend_request_seconds_bucket{le="+Inf"}'], metrics[outcome("answered")])
        buckets = [value for name, value in metrics.items() if name.startswith("attend_request_seconds_bucket")]
        self.assertEqual(buckets, sorted(buckets))

    def test_it_answers_as_translate_does(self):
        server = self.serve("-b", "3")
        self.assertRegex(server.greeting, r"^attend-seq2seq: serving .*model at http://127\.0\.0\.1:\d+, 2 workers$")
        texts = [*ENGLISH, "", "<b>&\"' \\ \u2028 \U0001f600", LONG[:2000]]
        for kind, flag in (("hard", "alignment"), ("soft", "attention")):
            out = run("translate", "-m", self.model, "-b", 3, "--json", "--n-best", 2, "--alignment", kind,
                      text="".join(f"{text}\n" for text in texts))[1]
            expected = [json.loads(line) for line in out.split("\n")[:-1]]
            status, answer = server.translate(text=texts, n_best=2, **{flag: True})
            self.assertEqual(status, 200, answer)
            self.assertEqual(list(answer), ["results"])
            self.assertEqual(answer["results"], expected)  # every bit, whatever the batches
        status, answer = server.translate(text=ENGLISH[0])
        self.assertEqual([list(one) for one in answer["results"][0]["translations"]],
                         [["text", "log_probability", "score"]])
        self.assertEqual(server.translate(text=[]), (200, {"results": []}))
        status, out, counts = server.stop(signal.SIGINT)
        self.assertEqual((status, out), (0, ""))
        self.assertEqual((counts["accepted"], counts["answered"], counts["refused"]), (4, 4, 0))

    def test_what_is_no_request_is_refused_with_its_reason(self):
        server = self.serve("--max-body", 5000, "--max-text", 1000, "--max-queue", 10, "-b", 2)
        for body, status, *words in (
                (b"", 400, "JSON"), (b"the cat", 400, "JSON"), (b'{"text": "a', 400, "JSON"),
                (b'{"text": "\xff"}', 400, "JSON", "UTF-8"), (b'{"text": "\\ud800"}', 400, "JSON"),
                (b"[" * 4000, 400, "JSON"), (b'["a"]', 400, "the body", "an object"), (b"{}", 400, "text", "none"),
                (b'{"text": 5}', 400, "text: expected a text or a list of texts, got 5"),
                (b'{"text": ["a", null]}', 400, "text", "null"), (b'{"text": "a", "n_bset": 2}', 400, "n_bset"),
                (b'{"text": "a", "n_best": 0}', 400, "n_best", "got 0"),
                (b'{"text": "a", "n_best": 1.5}', 400, "n_best"), (b'{"text": "a", "n_best": 99999999999999999999}', 400),
                (b'{"text": "a", "n_best": 3}', 400, "n_best: expected a whole number from 1 to the beam size 2, got 3"),
                (b'{"text": "a", "attention": "yes"}', 400, "attention", "true or false", "yes"),
                (b'{"text": "a", "alignment": 1}', 400, "alignment"),
                (b'{"text": "a", "timeout": -1}', 400, "timeout"), (b'{"text": "a", "timeout": "1"}', 400, "timeout"),
                (b'{"text": "' + b"a" * 1001 + b'"}', 413, "1000 bytes", "1001"),
                (b'{"text": ["' + b'", "'.join([b"a"] * 11) + b'"]}', 413, "10 texts", "11"),
                (b'{"text": "' + b"a" * 10_000_000 + b'"}', 413, "5000 bytes")):
            got, headers, answer = server.request("POST", "/translate", body)
            where = f"{body[:60]} {got} {answer[:300]}"
            self.assertEqual(got, status, where)
            self.assertEqual(headers["Content-Type"], "application/json", where)
            answer = json.loads(answer)
            self.assertEqual(list(answer), ["error"], where)
            self.assertLess(len(answer["error"]), 500, where)
            self.assertNotIn("\n", answer["error"], where)
            for word in words:
                self.assertIn(word, answer["error"], where)
        for method, path, status in (("GET", "/nothing", 404), ("GET", "/translate", 405), ("POST", "/health", 405),
                                     ("PUT", "/", 405), ("DELETE", "/translate", 405), ("GET", "/" + "a" * 9000, 414)):
            got, headers, answer = server.request(method, path)
            self.assertEqual(got, status, f"{method} {path[:20]}")
            self.assertIn("error", json.loads(answer))
            self.assertEqual(status == 405, "Allow" in headers)
        # Forms, and bodies without a length that are too long as they come, or once they are unpacked.
        self.assertEqual(server.request("POST", "/translate", b"--b\r\n\r\na\r\n--b--\r\n",
                                        {"Content-Type": "multipart/form-data; boundary=b"})[0], 400)
        self.assertEqual(server.request("POST", "/translate", json.dumps({"text": "a cat"}),
                                        {"Content-Type": "application/x-www-form-urlencoded"})[0], 200)
        pieces = iter([b'{"text": "'] + [b"a" * 1000] * 100)  # http.client sends it in chunks
        self.assertEqual(server.request("POST", "/translate", pieces)[0], 413)
        packed = zlib.compressobj(wbits=31)
        packed = packed.compress(b" " * 3_000_000) + packed.flush()
        self.assertLess(len(packed), 5000)
        self.assertEqual(server.request("POST", "/translate", packed, {"Content-Encoding": "gzip"})[0], 413)
        with server.raw(b"nonsense\r\n\r\n") as connection:
            self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 400 "))
        # A body that breaks off is answered, and its connection ended.
        with server.raw(b"POST /translate HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab") as connection:
            connection.sendall(b"cde\r\nno number\r\n\r\nGET /health HTTP/1.1\r\n\r\n")
            with connection.makefile("rb") as answers:
                answer = answers.read()
            self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
            self.assertEqual(answer.count(b"HTTP/1.1"), 1, answer)
        # After all that.
        self.assertEqual(server.translate(text="a cat")[0], 200)
        metrics = server.metrics()
        self.assert_adds_up(metrics)
        self.assertEqual(metrics[outcome("answered")], 2)
        self.assertEqual(metrics['attend_http_responses_total{status="405"}'], 4)

    def test_its_other_pages(self):
        server = self.serve()
        self.assertEqual(server.request("GET", "/health")[::2], (200, b'{"status":"ok"}'))
        status, headers, page = server.request("GET", "/")
        self.assertEqual((status, headers["Content-Type"]), (200, "text/html; charset=utf-8"))
        self.assertNotRegex(page.decode(), r"https?://")  # nothing from elsewhere
        self.assertEqual(server.request("HEAD", "/")[::2], (200, b""))
        connection = server.connect()
        for _ in range(20):  # one connection for many
            connection.request("GET", "/health")
            self.assertEqual(connection.getresponse().read(), b'{"status":"ok"}')
        connection.close()

    def test_a_full_queue_says_try_later(self):
        server = self.serve("--max-queue", 2, "--max-batch", 1, "--workers", 1)
        results = []

        def client():
            status, headers, body = server.request("POST", "/translate", json.dumps({"text": LONG}))
            results.append((status, headers["Retry-After"], json.loads(body)))

        threads = [threading.Thread(target=client) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        answered = [one for one in results if one[0] == 200]
        refused = [one for one in results if one[0] == 429]
        self.assertEqual(len(answered) + len(refused), 12)
        self.assertGreaterEqual(len(answered), 2)
        self.assertGreaterEqual(len(refused), 1)
        self.assertTrue(all(one[1] == "1" and "queue of 2" in one[2]["error"] for one in refused))
        self.assertTrue(all(one[1] is None for one in answered))
        metrics = server.metrics()
        self.assert_adds_up(metrics)
        self.assertEqual(metrics[outcome("refused")], len(refused))

    def test_a_request_fails_when_its_time_is_over(self):
        server = self.serve("--timeout", 0.002)
        status, answer = server.translate(text=[LONG] * 4, timeout=60)  # the server's limit counts
        self.assertEqual(status, 504, answer)
        self.assertIn("within 0.002 s", answer["error"])
        self.assertEqual(self.serve().translate(text=[LONG] * 4, timeout=0.001)[0], 504)
        self.assertEqual(server.metrics()[outcome("expired")], 1)

    def test_requests_of_clients_that_hang_up_are_cancelled(self):
        server = self.serve("--workers", 1, "--max-batch", 1, "--max-body", 10_000_000)
        body = json.dumps({"text": [LONG] * 100}).encode()
        for _ in range(2):
            server.raw(b"POST /translate HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body).close()
            server.wait_for("attend_requests_accepted_total", 1)
        server.wait_for(outcome("cancelled"), 2)  # long before they would be answered
        self.assertEqual(server.translate(text="a cat")[0], 200)
        server.wait_for('attend_http_responses_total{status="499"}', 2)
        metrics = server.metrics()
        self.assert_adds_up(metrics)
        self.assertEqual((metrics[outcome("answered")], metrics["attend_queue_texts"]), (1, 0))

    def test_slow_clients_hold_up_no_others(self):
        server = self.serve()
        slow = [server.raw(b"POST /translate HTTP/1.1\r\nContent-Le") for _ in range(20)]
        slow += [server.raw(b"POST /translate HTTP/1.1\r\nContent-Length: 17\r\n\r\n{\"text\"") for _ in range(20)]
        for _ in range(5):
            self.assertEqual(server.translate(text="a cat")[0], 200)
        slow[-1].sendall(b': "a cat"}')  # late, but whole
        self.assertTrue(slow[-1].recv(100).startswith(b"HTTP/1.1 200 "))
        # The others never come to an end; the server does.
        began = time.time()
        self.assertEqual(server.stop()[0], 0)
        self.assertLess(time.time() - began, 60)
        for connection in slow:
            connection.close()

    def test_many_clients_at_a_time(self):
        server = self.serve("--max-body", 100_000)
        expected = {text: server.translate(text=text)[1]["results"][0]["translations"] for text in ENGLISH}
        seen, wrong = [], []

        def client(number):
            connection = server.connect()
            for i in range(25):
                kind = (number + i) % 6
                text = ENGLISH[(number * 3 + i) % len(ENGLISH)]
                if kind == 0:
                    body, status = b"no JSON", 400
                elif kind == 1:
                    body, status = b'{"text": "\xc3"}', 400
                elif kind == 2 and i % 5 == 0:
                    body, status = b" " * 10_000_000, 413
                elif kind == 3 and i % 4 == 0:
                    with server.raw(b"POST /translate HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"):
                        continue  # hangs up
                else:
                    body, status = json.dumps({"text": text}).encode(), 200
                connection.request("POST", "/translate", body)
                response = connection.getresponse()
                answer = json.loads(response.read())
                seen.append(response.status)
                if response.status != status or \
                        (status == 200 and answer["results"][0]["translations"] != expected[text]):
                    wrong.append((status, response.status, text, answer))
            connection.close()

        threads = [threading.Thread(target=client, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        metrics = server.metrics()
        self.assert_adds_up(metrics)
        self.assertEqual(metrics[outcome("answered")], len(ENGLISH) + seen.count(200))
        self.assertEqual(metrics["attend_requests_pending"], 0)
        for status in (400, 413):
            self.assertGreaterEqual(metrics[f'attend_http_responses_total{{status="{status}"}}'], seen.count(status))
            self.assertGreater(seen.count(status), 0)
        self.assertLess(metrics["attend_batches_total"], metrics[outcome("answered")] + 1)
        self.assertGreater(metrics["attend_source_tokens_total"], 3 * seen.count(200))
        self.assertGreater(metrics["attend_target_tokens_total"], seen.count(200))

    def test_a_stop_loses_nothing_that_was_accepted(self):
        server = self.serve("--workers", 1)
        statuses, lost = [], []

        def client(number):
            connection = server.connect()
            try:
                while True:
                    connection.request("POST", "/translate", json.dumps({"text": LONG[:1000 + 50 * number]}))
                    response = connection.getresponse()
                    body = response.read()
                    statuses.append(response.status)
                    if response.status == 200:
                        json.loads(body)["results"][0]["translations"][0]["text"]
                    else:
                        return
            except http.client.RemoteDisconnected:
                return  # closed between two requests
            except ConnectionError:
                return
            except Exception as error:  # half an answer
                lost.append(repr(error))
            finally:
                connection.close()

        threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        server.wait_for(outcome("answered"), 10)
        status, _, counts = server.stop()
        for thread in threads:
            thread.join()
        self.assertEqual((status, lost), (0, []))
        self.assertEqual(counts["answered"], statuses.count(200))
        self.assertEqual(counts["accepted"], counts["answered"])
        self.assertEqual(set(statuses) - {200, 503}, set())

    def test_a_second_signal_ends_it_at_once(self):
        server = self.serve("--workers", 1, "--max-batch", 1, "--max-body", 10_000_000)
        body = json.dumps({"text": [LONG] * 200}).encode()
        with server.raw(b"POST /translate HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body):
            server.wait_for("attend_queue_texts", 10)
            server.process.send_signal(signal.SIGTERM)
            with self.assertRaises(subprocess.TimeoutExpired):
                server.process.wait(0.5)
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(server.process.wait(60), -signal.SIGTERM)

    def test_a_place_where_it_cannot_listen(self):
        server = self.serve()
        status, out, errors = run("serve", "-m", self.model, "--port", server.port)
        self.assertEqual((status, out), (1, ""))
        self.assertRegex(errors, rf"^attend-seq2seq: expected to listen at 127\.0\.0\.1 port {server.port}, got: .+\n$")
        status, _, errors = run("serve", "-m", self.model, "--host", "no.such.host.invalid", "--port", 0)
        self.assertEqual(status, 1)
        self.assertIn("no.such.host.invalid", errors)
        status, _, errors = run("serve", "-m", self.folder / "nothing")
        self.assertEqual(status, 1)
        self.assertIn("nothing/config.json", errors)


if __name__ == "__main__":
    unittest.main()
