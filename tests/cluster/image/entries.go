package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// entry is one thing in a layer. Its content is read when the layer is packed.
type entry struct {
	header tar.Header
	open   func() (io.ReadCloser, error)
}

// entries are a layer's, by path.
type entries map[string]entry

// read takes one layer as it is given on the command line.
func read(argument string) (entries, error) {
	kind, rest, _ := strings.Cut(argument, ":")
	switch kind {
	case "tar":
		return readTar(rest)
	case "dir":
		return readDirectory(rest)
	case "file":
		return readFile(rest)
	default:
		return nil, errors.New("a layer is tar:FILE, dir:PATH or file:SOURCE:PATH:MODE")
	}
}

// add puts in an entry under a clean name, with all that would differ from one build to the next taken away.
func (e entries) add(header tar.Header, open func() (io.ReadCloser, error)) error {
	name := strings.TrimPrefix(path.Clean("/"+header.Name), "/")
	if name == "" {
		return nil
	}
	if strings.HasPrefix(path.Base(name), ".wh.") {
		return fmt.Errorf("%s would delete a file of a lower layer", name)
	}
	clean := tar.Header{
		Typeflag: header.Typeflag, Name: name, Mode: header.Mode & 0o7777,
		Uid: header.Uid, Gid: header.Gid, ModTime: time.Unix(0, 0), Format: tar.FormatPAX,
	}
	switch header.Typeflag {
	case tar.TypeReg:
		clean.Size = header.Size
	case tar.TypeDir:
		clean.Name += "/"
	case tar.TypeSymlink:
		clean.Linkname, clean.Mode = header.Linkname, 0o777
	case tar.TypeLink:
		clean.Linkname = strings.TrimPrefix(path.Clean("/"+header.Linkname), "/")
	default:
		// Devices, sockets and pipes are made by the runtime where a container needs them.
		return nil
	}
	e[name] = entry{header: clean, open: open}
	return nil
}

// sorted gives the entries in the order of their paths, hard links last, so that what they point to is there, and
// with every parent directory.
func (e entries) sorted() []entry {
	for name := range e {
		for parent := path.Dir(name); parent != "."; parent = path.Dir(parent) {
			if _, present := e[parent]; !present {
				e[parent] = entry{header: tar.Header{
					Typeflag: tar.TypeDir, Name: parent + "/", Mode: 0o755, ModTime: time.Unix(0, 0), Format: tar.FormatPAX,
				}}
			}
		}
	}
	all := make([]entry, 0, len(e))
	for _, each := range e {
		all = append(all, each)
	}
	sort.Slice(all, func(a, b int) bool {
		linkA, linkB := all[a].header.Typeflag == tar.TypeLink, all[b].header.Typeflag == tar.TypeLink
		if linkA != linkB {
			return linkB
		}
		return all[a].header.Name < all[b].header.Name
	})
	return all
}

// readTar takes the entries of an uncompressed archive. Their content stays in it until the layer is packed.
func readTar(name string) (entries, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	found := entries{}
	archive := tar.NewReader(file)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		// The reader takes nothing beyond the header before it is asked to: this is where the content begins.
		start, err := file.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		size := header.Size
		if err := found.add(*header, func() (io.ReadCloser, error) { return section(name, start, size) }); err != nil {
			return nil, err
		}
	}
}

// section opens a part of a file.
func section(name string, start, size int64) (io.ReadCloser, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(file, start, size), file}, nil
}

// readDirectory takes what is below a directory.
func readDirectory(root string) (entries, error) {
	found := entries{}
	err := filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		return found.addFile(name, below)
	})
	return found, err
}

// addFile takes one thing of the file system, itself and not what it may point to.
func (e entries) addFile(source, name string) error {
	info, err := os.Lstat(source)
	if err != nil {
		return err
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(source); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	header.Name = name
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		header.Uid, header.Gid = int(owner.Uid), int(owner.Gid)
	}
	return e.add(*header, func() (io.ReadCloser, error) { return os.Open(source) })
}

// readFile takes one file, owned by root: SOURCE:PATH:MODE.
func readFile(argument string) (entries, error) {
	parts := strings.Split(argument, ":")
	if len(parts) != 3 {
		return nil, errors.New("a file is SOURCE:PATH:MODE")
	}
	mode, err := strconv.ParseInt(parts[2], 8, 32)
	if err != nil {
		return nil, fmt.Errorf("mode: %w", err)
	}
	info, err := os.Stat(parts[0])
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	found := entries{}
	header := tar.Header{Typeflag: tar.TypeReg, Name: parts[1], Mode: mode, Size: info.Size()}
	return found, found.add(header, func() (io.ReadCloser, error) { return os.Open(parts[0]) })
}
