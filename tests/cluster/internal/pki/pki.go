// Package pki makes the certificates and keys of one cluster. All of them live and die with its state directory.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const validity = 365 * 24 * time.Hour

// Subject is whom a certificate names: Kubernetes reads the user's name and groups from it.
type Subject struct {
	// File is the base name of <file>.crt and <file>.key.
	File   string
	User   string
	Groups []string
	// Names and Addresses are set on servers.
	Names     []string
	Addresses []string
}

// Authority signs.
type Authority struct {
	dir         string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority makes a certificate authority and writes it to dir as ca.crt and ca.key.
func NewAuthority(dir string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "cofferdam-test-cluster"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	authority := &Authority{dir: dir, certificate: template, key: key}
	der, err := authority.sign(template, key)
	if err != nil {
		return nil, err
	}
	if authority.certificate, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return authority, write(dir, "ca", der, key)
}

// OpenAuthority reads the certificate authority that NewAuthority wrote to dir.
func OpenAuthority(dir string) (*Authority, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"))
	if err != nil {
		return nil, fmt.Errorf("read the certificate authority: %w", err)
	}
	key, matches := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !matches {
		return nil, fmt.Errorf("%s is not of an ECDSA key", filepath.Join(dir, "ca.key"))
	}
	return &Authority{dir: dir, certificate: pair.Leaf, key: key}, nil
}

// Issue makes a certificate for the subject, good for servers and clients, and writes it with its key.
func (a *Authority) Issue(subject Subject) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: subject.User, Organization: subject.Groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    subject.Names,
	}
	for _, address := range subject.Addresses {
		parsed := net.ParseIP(address)
		if parsed == nil {
			return fmt.Errorf("certificate %s: %q is no address", subject.File, address)
		}
		template.IPAddresses = append(template.IPAddresses, parsed)
	}
	der, err := a.sign(template, key)
	if err != nil {
		return fmt.Errorf("certificate %s: %w", subject.File, err)
	}
	return write(a.dir, subject.File, der, key)
}

func (a *Authority) sign(template *x509.Certificate, key *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	// An hour back, should the machine's clock be set back while the cluster runs.
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = template.NotBefore.Add(validity)
	return x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
}

// ServiceAccountKey makes the pair with which ServiceAccount tokens are signed: <file>.key and <file>.pub. It is an
// RSA key, as in most clusters: what reads the tokens meets here what it will meet there.
func ServiceAccountKey(dir, file string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	private := x509.MarshalPKCS1PrivateKey(key)
	if err := writePEM(filepath.Join(dir, file+".key"), "RSA PRIVATE KEY", private, 0o600); err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, file+".pub"), "PUBLIC KEY", public, 0o644)
}

func write(dir, file string, der []byte, key *ecdsa.PrivateKey) error {
	if err := writePEM(filepath.Join(dir, file+".crt"), "CERTIFICATE", der, 0o644); err != nil {
		return err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, file+".key"), "EC PRIVATE KEY", private, 0o600)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
