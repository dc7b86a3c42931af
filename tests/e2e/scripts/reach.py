"""What a hostile agent tries from inside the sandbox. Writes one line an attempt to ./result: `name: outcome`.

Addresses come from the test as TARGETS (a JSON object), so that the same attempts run with and without the fence.
"""
import json, os, socket, ssl, struct

TARGETS = json.loads('@@TARGETS@@')
PROXY = ('127.0.0.1', 3128)
out = open('result', 'w')


def say(name, outcome):
    print(f'{name}: {outcome}', file=out, flush=True)


def tcp(address):
    host, port = address.rsplit(':', 1)
    try:
        with socket.create_connection((host, int(port)), timeout=1.5):
            return 'reached'
    except OSError:
        return 'no'


def udp(address, payload=b'hello'):
    host, port = address.rsplit(':', 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(1.5)
        try:
            s.sendto(payload, (host, int(port)))
            s.recvfrom(512)
            return 'reached'
        except OSError:
            return 'no'


DNS_QUERY = struct.pack('>HHHHHH', 0x1234, 0x0100, 1, 0, 0, 0) + b'\x0akubernetes\x07default\x03svc\x07cluster\x05local\x00' + struct.pack('>HH', 1, 1)


def raw(request, read=4096, to=PROXY):
    """Sends raw bytes to the loopback forwarder, or elsewhere, and gives the first line of the answer."""
    try:
        with socket.create_connection(to, timeout=5) as s:
            s.settimeout(20)
            s.sendall(request)
            answer = s.recv(read)
            return answer.split(b'\r\n', 1)[0].decode('latin-1') or 'closed'
    except OSError as error:
        return type(error).__name__


def connect(authority, headers=''):
    return raw(f'CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{headers}\r\n'.encode())


def tls_through(authority, server_name):
    """CONNECT, then a TLS handshake with another name than the tunnel's; `reached` only if a server answered."""
    try:
        with socket.create_connection(PROXY, timeout=5) as s:
            s.settimeout(20)
            s.sendall(f'CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n'.encode())
            first = s.recv(4096).split(b'\r\n', 1)[0].decode('latin-1')
            if ' 200' not in first:
                return first
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with context.wrap_socket(s, server_hostname=server_name):
                return 'reached'
    except (OSError, ssl.SSLError) as error:
        return 'cut ' + type(error).__name__


for name, address in TARGETS['tcp'].items():
    say('tcp ' + name, tcp(address))
for name, address in TARGETS['udp'].items():
    say('udp ' + name, udp(address, DNS_QUERY if address.endswith(':53') else b'hello'))
for name, authority in TARGETS['connect'].items():
    say('connect ' + name, connect(authority))

gateway = TARGETS['gateway']
body = b'{"version":1,"patches":[],"refused":[]}\n'
post = b'Content-Length: %d\r\nContent-Type: application/json\r\n\r\n' % len(body) + body
say('forged upload, origin form', raw(b'POST /v1/output HTTP/1.1\r\nHost: gateway\r\n' + post))
say('forged upload, absolute form', raw(f'POST http://{gateway}/v1/output HTTP/1.1\r\nHost: {gateway}\r\n'.encode() + post))
say('forged stop, origin form', raw(b'POST /v1/isolation HTTP/1.1\r\nHost: gateway\r\n' + post))
say('forged stop, absolute form', raw(f'POST http://{gateway}/v1/isolation HTTP/1.1\r\nHost: {gateway}\r\n'.encode() + post))
say('state, absolute form', raw(f'GET http://{gateway}/v1/state HTTP/1.1\r\nHost: {gateway}\r\n\r\n'.encode()))
say('probe, absolute form', raw(b'GET http://127.0.0.1:3130/agent HTTP/1.1\r\nHost: 127.0.0.1:3130\r\n\r\n'))
# The gateway's data port is the one address that the fence leaves open: dialled directly, without the forwarder's token.
host, port = gateway.rsplit(':', 1)
forged = 'Bearer ' + '.'.join(['eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ', 'eyJhdWQiOlsiY29mZmVyZGFtLWVncmVzcyJdfQ', 'c2lnbmF0dXJl'])
for who, credentials in [('no token', None), ('forged token', forged)]:
    def line(name):
        return f'{name}: {credentials}\r\n' if credentials else ''
    for name, head in [('whoami', 'GET /v1/whoami'), ('state', 'GET /v1/state'), ('upload', 'POST /v1/output'),
                       ('stop', 'POST /v1/isolation')]:
        request = f'{head} HTTP/1.1\r\nHost: gateway\r\n{line("Authorization")}'.encode()
        say(f'direct {name}, {who}', raw(request + (post if head.startswith('POST') else b'\r\n'), to=(host, int(port))))
    authority = 'allowed.internet.test:443'
    request = f'CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{line("Proxy-Authorization")}\r\n'
    say(f'direct connect, {who}', raw(request.encode(), to=(host, int(port))))
say('direct garbage', raw(b'\x16\x03\x01 nonsense\r\n\r\n', to=(host, int(port))))
say('own token', connect('denied.internet.test:443', 'Proxy-Authorization: Bearer forged\r\n'))
say('tls same name', tls_through('allowed.internet.test:443', 'allowed.internet.test'))
say('tls other name', tls_through('allowed.internet.test:443', 'denied.internet.test'))
say('tls no name', tls_through('allowed.internet.test:443', None))
