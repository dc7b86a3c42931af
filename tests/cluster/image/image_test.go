package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// tree makes a directory with one thing of every kind, made at the given time.
func tree(t *testing.T, when time.Time) string {
	t.Helper()
	root := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(root, "usr/bin"), 0o755))
	must(os.WriteFile(filepath.Join(root, "usr/bin/zebra"), []byte("stripes"), 0o755))
	must(os.WriteFile(filepath.Join(root, "usr/alpha"), []byte("first"), 0o640))
	must(os.Chmod(filepath.Join(root, "usr/alpha"), 0o640))
	must(os.Symlink("zebra", filepath.Join(root, "usr/bin/horse")))
	must(os.Chtimes(filepath.Join(root, "usr/alpha"), when, when))
	return root
}

// packedImage builds an image and gives the archive's bytes.
func packedImage(t *testing.T, layers ...string) []byte {
	t.Helper()
	output := filepath.Join(t.TempDir(), "image.tar")
	image := Image{
		Reference: "cofferdam.test/one:dev", Architecture: "amd64", User: "65532:65532",
		Entrypoint: []string{"/zebra"}, Env: []string{"PATH=/usr/bin"}, WorkingDirectory: "/usr",
	}
	if err := build(image, output, layers); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// untar reads an archive into names and contents, in their order.
func untar(t *testing.T, data []byte) (names []string, contents map[string]string, headers map[string]*tar.Header) {
	t.Helper()
	contents, headers = map[string]string{}, map[string]*tar.Header{}
	archive := tar.NewReader(bytes.NewReader(data))
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return names, contents, headers
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
		contents[header.Name], headers[header.Name] = string(content), header
	}
}

// firstLayer follows the index to the manifest to the first layer, and unpacks it.
func firstLayer(t *testing.T, data []byte) (config map[string]any, layer []byte, reference string) {
	t.Helper()
	_, files, _ := untar(t, data)
	blob := func(digest string) []byte { return []byte(files["blobs/"+strings.Replace(digest, ":", "/", 1)]) }
	var top index
	var list manifest
	if err := json.Unmarshal([]byte(files["index.json"]), &top); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(blob(top.Manifests[0].Digest), &list); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(blob(list.Config.Digest), &config); err != nil {
		t.Fatal(err)
	}
	plain, err := gzip.NewReader(bytes.NewReader(blob(list.Layers[0].Digest)))
	if err != nil {
		t.Fatal(err)
	}
	layer, err = io.ReadAll(plain)
	if err != nil {
		t.Fatal(err)
	}
	return config, layer, top.Manifests[0].Annotations["io.containerd.image.name"]
}

func TestSameContentSameBytes(t *testing.T) {
	first := packedImage(t, "dir:"+tree(t, time.Unix(1000, 0)))
	second := packedImage(t, "dir:"+tree(t, time.Unix(2_000_000, 0)))
	if !bytes.Equal(first, second) {
		t.Error("two builds differ")
	}
	other := tree(t, time.Unix(1000, 0))
	if err := os.WriteFile(filepath.Join(other, "usr/alpha"), []byte("other"), 0o640); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(first, packedImage(t, "dir:"+other)) {
		t.Error("another content gives the same bytes")
	}
}

func TestWhatIsInIt(t *testing.T) {
	config, layer, reference := firstLayer(t, packedImage(t, "dir:"+tree(t, time.Unix(1000, 0))))
	if config["os"] != "linux" || config["architecture"] != "amd64" || reference != "cofferdam.test/one:dev" {
		t.Errorf("%v %s", config, reference)
	}
	names, contents, headers := untar(t, layer)
	if want := []string{"usr/", "usr/alpha", "usr/bin/", "usr/bin/horse", "usr/bin/zebra"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	if contents["usr/bin/zebra"] != "stripes" || headers["usr/bin/horse"].Linkname != "zebra" || headers["usr/alpha"].Mode != 0o640 {
		t.Errorf("%v", headers)
	}
	for name, header := range headers {
		if !header.ModTime.Equal(time.Unix(0, 0)) || header.Uname != "" || header.Gname != "" {
			t.Errorf("%s: %v %q", name, header.ModTime, header.Uname)
		}
	}
}

func TestTarLayers(t *testing.T) {
	source := filepath.Join(t.TempDir(), "root.tar")
	var packed bytes.Buffer
	archive := tar.NewWriter(&packed)
	for _, header := range []tar.Header{
		{Typeflag: tar.TypeReg, Name: "./opt/zulu", Size: 4, Mode: 0o4755, Uid: 7, Uname: "somebody"},
		{Typeflag: tar.TypeLink, Name: "./opt/able", Linkname: "./opt/zulu"},
		{Typeflag: tar.TypeChar, Name: "./dev/null", Devmajor: 1, Devminor: 3},
		{Typeflag: tar.TypeFifo, Name: "./run/pipe"},
	} {
		if err := archive.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if header.Size > 0 {
			if _, err := archive.Write([]byte("zulu")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(source, packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	_, layer, _ := firstLayer(t, packedImage(t, "tar:"+source))
	names, contents, headers := untar(t, layer)
	// The hard link comes after its target although its name sorts before; no device and no pipe.
	if want := []string{"opt/", "opt/zulu", "opt/able"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	if contents["opt/zulu"] != "zulu" || headers["opt/zulu"].Uid != 7 || headers["opt/zulu"].Uname != "" || headers["opt/able"].Linkname != "opt/zulu" {
		t.Errorf("%v", headers)
	}
}

func TestRefusals(t *testing.T) {
	root := tree(t, time.Unix(1000, 0))
	if err := os.WriteFile(filepath.Join(root, "usr/.wh.alpha"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	good := Image{Reference: "cofferdam.test/one:dev", Architecture: "amd64"}
	for name, c := range map[string]struct {
		image Image
		layer string
		want  string
	}{
		"whiteout":       {good, "dir:" + root, "would delete"},
		"no kind":        {good, "/etc", "a layer is"},
		"no such file":   {good, "file:/does/not/exist:/x:0755", "no such file"},
		"bad mode":       {good, "file:/etc/hostname:/x:rwx", "mode"},
		"not a file":     {good, "file:/etc:/x:0755", "not a regular file"},
		"no tag":         {Image{Reference: "cofferdam.test/one"}, "dir:" + root, "--reference"},
		"bad env":        {Image{Reference: "cofferdam.test/one:dev", Env: []string{"=x"}}, "dir:" + root, "--env"},
		"two parts only": {good, "file:/etc/hostname:/x", "SOURCE:PATH:MODE"},
	} {
		output := filepath.Join(t.TempDir(), "image.tar")
		if err := build(c.image, output, []string{c.layer}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(output); err == nil {
			t.Errorf("%s: an archive was left", name)
		}
	}
}
