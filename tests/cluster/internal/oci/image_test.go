package oci

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sample() Image {
	return Image{
		Reference: "example.test/shell:one",
		Files: []File{
			{Path: "usr/bin/shell", Mode: 0o755, Content: []byte("program")},
			{Path: "usr/bin/sh", Link: "shell"},
			{Path: "tmp", Mode: 0o1777, Directory: true},
		},
		Entrypoint: []string{"/usr/bin/shell"},
	}
}

func TestWrittenImageIsReadBack(t *testing.T) {
	first, second := filepath.Join(t.TempDir(), "a.tar"), filepath.Join(t.TempDir(), "b.tar")
	for _, archive := range []string{first, second} {
		if err := sample().Write(archive); err != nil {
			t.Fatal(err)
		}
	}
	one, _ := os.ReadFile(first)
	two, _ := os.ReadFile(second)
	if !bytes.Equal(one, two) {
		t.Error("the same image gave different bytes")
	}
	images, err := Contents(first)
	if err != nil {
		t.Fatal(err)
	}
	if len(images) != 1 || images[0].Reference != "example.test/shell:one" || !strings.HasPrefix(images[0].Digest, "sha256:") {
		t.Errorf("read back %v", images)
	}
	other := sample()
	other.Files[0].Content = []byte("another program")
	if err := other.Write(second); err != nil {
		t.Fatal(err)
	}
	if changed, err := Contents(second); err != nil || changed[0].Digest == images[0].Digest {
		t.Errorf("another content has the same digest: %v %v", changed, err)
	}
}

func TestLayerHasEveryParentOnceAndFirst(t *testing.T) {
	layer, err := sample().layer()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for reader := tar.NewReader(bytes.NewReader(layer)); ; {
		header, err := reader.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
	if got, want := strings.Join(names, " "), "usr usr/bin usr/bin/shell usr/bin/sh tmp"; got != want {
		t.Errorf("entries %q, want %q", got, want)
	}
}

func TestContentsRefusesOtherArchives(t *testing.T) {
	for name, c := range map[string]struct {
		files []File
		says  string
	}{
		"no index":     {[]File{{Path: "manifest.json", Content: []byte("[]")}}, "not an OCI archive"},
		"not JSON":     {[]File{{Path: "index.json", Content: []byte("{")}}, "index.json"},
		"no image":     {[]File{{Path: "index.json", Content: []byte(`{"manifests":[]}`)}}, "lists no image"},
		"only a tag":   {[]File{{Path: "index.json", Content: []byte(`{"manifests":[{"digest":"sha256:1","annotations":{"org.opencontainers.image.ref.name":"dev"}}]}`)}}, "full reference"},
		"not anything": {nil, "not an OCI archive"},
	} {
		t.Run(name, func(t *testing.T) {
			content, err := pack(c.files)
			if err != nil {
				t.Fatal(err)
			}
			archive := filepath.Join(t.TempDir(), "x.tar")
			if err := os.WriteFile(archive, content, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := Contents(archive); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
		})
	}
	full, err := pack([]File{{Path: "./index.json", Content: []byte(`{"manifests":[{"digest":"sha256:1","annotations":{"org.opencontainers.image.ref.name":"a.test/b:c"}}]}`)}})
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "full.tar")
	if err := os.WriteFile(archive, full, 0o644); err != nil {
		t.Fatal(err)
	}
	if images, err := Contents(archive); err != nil || images[0].Reference != "a.test/b:c" {
		t.Errorf("got %v, %v", images, err)
	}
}
