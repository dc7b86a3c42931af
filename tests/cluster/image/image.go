package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"sort"
	"strings"
	"time"
)

// Image is what an image says about itself.
type Image struct {
	// Reference is the full name with a tag: registry/name:tag.
	Reference, Architecture  string
	User, WorkingDirectory   string
	Entrypoint, Command, Env []string
}

// What the parts of an image are, as the OCI specification names them.
const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

var (
	referencePattern = regexp.MustCompile(`^[a-z0-9.-]+(/[a-z0-9._-]+)+:[A-Za-z0-9_][A-Za-z0-9._-]*$`)
	envPattern       = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)
)

func (i Image) check() error {
	if !referencePattern.MatchString(i.Reference) {
		return fmt.Errorf("--reference %q is not registry/name:tag", i.Reference)
	}
	for _, each := range i.Env {
		if !envPattern.MatchString(each) {
			return fmt.Errorf("--env %q is not NAME=value", each)
		}
	}
	return nil
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *platform         `json:"platform,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	Manifests     []descriptor `json:"manifests"`
}

type config struct {
	platform
	Config runConfig `json:"config"`
	RootFS rootFS    `json:"rootfs"`
}

type runConfig struct {
	User       string   `json:"User,omitempty"`
	Env        []string `json:"Env,omitempty"`
	Entrypoint []string `json:"Entrypoint,omitempty"`
	Cmd        []string `json:"Cmd,omitempty"`
	WorkingDir string   `json:"WorkingDir,omitempty"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// documents makes the image's own JSON documents: its blobs by digest, and the index that names the manifest.
func (i Image) documents(layers []Layer) (blobs map[string][]byte, root []byte, manifestDigest string, err error) {
	// A runtime filters out an image that does not say what machine it is for.
	here := platform{Architecture: i.Architecture, OS: "linux"}
	settings := config{platform: here, RootFS: rootFS{Type: "layers"}, Config: runConfig{
		User: i.User, Env: i.Env, Entrypoint: i.Entrypoint, Cmd: i.Command, WorkingDir: i.WorkingDirectory,
	}}
	list := manifest{SchemaVersion: 2, MediaType: manifestType}
	for _, layer := range layers {
		settings.RootFS.DiffIDs = append(settings.RootFS.DiffIDs, layer.DiffID)
		list.Layers = append(list.Layers, descriptor{MediaType: layerType, Digest: layer.Digest, Size: layer.Size})
	}
	blobs = map[string][]byte{}
	if list.Config, err = store(blobs, configType, settings); err != nil {
		return nil, nil, "", err
	}
	top, err := store(blobs, manifestType, list)
	if err != nil {
		return nil, nil, "", err
	}
	manifestDigest = top.Digest
	top.Platform = &here
	top.Annotations = map[string]string{
		"io.containerd.image.name":          i.Reference,
		"org.opencontainers.image.ref.name": i.Reference[strings.LastIndex(i.Reference, ":")+1:],
	}
	root, err = json.Marshal(index{SchemaVersion: 2, Manifests: []descriptor{top}})
	return blobs, root, manifestDigest, err
}

// store adds a document to the blobs.
func store(blobs map[string][]byte, mediaType string, document any) (descriptor, error) {
	data, err := json.Marshal(document)
	if err != nil {
		return descriptor{}, err
	}
	sum := sha256.New()
	sum.Write(data)
	name := digest(sum)
	blobs[name] = data
	return descriptor{MediaType: mediaType, Digest: name, Size: int64(len(data))}, nil
}

// Write puts the archive where it belongs, whole or not at all, and tells the image's digest and the archive's size.
func (i Image) Write(output string, layers []Layer) (string, int64, error) {
	blobs, root, manifestDigest, err := i.documents(layers)
	if err != nil {
		return "", 0, err
	}
	file, err := os.Create(output + ".new")
	if err != nil {
		return "", 0, err
	}
	size, err := archive(file, blobs, root, layers)
	if err := errors.Join(err, file.Close()); err != nil {
		return "", 0, errors.Join(err, os.Remove(output+".new"))
	}
	return manifestDigest, size, os.Rename(output+".new", output)
}

// archive writes an OCI image layout as a tar archive.
func archive(file *os.File, blobs map[string][]byte, root []byte, layers []Layer) (int64, error) {
	out := tar.NewWriter(file)
	add := func(name string, size int64, content io.Reader) error {
		header := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
		if err := out.WriteHeader(&header); err != nil {
			return err
		}
		_, err := io.Copy(out, content)
		return err
	}
	blob := func(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }
	layout := []byte(`{"imageLayoutVersion":"1.0.0"}`)
	if err := add("oci-layout", int64(len(layout)), bytes.NewReader(layout)); err != nil {
		return 0, err
	}
	if err := add("index.json", int64(len(root)), bytes.NewReader(root)); err != nil {
		return 0, err
	}
	names := make([]string, 0, len(blobs))
	for name := range blobs {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if err := add(blob(name), int64(len(blobs[name])), bytes.NewReader(blobs[name])); err != nil {
			return 0, err
		}
	}
	written := map[string]bool{}
	for _, layer := range layers {
		if written[layer.Digest] {
			continue
		}
		written[layer.Digest] = true
		content, err := os.Open(layer.File)
		if err != nil {
			return 0, err
		}
		if err := errors.Join(add(blob(layer.Digest), layer.Size, content), content.Close()); err != nil {
			return 0, err
		}
	}
	if err := out.Close(); err != nil {
		return 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
