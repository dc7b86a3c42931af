package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
)

func TestIssuedCertificateVerifiesForWhatItNames(t *testing.T) {
	dir := t.TempDir()
	authority, err := NewAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	subject := Subject{File: "server", User: "someone", Groups: []string{"first", "second"}, Names: []string{"api.test"}, Addresses: []string{"192.0.2.7"}}
	if err := authority.Issue(subject); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	for name, valid := range map[string]bool{"api.test": true, "192.0.2.7": true, "other.test": false, "192.0.2.8": false} {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
		if (err == nil) != valid {
			t.Errorf("verified for %s: %v, want %v", name, err, valid)
		}
	}
	if got := pair.Leaf.Subject; got.CommonName != "someone" || len(got.Organization) != 2 {
		t.Errorf("subject %v", got)
	}
	if info, err := os.Stat(filepath.Join(dir, "server.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key's mode %v, %v", info.Mode(), err)
	}
}

func TestIssueRefusesWhatIsNoAddress(t *testing.T) {
	authority, err := NewAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := authority.Issue(Subject{File: "x", Addresses: []string{"localhost"}}); err == nil {
		t.Error("a name passed for an address")
	}
}

func TestServiceAccountKeyIsAPair(t *testing.T) {
	dir := t.TempDir()
	if err := ServiceAccountKey(dir, "tokens"); err != nil {
		t.Fatal(err)
	}
	decode := func(file string) []byte {
		t.Helper()
		content, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		block, rest := pem.Decode(content)
		if block == nil || len(rest) > 0 {
			t.Fatalf("%s is not one PEM block", file)
		}
		return block.Bytes
	}
	private, err := x509.ParsePKCS1PrivateKey(decode("tokens.key"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.ParsePKIXPublicKey(decode("tokens.pub"))
	if err != nil || !private.PublicKey.Equal(public) {
		t.Errorf("the public key is another's: %v", err)
	}
}
