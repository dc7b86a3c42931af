"""An agent that would go on for ever: ignores what it can ignore, and uses its exit all the time.

Through the proxy it sends a request every 100 ms on a new connection, and one every 100 ms in a tunnel that it opened
at first. TARGETS comes from the test: `path` of the requests, and `attacks`, some of
  listen   takes every way to answer the kubelet's probe in the sidecar's place
  kill     kills every process that it can
  starve   leaves the sidecar no CPU
It says what came of them on standard output.
"""
import json, os, signal, socket, ssl, threading, time

TARGETS = json.loads('@@TARGETS@@')
PROBE = 3130
for number in range(1, signal.NSIG):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
open('begun', 'w').write('begun\n')
print('begun', flush=True)


def own_address():
    with open('/etc/hosts') as hosts:
        return next(line.split()[0] for line in hosts if line.split()[1:2] == ['sandbox'])


def answer(server, name):
    """Answers every probe as the sidecar would while the agent may live."""
    while True:
        client, _ = server.accept()
        try:
            client.recv(4096)
            client.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok')
            print('answered as', name, flush=True)
        except OSError:
            pass
        client.close()


def listen():
    """Every address that the probe's port has, each with no option, SO_REUSEADDR, SO_REUSEPORT and both."""
    own = own_address()
    reuse = [(), (socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT)]
    for family, address in [(socket.AF_INET, own), (socket.AF_INET, '0.0.0.0'), (socket.AF_INET, '127.0.0.1'),
                            (socket.AF_INET6, '::'), (socket.AF_INET6, '::ffff:' + own)]:
        for port in (PROBE, TARGETS['control']):
            for options in reuse:
                what = f'{address} {"control" if port != PROBE else "probe"} {"+".join(map(str, options)) or "plain"}'
                server = None
                try:
                    server = socket.socket(family)
                    if family == socket.AF_INET6:
                        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                    for option in options:
                        server.setsockopt(socket.SOL_SOCKET, option, 1)
                    server.bind((address, port))
                    server.listen(64)
                except OSError:
                    if server:
                        server.close()
                    print('refused', what, flush=True)
                    continue
                print('listens', what, flush=True)
                if port == PROBE:
                    threading.Thread(target=answer, args=(server, what), daemon=True).start()
                else:
                    server.close()


def kill():
    """Whatever this container sees, but for itself; and what it does not see, by number."""
    # A signal to one of its own threads would be one to itself.
    own = {os.getpid(), os.getppid()} | {int(name) for name in os.listdir('/proc/self/task')}
    seen = [int(name) for name in os.listdir('/proc') if name.isdigit() and int(name) not in own]
    for pid in seen + [pid for pid in range(1, 400) if pid not in own]:
        for number in (signal.SIGSTOP, signal.SIGKILL):
            try:
                os.kill(pid, number)
                print('killed', pid, flush=True)
            except OSError:
                pass
    print('killing done', flush=True)


def starve():
    # Not before its requests have arrived.
    time.sleep(4)
    for _ in range(64):
        if os.fork() == 0:
            while True:
                pass
    print('starving', flush=True)


def fresh():
    with socket.create_connection(('127.0.0.1', 3128), timeout=5) as s:
        s.settimeout(5)
        s.sendall(f'GET http://allowed.internet.test{TARGETS["path"]}/fresh HTTP/1.1\r\nHost: allowed.internet.test\r\nConnection: close\r\n\r\n'.encode())
        s.recv(64)


def tunnelled():
    s = socket.create_connection(('127.0.0.1', 3128), timeout=5)
    s.sendall(b'CONNECT allowed.internet.test:443 HTTP/1.1\r\nHost: allowed.internet.test:443\r\n\r\n')
    if b' 200' not in s.recv(4096):
        return
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    tunnel = context.wrap_socket(s, server_hostname='allowed.internet.test')
    while True:
        tunnel.sendall(f'GET {TARGETS["path"]}/tunnel HTTP/1.1\r\nHost: allowed.internet.test\r\n\r\n'.encode())
        if not tunnel.recv(4096):
            return
        time.sleep(0.1)


def repeat(attempt):
    while True:
        try:
            attempt()
        except OSError:
            pass
        time.sleep(0.1)


def beat():
    while True:
        print('alive', flush=True)
        time.sleep(0.5)


for attempt in (fresh, tunnelled):
    threading.Thread(target=repeat, args=(attempt,), daemon=True).start()
threading.Thread(target=beat, daemon=True).start()
for attack in TARGETS['attacks']:
    {'listen': listen, 'kill': kill, 'starve': starve}[attack]()
while True:
    time.sleep(60)
