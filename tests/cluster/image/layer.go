package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

// Layer is a packed layer: a compressed archive in a file of its own.
type Layer struct {
	// File is where it is.
	File string
	// Digest and Size are those of the compressed bytes; DiffID is the digest of what was compressed.
	Digest, DiffID string
	Size           int64
}

// pack writes the entries to a file in scratch.
func (e entries) pack(scratch string) (layer Layer, err error) {
	file, err := os.CreateTemp(scratch, "layer-")
	if err != nil {
		return Layer{}, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	packed, plain := sha256.New(), sha256.New()
	compressor := gzip.NewWriter(io.MultiWriter(file, packed))
	archive := tar.NewWriter(io.MultiWriter(compressor, plain))
	for _, each := range e.sorted() {
		if err := each.write(archive); err != nil {
			return Layer{}, fmt.Errorf("%s: %w", each.header.Name, err)
		}
	}
	if err := errors.Join(archive.Close(), compressor.Close()); err != nil {
		return Layer{}, err
	}
	info, err := file.Stat()
	if err != nil {
		return Layer{}, err
	}
	return Layer{File: file.Name(), Digest: digest(packed), DiffID: digest(plain), Size: info.Size()}, nil
}

func (e entry) write(archive *tar.Writer) error {
	if err := archive.WriteHeader(&e.header); err != nil {
		return err
	}
	if e.header.Typeflag != tar.TypeReg || e.header.Size == 0 {
		return nil
	}
	content, err := e.open()
	if err != nil {
		return err
	}
	_, err = io.Copy(archive, content)
	return errors.Join(err, content.Close())
}

// digest writes a hash as OCI does.
func digest(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }
