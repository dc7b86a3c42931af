"""An honest agent: one request after the other over new connections, each timed, and fewer a second than a run may open.
TARGETS comes from the test: `requests`."""
import json, socket, time

TARGETS = json.loads('@@TARGETS@@')


def one():
    time.sleep(0.03)
    begun = time.monotonic()
    with socket.create_connection(('127.0.0.1', 3128), timeout=30) as s:
        s.settimeout(30)
        s.sendall(b'GET http://allowed.internet.test/ HTTP/1.1\r\nHost: allowed.internet.test\r\nConnection: close\r\n\r\n')
        answer = b''
        while True:
            part = s.recv(4096)
            if not part:
                break
            answer += part
    assert b'this is allowed.internet.test' in answer, answer
    return time.monotonic() - begun


times = sorted(one() for _ in range(TARGETS['requests']))
p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
print(f'answered {len(times)} p50 {p50 * 1000:.1f} ms p99 {p99 * 1000:.1f} ms', flush=True)
open('answered', 'w').write(f'{len(times)}\n')
