"""An agent that will not end: ignores SIGTERM and dials every 50 ms, directly and through the proxy."""
import signal, socket, threading, time

signal.signal(signal.SIGTERM, signal.SIG_IGN)
open('begun', 'w').write('begun\n')


def direct():
    with socket.socket() as s:
        s.settimeout(0.5)
        s.connect(('203.0.113.66', 4444))


def proxied():
    with socket.create_connection(('127.0.0.1', 3128), timeout=5) as s:
        s.settimeout(5)
        s.sendall(b'GET http://allowed.internet.test/persist HTTP/1.1\r\nHost: allowed.internet.test\r\nConnection: close\r\n\r\n')
        s.recv(64)


def repeat(attempt):
    while True:
        try:
            attempt()
        except OSError:
            pass
        time.sleep(0.05)


for attempt in (direct, proxied):
    threading.Thread(target=repeat, args=(attempt,), daemon=True).start()
while True:
    time.sleep(60)
