"""What a hostile agent tries on its own container. Writes one line an attempt to ./result."""
import ctypes, os, socket, subprocess

out = open('result', 'w')


def say(name, outcome):
    print(f'{name}: {outcome}', file=out, flush=True)


def writable(path):
    try:
        with open(path, 'w') as f:
            f.write('x')
        return 'written'
    except OSError:
        return 'no'


for path in ['/agent-was-here', '/etc/passwd', '/usr/bin/agent', '/cofferdam/prompt', '/cofferdam/ca.pem',
             '/etc/ssl/certs/ca-certificates.crt', '/workspace/agent-was-here']:
    say('write ' + path, writable(path))
for path in ['/tmp/file', os.environ['HOME'] + '/file', 'file']:
    say('write own ' + ('file' if path == 'file' else path), writable(path))

# The search for tokens is shown to find: it must name this file, and no other.
with open(os.environ['HOME'] + '/planted', 'w') as planted:
    planted.write('eyJhbGciOi planted')
tokens = [p for p in ('/var/run/cofferdam', '/var/run/secrets/kubernetes.io', '/run/secrets/kubernetes.io', '/cofferdam/git')
          if os.path.exists(p) and os.listdir(p)]
found = subprocess.run("grep -rlE 'eyJhbGciOi' / --include=* -s --exclude-dir=proc --exclude-dir=sys | grep -v result | grep -v /cofferdam/prompt | head -9",
                       shell=True, capture_output=True, text=True).stdout.split()
planted = os.environ['HOME'] + '/planted'
say('planted token', 'found' if planted in found else 'no')
say('token', ' '.join(tokens + [path for path in found if path != planted]) or 'no')
say('token in environment', 'yes' if any('eyJhbGciOi' in v for v in os.environ.values()) else 'no')

status = dict(line.split(':\t', 1) for line in open('/proc/self/status').read().splitlines() if ':\t' in line)
say('capabilities', 'none' if all(int(status.get(k, '0'), 16) == 0 for k in ('CapEff', 'CapPrm', 'CapInh', 'CapAmb')) else 'some')
say('uid', str(os.getuid()))
# Only gVisor's own kernel says its name.
log = subprocess.run(['busybox', 'dmesg'], capture_output=True, text=True, errors='replace').stdout
say('kernel', 'gVisor' if 'gVisor' in log else 'other')
for name, call in [('setuid root', lambda: os.setuid(0)),
                   ('mknod', lambda: os.mknod('/tmp/null', 0o20666, os.makedev(1, 3))),
                   ('raw socket', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
                   ('packet socket', lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3))]:
    try:
        call()
        say(name, 'done')
    except OSError:
        say(name, 'no')
libc = ctypes.CDLL(None, use_errno=True)
say('mount', 'done' if libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0 else 'no')
# The forwarder's port is held by the sidecar: the agent cannot take its place.
for port in (3128, 3130):
    s = socket.socket()
    try:
        s.bind(('127.0.0.1', port))
        s.listen()
        say(f'bind {port}', 'done')
    except OSError:
        say(f'bind {port}', 'no')
# Last: where it succeeds, no path means the same any more.
try:
    os.chroot('/tmp')
    say('chroot', 'done')
except OSError:
    say('chroot', 'no')
