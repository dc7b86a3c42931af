// Command internet is what the test cluster has in place of the internet: a git server, a model server whose answers
// are written in advance, a host that policies allow, one that they do not, and a sink for everything else.
//
// It runs in a network namespace of its own that has the addresses below and no uplink; whatever else is routed there
// reaches the sink. All that it is asked is recorded, one JSON line each.
//
//	203.0.113.10  git.internet.test      443
//	203.0.113.20  model.internet.test    443, and by their own names the model APIs of presets
//	203.0.113.30  allowed.internet.test  443, 8443, and 80 without TLS
//	203.0.113.40  denied.internet.test   443, and 80 without TLS
//	203.0.113.50  registries of packages 443, and 80 without TLS, by their own names
//
// The first, third and fourth have the repositories: git.internet.test at /, the others below /git/. The path /redirect/<host>/ of
// git.internet.test answers that what is asked for is at that host, /unavailable/ that it cannot be served now, and /silent/
// nothing to who asks for objects. Contents of Git LFS are served beside the repositories. Below /installed/ the repositories are
// open to tokens of GitHub Apps alone, which the API at /api/v3/ makes as a GitHub Enterprise Server does.
//
// Its state directory holds git/<name>.git (served), model/<name>.json (scripts), registry/<host>/ (served), github/<id>.json (Apps), ca.pem
// and ca-key.pem (made once), requests.jsonl and sink.jsonl (appended to).
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"cofferdam.dev/tests/cluster/internet/model"
)

func main() {
	state := flag.String("state", "/var/tmp/cofferdam/internet", "directory with the repositories, scripts, certificates and records")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := serve(ctx, *state); err != nil {
		fmt.Fprintln(os.Stderr, "internet:", err)
		os.Exit(1)
	}
}

// endpoint is one address that a site serves.
type endpoint struct {
	site    Site
	address string
	// names are what the certificate is for; none for plain HTTP.
	names []string
}

// serve opens everything, says so on standard output, and serves until the context ends or something breaks.
func serve(ctx context.Context, state string) error {
	for _, directory := range []string{"git", "model", "registry"} {
		if err := os.MkdirAll(filepath.Join(state, directory), 0o755); err != nil {
			return err
		}
	}
	authority, err := OpenAuthority(state)
	if err != nil {
		return err
	}
	sunk, err := OpenRecord(filepath.Join(state, "sink.jsonl"))
	if err != nil {
		return err
	}
	all, err := endpoints(state)
	if err != nil {
		return err
	}

	failed := make(chan error)
	served := make([]string, 0, len(all))
	// The addresses exist only in the namespace made for them: anywhere else the program ends here, before it has
	// changed anything.
	for _, each := range all {
		if err := each.start(ctx, authority, failed); err != nil {
			return err
		}
		served = append(served, each.address)
	}
	if err := (Sink{Record: sunk}).Start(ctx, failed); err != nil {
		return err
	}
	if err := Redirect(served); err != nil {
		return err
	}
	defer Unredirect()
	fmt.Println("internet: ready")

	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// endpoints is the list of all that is served.
func endpoints(state string) ([]endpoint, error) {
	asked, err := OpenRecord(filepath.Join(state, "requests.jsonl"))
	if err != nil {
		return nil, err
	}
	repositories, err := GitHandler(filepath.Join(state, "git"))
	if err != nil {
		return nil, err
	}
	site := func(name string, handler http.Handler) Site { return Site{Name: name, Handler: handler, Record: asked} }
	github, err := NewGitHub(filepath.Join(state, "github"))
	if err != nil {
		return nil, err
	}
	git := site("git", github.Around(repositories))
	scripted := site("model", model.Library{Directory: filepath.Join(state, "model")}.Handler())
	allowed := site("allowed", HostHandler("allowed.internet.test", repositories))
	denied := site("denied", HostHandler("denied.internet.test", repositories))
	registry := site("registry", RegistryHandler(filepath.Join(state, "registry")))
	named := func(names ...string) []string { return names }
	return []endpoint{
		{git, "203.0.113.10:443", named("git.internet.test")},
		{scripted, "203.0.113.20:443", append(named("model.internet.test"), model.Hosts...)},
		{allowed, "203.0.113.30:443", named("allowed.internet.test")},
		{allowed, "203.0.113.30:8443", named("allowed.internet.test")},
		{allowed, "203.0.113.30:80", nil},
		{denied, "203.0.113.40:443", named("denied.internet.test")},
		{denied, "203.0.113.40:80", nil},
		{registry, "203.0.113.50:443", registryHosts},
		{registry, "203.0.113.50:80", nil},
	}, nil
}

// start listens and serves in the background; what breaks later comes on failed.
func (e endpoint) start(ctx context.Context, authority *Authority, failed chan<- error) error {
	server := e.site.Server(nil)
	if len(e.names) > 0 {
		certificate, err := authority.Issue(e.names...)
		if err != nil {
			return err
		}
		server = e.site.Server(&certificate)
	}
	listener, err := net.Listen("tcp4", e.address)
	if err != nil {
		return fmt.Errorf("%s: %w", e.site.Name, err)
	}
	context.AfterFunc(ctx, func() { server.Close() })
	go func() {
		if err := run(server, listener); err != nil {
			failed <- fmt.Errorf("%s: %w", e.site.Name, err)
		}
	}()
	return nil
}
