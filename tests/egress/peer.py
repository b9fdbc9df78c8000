"""Servers of a network of their own: HTTP, HTTPS, and one that speaks first. Says a line of everything that reaches it.

    peer.py CERTIFICATE-AND-KEY
"""

import http.server
import socketserver
import ssl
import sys
import threading


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        say(f"asked {self.headers['Host']} {self.path}")
        what, _, argument = self.path[1:].partition("?")
        if what == "to":
            return self.answer(302, b"", {"Location": argument})
        if what == "zeros":
            return self.answer(200, b"0" * int(argument))
        return self.answer(200, f"hello from {self.headers['Host']}".encode())

    def do_POST(self):
        length = len(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(200, str(length).encode())

    def answer(self, status, body, headers={}):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Banner(socketserver.StreamRequestHandler):
    """Greets, takes everything until its end, and then says how much that was."""

    def handle(self):
        self.wfile.write(b"welcome\n")
        self.wfile.write(str(len(self.rfile.read())).encode())


class Greeter(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def serve(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()


class Newer(http.server.ThreadingHTTPServer):
    address_family = __import__("socket").AF_INET6


for port in (80, 8081, 9000):
    serve(http.server.ThreadingHTTPServer(("0.0.0.0", port), Answer))
serve(Newer(("2606:2800:220:1::1", 80), Answer))
serve(Newer(("2606:2800:220:1::1", 443), Answer))
secure = http.server.ThreadingHTTPServer(("0.0.0.0", 443), Answer)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
serve(secure)
serve(Greeter(("0.0.0.0", 2525), Banner))
say("serving")
threading.Event().wait()
