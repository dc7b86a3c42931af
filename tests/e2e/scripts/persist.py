"""An agent that will not end: ignores SIGTERM and dials every 50 ms, directly and through the proxy.

Whatever it reaches directly it says on standard output, `reached NAME`. TARGETS comes from the test.
"""
import json, signal, socket, threading, time

TARGETS = json.loads('@@TARGETS@@')
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open('begun', 'w').write('begun\n')
print('begun', flush=True)

dialled = []


def direct():
    """A new connection to each address, not waited for: a dropped packet must not slow the next attempt."""
    now = time.monotonic()
    for name, address in TARGETS['direct'].items():
        host, port = address.rsplit(':', 1)
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex((host, int(port)))
        dialled.append((now, name, s))
    while dialled and dialled[0][0] < now - 1:
        _, name, s = dialled.pop(0)
        try:
            s.getpeername()
            print('reached', name, flush=True)
        except OSError:
            pass
        s.close()


def unproven():
    """The gateway itself, which the fence leaves open, without the forwarder and its token."""
    host, port = TARGETS['gateway'].rsplit(':', 1)
    with socket.create_connection((host, int(port)), timeout=5) as s:
        s.settimeout(5)
        s.sendall(b'CONNECT allowed.internet.test:443 HTTP/1.1\r\nHost: allowed.internet.test:443\r\n\r\n')
        if b' 200' in s.recv(64):
            print('reached gateway without a token', flush=True)


def proxied():
    with socket.create_connection(('127.0.0.1', 3128), timeout=5) as s:
        s.settimeout(5)
        s.sendall(f'GET http://allowed.internet.test{TARGETS["path"]} HTTP/1.1\r\nHost: allowed.internet.test\r\nConnection: close\r\n\r\n'.encode())
        s.recv(64)


def repeat(attempt):
    while True:
        try:
            attempt()
        except OSError:
            pass
        time.sleep(0.05)


for attempt in (direct, unproven, proxied):
    threading.Thread(target=repeat, args=(attempt,), daemon=True).start()
while True:
    time.sleep(60)
