"""Stands for a textfile collector: what an audit wrote into a file, served for Prometheus."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Textfile:
    def __init__(self, path):
        self.path = path
        textfile = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                text = textfile.path.read_bytes() if textfile.path.exists() else b""
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
