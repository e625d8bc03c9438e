"""A registry of Docker's kind, as far as a push and a pull need one: blobs and manifests in memory, uploads in pieces."""

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Registry:
    """On a port of this machine, while it is entered."""

    def __init__(self):
        self.blobs, self.manifests, self.uploads = {}, {}, {}
        self.refuses = False
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self):
                registry.answer(self)

            do_HEAD = do_GET = do_POST = do_PATCH = do_PUT = handle_one

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request):
        method, url = request.command, urlsplit(request.path)
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        status, headers, answer = self.act(method, url.path, parse_qs(url.query), body)
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(answer)))
        request.end_headers()
        if method != "HEAD":
            request.wfile.write(answer)

    def act(self, method, path, query, body):
        """(status, headers, body)"""
        if self.refuses:
            return 403, {}, b'{"errors": [{"code": "DENIED", "message": "not for you"}]}'
        if found := re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", path):
            if method == "PUT":
                self.manifests[found.groups()] = body
                return 201, {}, b""
            return (200, {}, self.manifests[found.groups()]) if found.groups() in self.manifests else (404, {}, b"{}")
        if re.fullmatch(r"/v2/.+/blobs/uploads/", path) and method == "POST":
            upload = f"{path}{len(self.uploads)}"
            self.uploads[upload] = b""
            return 202, {"Location": upload}, b""
        if path in self.uploads:
            self.uploads[path] += body
            if method == "PATCH":
                return 202, {"Location": path, "Range": f"0-{len(self.uploads[path]) - 1}"}, b""
            digest = f"sha256:{hashlib.sha256(self.uploads[path]).hexdigest()}"
            if query.get("digest") != [digest]:
                return 400, {}, b'{"errors": [{"code": "DIGEST_INVALID"}]}'
            self.blobs[digest] = self.uploads.pop(path)
            return 201, {"Docker-Content-Digest": digest}, b""
        blob = self.blobs.get(path.rsplit("/", 1)[-1])
        return (200, {}, blob) if blob is not None else (404, {}, b"{}")
