package kyverno

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sigstore/cosign/v3/pkg/oci/mutate"
	ociremote "github.com/sigstore/cosign/v3/pkg/oci/remote"
	"github.com/sigstore/cosign/v3/pkg/oci/static"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/payload"
)

// shelf is a registry on a loopback address that lives as long as its test.
type shelf struct{ address string }

func newShelf(t *testing.T) shelf {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return shelf{address: strings.TrimPrefix(server.URL, "http://")}
}

// push puts a small image there, of which there is no second, under the tag v1; gives its reference by digest.
func (s shelf) push(t *testing.T, repository string) name.Digest {
	t.Helper()
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(s.address + "/" + repository + ":v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image); err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return tag.Digest(digest.String())
}

// signer has a key pair as `cosign generate-key-pair` makes it.
type signer struct {
	signer    signature.Signer
	publicKey string
}

func newSigner(t *testing.T) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made, err := signature.LoadECDSASigner(key, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	publicKey, err := cryptoutils.MarshalPublicKeyToPEM(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return signer{signer: made, publicKey: string(publicKey)}
}

// sign puts beside an image what `cosign sign --key` would, made by cosign's own library.
func (s signer) sign(t *testing.T, image name.Digest) {
	t.Helper()
	s.signAs(t, image, image)
}

// signAs puts a signature of one image beside another.
func (s signer) signAs(t *testing.T, signed, beside name.Digest) {
	t.Helper()
	claim, err := json.Marshal(payload.Cosign{Image: signed})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.signer.SignMessage(bytes.NewReader(claim))
	if err != nil {
		t.Fatal(err)
	}
	made, err := static.NewSignature(claim, base64.StdEncoding.EncodeToString(raw))
	if err != nil {
		t.Fatal(err)
	}
	entity, err := ociremote.SignedEntity(beside)
	if err != nil {
		t.Fatal(err)
	}
	entity, err = mutate.AttachSignatureToEntity(entity, made)
	if err != nil {
		t.Fatal(err)
	}
	if err := ociremote.WriteSignatures(beside.Repository, entity); err != nil {
		t.Fatal(err)
	}
}
