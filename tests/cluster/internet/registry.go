package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// registryHosts are the registries of packages that presets name, and that have a double here.
var registryHosts = []string{
	"pypi.org", "files.pythonhosted.org", "registry.npmjs.org", "index.crates.io", "static.crates.io",
	"proxy.golang.org", "sum.golang.org", "repo.maven.apache.org", "deb.debian.org", "security.debian.org",
}

// leaf is the name of a file's contents below a directory of the file's own name: a registry may have both /simple/six
// and what is below it.
const leaf = "@content"

// RegistryHandler serves what was taken from registries: for <host>/<path> the file <directory>/<host>/<path>/@content, byte
// for byte, with the type in <path>/@type beside it. Whatever is not there is answered as the registries do, with 404.
func RegistryHandler(directory string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "this registry is read only", http.StatusMethodNotAllowed)
			return
		}
		host, _, _ := strings.Cut(r.Host, ":")
		place := filepath.Join(directory, host, filepath.FromSlash(r.URL.EscapedPath()))
		// Join has resolved whatever dots there were: what is left must be below the host's own directory.
		if !strings.HasPrefix(place, filepath.Join(directory, host)) || host == "" || strings.ContainsAny(host, "/\\") || strings.HasPrefix(host, ".") {
			http.NotFound(w, r)
			return
		}
		file, err := os.Open(filepath.Join(place, leaf))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer file.Close()
		if kind, err := os.ReadFile(filepath.Join(place, "@type")); err == nil && len(kind) > 0 {
			w.Header().Set("Content-Type", strings.TrimSpace(string(kind)))
		} else {
			w.Header().Set("Content-Type", "application/octet-stream")
		}
		info, err := file.Stat()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		http.ServeContent(w, r, "", info.ModTime(), io.NewSectionReader(file, 0, info.Size()))
	})
}
