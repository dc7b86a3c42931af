// Package oci writes small container images as OCI archives, and reads what an archive holds.
package oci

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"runtime"
	"strings"
)

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"

	// nameAnnotation is where containerd looks for the full reference on import.
	nameAnnotation = "io.containerd.image.name"
	// tagAnnotation is OCI's own: a tag, or with some writers the full reference.
	tagAnnotation = "org.opencontainers.image.ref.name"
)

// File is one entry of an image's file system: a link if Link is set, a directory if so said, else a file.
type File struct {
	Path      string
	Mode      int64
	Link      string
	Directory bool
	Content   []byte
}

// Image is a one-layer image.
type Image struct {
	Reference  string
	Files      []File
	Entrypoint []string
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	Manifests     []descriptor `json:"manifests"`
}

// Write makes the archive. The same image gives the same bytes: no time and no owner enters it.
func (i Image) Write(archive string) error {
	layer, err := i.layer()
	if err != nil {
		return err
	}
	// Platform and user are written out: containerd passes over an image that names no platform.
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": i.Entrypoint, "Env": []string{"PATH=/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digestOf(layer)}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": describe(configType, config), "layers": []descriptor{describe(layerType, layer)},
	})
	if err != nil {
		return err
	}
	entry := describe(manifestType, manifest)
	entry.Annotations = map[string]string{nameAnnotation: i.Reference}
	top, err := json.Marshal(index{SchemaVersion: 2, Manifests: []descriptor{entry}})
	if err != nil {
		return err
	}
	files := []File{{Path: "oci-layout", Mode: 0o644, Content: []byte(`{"imageLayoutVersion":"1.0.0"}`)}, {Path: "index.json", Mode: 0o644, Content: top}}
	for _, blob := range [][]byte{config, manifest, layer} {
		name := "blobs/sha256/" + strings.TrimPrefix(digestOf(blob), "sha256:")
		files = append(files, File{Path: name, Mode: 0o644, Content: blob})
	}
	content, err := pack(files)
	if err != nil {
		return err
	}
	return os.WriteFile(archive, content, 0o644)
}

// layer packs the files, each after the directories above it.
func (i Image) layer() ([]byte, error) {
	var all []File
	made := map[string]bool{".": true}
	for _, file := range i.Files {
		all = append(all, missingParents(path.Dir(file.Path), made)...)
		all = append(all, file)
		if file.Directory {
			made[file.Path] = true
		}
	}
	return pack(all)
}

func missingParents(dir string, made map[string]bool) []File {
	if made[dir] {
		return nil
	}
	made[dir] = true
	return append(missingParents(path.Dir(dir), made), File{Path: dir, Mode: 0o755, Directory: true})
}

func pack(files []File) ([]byte, error) {
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	for _, file := range files {
		header := &tar.Header{Name: file.Path, Mode: file.Mode, Typeflag: tar.TypeReg, Size: int64(len(file.Content))}
		switch {
		case file.Link != "":
			header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, file.Link, 0o777
		case file.Directory:
			header.Typeflag = tar.TypeDir
		}
		if err := writer.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("%s: %w", file.Path, err)
		}
		if _, err := writer.Write(file.Content); err != nil {
			return nil, fmt.Errorf("%s: %w", file.Path, err)
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

func describe(mediaType string, content []byte) descriptor {
	return descriptor{MediaType: mediaType, Digest: digestOf(content), Size: len(content)}
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
