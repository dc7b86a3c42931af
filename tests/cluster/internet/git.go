package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/cgi"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// maxNegotiation is how much a fetch may send: what it has and what it wants.
const maxNegotiation = 64 << 20

// GitHandler serves the bare repositories in a directory over git's smart HTTP protocol, for reading only.
// <name>.git is served as /<name> and as /<name>.git, as real forges do. What is asked for below /redirect/<host>/ has
// moved to the same path of that host; what is asked for below /unavailable/ cannot be served now; below /silent/ a
// repository's references are told, and who asks for its objects hears nothing; what is below /private/<user>/ is there for
// that user alone, with a password that begins with passwordPrefix. Beside each repository are its contents of Git LFS.
func GitHandler(repositories string) (http.Handler, error) {
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		return nil, err
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"),
		Env: []string{
			"GIT_PROJECT_ROOT=" + repositories,
			"GIT_HTTP_EXPORT_ALL=1",
			// Nothing that the machine's user configured may change what a test sees.
			"GIT_CONFIG_NOSYSTEM=1",
			"HOME=" + repositories,
		},
		Stderr: os.Stderr,
	}
	large := largeFiles{repositories}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("service") == "git-receive-pack" || strings.HasSuffix(r.URL.Path, "/git-receive-pack") {
			http.Error(w, "this server takes no uploads", http.StatusForbidden)
			return
		}
		if place, moved := movedTo(r.URL); moved {
			http.Redirect(w, r, place, http.StatusFound)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/unavailable/") {
			http.Error(w, "this server cannot serve that now", http.StatusServiceUnavailable)
			return
		}
		if rest, private := strings.CutPrefix(r.URL.Path, "/private/"); private {
			user, path, _ := strings.Cut(rest, "/")
			if !isUser(r, user) {
				w.Header().Set("WWW-Authenticate", `Basic realm="private"`)
				http.Error(w, "this repository is private", http.StatusUnauthorized)
				return
			}
			r = r.Clone(r.Context())
			r.URL.Path = "/" + path
		}
		if large.serves(r.URL.Path) {
			large.ServeHTTP(w, r)
			return
		}
		whole, err := withLength(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		path, silent := strings.CutPrefix(r.URL.Path, "/silent")
		if silent {
			asksForObjects, err := asksForObjects(whole)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			if asksForObjects {
				<-r.Context().Done()
				return
			}
		}
		whole.URL.Path = repositoryPath(path)
		backend.ServeHTTP(w, whole)
	}), nil
}

// passwordPrefix is how every password begins that opens a private repository; the rest is the test's own.
const passwordPrefix = "e2e-git-"

// isUser says whether a request comes from the user, as HTTP's basic authentication tells.
func isUser(r *http.Request, name string) bool {
	user, password, said := r.BasicAuth()
	return said && user == name && strings.HasPrefix(password, passwordPrefix)
}

// movedTo says where a client should ask instead: /redirect/host/code.git/info/refs?q is https://host/code.git/info/refs?q.
func movedTo(asked *url.URL) (string, bool) {
	place, below := strings.CutPrefix(asked.Path, "/redirect/")
	host, path, whole := strings.Cut(place, "/")
	if !below || !whole {
		return "", false
	}
	there := url.URL{Scheme: "https", Host: host, Path: "/" + path, RawQuery: asked.RawQuery}
	return there.String(), true
}

// repositoryPath adds the .git that the client left out: /demo/info/refs is /demo.git/info/refs.
func repositoryPath(path string) string {
	name, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !strings.HasSuffix(name, ".git") {
		name += ".git"
	}
	return "/" + name + "/" + rest
}

// withLength gives a request whose body's length is known: CGI has no chunked bodies, and git sends long
// negotiations that way.
func withLength(r *http.Request) (*http.Request, error) {
	whole := r.Clone(r.Context())
	if r.ContentLength >= 0 {
		return whole, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxNegotiation))
	if err != nil {
		return nil, err
	}
	whole.Body = io.NopCloser(bytes.NewReader(body))
	whole.ContentLength = int64(len(body))
	whole.TransferEncoding = nil
	return whole, nil
}

// asksForObjects says whether a request is a fetch by the second version of the protocol, and leaves its body as it was.
func asksForObjects(r *http.Request) (bool, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxNegotiation))
	if err != nil {
		return false, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return bytes.Contains(body, []byte("command=fetch")), nil
}
