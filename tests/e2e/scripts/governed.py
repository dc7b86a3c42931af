"""An agent that asks two hosts ten times a second for as long as it lives; their servers write down what arrives."""
import socket, threading, time

open('begun', 'w').write('begun\n')


def ask(host, path):
    with socket.create_connection(('127.0.0.1', 3128), timeout=5) as s:
        s.settimeout(5)
        s.sendall(f'GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n'.encode())
        s.recv(64)


def repeat(host, path):
    while True:
        try:
            ask(host, path)
        except OSError:
            pass
        time.sleep(0.1)


for host, path in (('allowed.internet.test', '/@@RUN@@-allowed'), ('denied.internet.test', '/@@RUN@@-denied')):
    threading.Thread(target=repeat, args=(host, path), daemon=True).start()
while True:
    time.sleep(60)
