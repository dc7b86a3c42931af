"""An agent that opens as many tunnels as it gets, asks each for an answer without end, reads fast until the windows have
grown, and then never again, or for ever. TARGETS comes from the test: `tunnels`, `read` (bytes of each, 0 for ever)."""
import json, socket, ssl, threading, time

TARGETS = json.loads('@@TARGETS@@')
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
held = []
refused = []
lock = threading.Lock()


def one():
    s = socket.create_connection(('127.0.0.1', 3128))
    s.sendall(b'CONNECT allowed.internet.test:443 HTTP/1.1\r\nHost: allowed.internet.test:443\r\n\r\n')
    answer = s.recv(4096)
    if b' 200' not in answer:
        with lock:
            refused.append(answer.split(b'\r\n')[0].decode())
        return
    t = context.wrap_socket(s, server_hostname='allowed.internet.test')
    t.sendall(b'POST /echo HTTP/1.1\r\nHost: allowed.internet.test\r\nTransfer-Encoding: chunked\r\n\r\n')
    block = b'10000\r\n' + b'x' * 65536 + b'\r\n'
    with lock:
        held.append(t)
    read = 0
    while read < TARGETS['read'] or not TARGETS['read']:
        t.sendall(block)
        read += len(t.recv(65536))
    while True:
        t.sendall(block)


def guarded():
    try:
        one()
    except OSError as error:
        with lock:
            refused.append(str(error))


for _ in range(TARGETS['tunnels']):
    threading.Thread(target=guarded, daemon=True).start()
    time.sleep(0.03)
print('hoarding', len(held), 'tunnels', flush=True)
while True:
    time.sleep(2)
    print('hoarding', len(held), 'ended', len(refused), flush=True)
