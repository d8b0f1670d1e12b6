"""A reverse proxy that misbehaves by rule, to put between a client and a real HTTP server."""
import http.client
import http.server
import ssl
import threading


class Faults:
    """Passes requests on to 127.0.0.1:`port` as they are, headers and all, unless `rule` interferes.

    rule(number, method, path) is asked for each request, counted from 0, and returns
      None              pass on
      "drop"            pass on, and close the connection without the answer
      "cut"             pass on, and close the connection half way through the answer's body
      "spoil"           pass on with a body whose middle byte is another one
      "hang"            pass nothing on and wait until the proxy is closed
      (status, headers, body)   answer this, and pass nothing on
    `seen` lists (method, path, headers) of all requests, `connections` counts what they came over.
    """

    def __init__(self, port, rule=None, certificate=None):
        self.port, self.rule, self.seen = port, rule or (lambda *_: None), []
        self.connections = 0
        self.closing, self.lock = threading.Event(), threading.Lock()
        faults = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 300

            def log_message(self, *_):
                pass

            def handle_any(self):
                faults.handle(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def process_request(self, *request):
                faults.connections += 1
                super().process_request(*request)

            def handle_error(self, *_): # a client that went away
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.address = self.server.server_address[1]
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.address}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def handle(self, request):
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        with self.lock:
            number = len(self.seen)
            self.seen.append((request.command, request.path, dict(request.headers)))
            fault = self.rule(number, request.command, request.path)
        if fault == "hang":
            self.closing.wait(300)
            request.close_connection = True
        elif isinstance(fault, tuple):
            self.answer(request, fault[0], list(fault[1].items()), fault[2])
        else:
            if fault == "spoil":
                body = bytearray(body)
                body[len(body) // 2] ^= 1
            self.forward(request, bytes(body), fault)

    def forward(self, request, body, fault):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            reply = connection.getresponse()
            content = reply.read()
        except (OSError, http.client.HTTPException): # the server is away: so are we
            request.close_connection = True
            return
        finally:
            connection.close()
        if fault == "drop":
            request.close_connection = True
            return
        headers = [(k, v) for k, v in reply.getheaders()
            if k.lower() not in ("transfer-encoding", "connection", "content-length")]
        length = reply.getheader("Content-Length") if request.command == "HEAD" else len(content)
        if fault == "cut":
            content = content[:len(content) // 2]
        self.answer(request, reply.status, headers, content, length)
        if fault == "cut":
            request.close_connection = True

    @staticmethod
    def answer(request, status, headers, content, length=None):
        request.send_response_only(status)
        for name, value in headers:
            request.send_header(name, value)
        if status != 204:
            request.send_header("Content-Length", str(len(content) if length is None else length))
        request.end_headers()
        try:
            request.wfile.write(b"" if request.command == "HEAD" else content)
            request.wfile.flush()
        except OSError:
            request.close_connection = True


def s3_error(status, code, message="as the test wants it", **headers):
    """An answer for a rule: an error in S3's XML."""
    text = f"<?xml version='1.0' encoding='UTF-8'?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return status, {"Content-Type": "application/xml", **headers}, text.encode()
