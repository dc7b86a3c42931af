package main

import (
	"bytes"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
)

func TestAuthorityIsMadeOnce(t *testing.T) {
	directory := t.TempDir()
	first, err := OpenAuthority(directory)
	if err != nil {
		t.Fatal(err)
	}
	second, err := OpenAuthority(directory)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := second.Issue("one.internet.test")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: first.Pool(), DNSName: "one.internet.test"}); err != nil {
		t.Errorf("what the second signed, the first does not trust: %v", err)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: first.Pool(), DNSName: "two.internet.test"}); err == nil {
		t.Error("the certificate holds for another name")
	}
	info, err := os.Stat(directory + "/ca-key.pem")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info.Mode(), err)
	}
}

func TestAuthorityRefusesBrokenFiles(t *testing.T) {
	directory := t.TempDir()
	if err := os.WriteFile(directory+"/ca.pem", []byte("not a certificate"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAuthority(directory); err == nil {
		t.Error("accepted")
	}
}

func TestRepositoryPath(t *testing.T) {
	for path, want := range map[string]string{
		"/demo/info/refs":           "/demo.git/info/refs",
		"/demo.git/info/refs":       "/demo.git/info/refs",
		"/demo/git-upload-pack":     "/demo.git/git-upload-pack",
		"/other-name.git/HEAD":      "/other-name.git/HEAD",
		"/x/objects/ab/cdef":        "/x.git/objects/ab/cdef",
		"/deep/er/than/a/name.git/": "/deep.git/er/than/a/name.git/",
	} {
		if got := repositoryPath(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestMovedTo(t *testing.T) {
	for asked, want := range map[string]string{
		"/redirect/git.internet.test/demo.git/info/refs?service=x": "https://git.internet.test/demo.git/info/refs?service=x",
		"/redirect/allowed.internet.test/git/demo/HEAD":            "https://allowed.internet.test/git/demo/HEAD",
		"/redirect/git.internet.test":                              "",
		"/demo/redirect/git.internet.test/demo":                    "",
	} {
		url, err := url.Parse("https://git.internet.test" + asked)
		if err != nil {
			t.Fatal(err)
		}
		if got, moved := movedTo(url); got != want || moved != (want != "") {
			t.Errorf("%s: %q, want %q", asked, got, want)
		}
	}
}

func TestEchoRequest(t *testing.T) {
	packet := append([]byte{
		0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 192, 0, 2, 7, // IPv4 header
		8, 0, 0, 0, 0, 0, 0, 0, // ICMP header of an echo request
	}, "five5"...)
	address, payload, ok := echoRequest(packet)
	if !ok || address.String() != "192.0.2.7" || payload != 5 {
		t.Errorf("%v %d %v", address, payload, ok)
	}
	for length := range 28 {
		if _, _, ok := echoRequest(packet[:length]); ok {
			t.Errorf("%d bytes passed for a request", length)
		}
	}
	packet[20] = 0 // an answer
	if _, _, ok := echoRequest(packet); ok {
		t.Error("an answer passed for a request")
	}
}

func TestRulesNameWhatIsServed(t *testing.T) {
	script := rules([]string{"203.0.113.10:443", "203.0.113.30:80"})
	if !strings.Contains(script, "elements = { 203.0.113.10 . 443, 203.0.113.30 . 80 }") {
		t.Error(script)
	}
}

func TestUnreadBodiesAreCounted(t *testing.T) {
	var record bytes.Buffer
	site := Site{Name: "one", Record: &Record{out: &record}, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
	})}
	server := httptest.NewUnstartedServer(nil)
	server.Config = site.Server(nil)
	server.Start()
	response, err := http.Post(server.URL+"/some/where?x=1", "text/plain", strings.NewReader("seventeen bytes.."))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	server.Close()
	for _, want := range []string{`"server":"one"`, `"method":"POST"`, `"path":"/some/where?x=1"`, `"bytes":17`, `"status":418`} {
		if !strings.Contains(record.String(), want) {
			t.Errorf("%s has no %s", record.String(), want)
		}
	}
}
