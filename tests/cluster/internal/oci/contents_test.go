package oci

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// archive writes a tar file with one entry; with an empty name it has none.
func archive(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	writer := tar.NewWriter(file)
	if name != "" {
		if err := writer.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestContents(t *testing.T) {
	for name, c := range map[string]struct {
		entry, content string
		want           Named
		says           string
	}{
		"containerd's name": {
			"index.json", `{"manifests":[{"digest":"sha256:1","annotations":{"io.containerd.image.name":"a.test/b:c","org.opencontainers.image.ref.name":"c"}}]}`,
			Named{"a.test/b:c", "sha256:1"}, "",
		},
		"full reference in OCI's own": {
			"./index.json", `{"manifests":[{"digest":"sha256:2","annotations":{"org.opencontainers.image.ref.name":"d.test/e:f"}}]}`,
			Named{"d.test/e:f", "sha256:2"}, "",
		},
		"only a tag":        {"index.json", `{"manifests":[{"digest":"sha256:3","annotations":{"org.opencontainers.image.ref.name":"dev"}}]}`, Named{}, "full reference"},
		"no index":          {"manifest.json", "[]", Named{}, "not an OCI archive"},
		"empty":             {"", "", Named{}, "not an OCI archive"},
		"index is not JSON": {"index.json", "{", Named{}, "index.json"},
		"no image":          {"index.json", `{"manifests":[]}`, Named{}, "lists no image"},
	} {
		t.Run(name, func(t *testing.T) {
			images, err := Contents(archive(t, c.entry, c.content))
			if c.says == "" {
				if err != nil || len(images) != 1 || images[0] != c.want {
					t.Errorf("got %v, %v, want %v", images, err, c.want)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
		})
	}
	if _, err := Contents(filepath.Join(t.TempDir(), "absent.tar")); err == nil {
		t.Error("no error for a file that does not exist")
	}
}
