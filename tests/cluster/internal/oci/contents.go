// Package oci reads what an OCI archive holds.
package oci

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

const (
	// nameAnnotation is where containerd looks for the full reference on import.
	nameAnnotation = "io.containerd.image.name"
	// tagAnnotation is OCI's own: a tag, or with some writers the full reference.
	tagAnnotation = "org.opencontainers.image.ref.name"
)

// index is the part of an image index that is read.
type index struct {
	Manifests []struct {
		Digest      string            `json:"digest"`
		Annotations map[string]string `json:"annotations"`
	} `json:"manifests"`
}

// Named is an image in an archive: its reference and the digest under which containerd will know it.
type Named struct {
	Reference string
	Digest    string
}

// maxIndex bounds what is read of an index.json, in bytes.
const maxIndex = 1 << 20

// Contents lists the images in an OCI archive, from its index alone.
func Contents(archive string) ([]Named, error) {
	file, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	for reader := tar.NewReader(file); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s has no index.json: not an OCI archive", archive)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", archive, err)
		}
		if path.Clean(header.Name) == "index.json" {
			return readIndex(archive, io.LimitReader(reader, maxIndex))
		}
	}
}

func readIndex(archive string, reader io.Reader) ([]Named, error) {
	var top index
	if err := json.NewDecoder(reader).Decode(&top); err != nil {
		return nil, fmt.Errorf("%s: index.json: %w", archive, err)
	}
	var images []Named
	for _, manifest := range top.Manifests {
		reference := manifest.Annotations[nameAnnotation]
		if tag := manifest.Annotations[tagAnnotation]; reference == "" && strings.Contains(tag, "/") {
			reference = tag
		}
		if reference == "" {
			return nil, fmt.Errorf("%s: manifest %s has no annotation %s with its full reference", archive, manifest.Digest, nameAnnotation)
		}
		images = append(images, Named{Reference: reference, Digest: manifest.Digest})
	}
	if len(images) == 0 {
		return nil, fmt.Errorf("%s: index.json lists no image", archive)
	}
	return images, nil
}
