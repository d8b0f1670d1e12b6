"""A line between a client and a server on this machine that can be made slow, or go silent without an end."""
import select
import socket
import threading
import time


class Wire:
    """Passes what comes to `port` on to 127.0.0.1:`server` and back.

    `delay` is how many seconds each piece of data takes. While `silent` is set nothing passes in either direction and
    nobody is told: connections stay open, as when a network swallows its packets. What was sent meanwhile arrives
    afterwards, if both ends are still there. Close it when done.
    """

    def __init__(self, server, delay=0.0):
        self.server, self.delay, self.silent = server, delay, threading.Event()
        self.closed = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.1)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        self.closed.set()

    def accept(self):
        with self.listener:
            while not self.closed.is_set():
                try:
                    client = self.listener.accept()[0]
                except TimeoutError:
                    continue
                threading.Thread(target=self.carry, args=(client,), daemon=True).start()

    def carry(self, client):
        """One connection until either end closes it."""
        try:
            server = socket.create_connection(("127.0.0.1", self.server), 10)
        except OSError:
            client.close()
            return
        with client, server:
            other = {client: server, server: client}
            while not self.closed.is_set():
                for end in select.select([client, server], [], [], 0.05)[0]:
                    while self.silent.is_set() and not self.closed.is_set():
                        time.sleep(0.02)
                    try:
                        piece = end.recv(1 << 16)
                        time.sleep(self.delay)
                        if piece:
                            other[end].sendall(piece)
                    except OSError:
                        return
                    if not piece:
                        return
