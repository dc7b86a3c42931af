package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// lfsType is the media type of the Git LFS API.
const lfsType = "application/vnd.git-lfs+json"

// maxBatch is how much one question to the API may be.
const maxBatch = 1 << 20

// lfsPath is what a repository serves for Git LFS: the API, and contents by their names.
var lfsPath = regexp.MustCompile(`^/([^/]+)\.git/info/lfs/objects/(batch|[0-9a-f]{64})$`)

// lfsName is the name of a content: its SHA-256.
var lfsName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// largeFiles serves contents of Git LFS for the repositories in a directory, for reading only, by the batch API and its
// basic transfer. A bare repository has them where git-lfs itself keeps them, in lfs/objects/ab/cd/abcd…. Each is given
// only to who shows the header that the API told him. Where the file lfs/host names a place, such as
// allowed.internet.test/git, the API says that the contents are there.
type largeFiles struct{ repositories string }

// serves says whether a path is one of Git LFS.
func (l largeFiles) serves(path string) bool { return lfsPath.MatchString(path) }

func (l largeFiles) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	matched := lfsPath.FindStringSubmatch(r.URL.Path)
	if matched == nil {
		http.NotFound(w, r)
		return
	}
	repository, what := filepath.Join(l.repositories, matched[1]+".git"), matched[2]
	switch {
	case what == "batch" && r.Method == http.MethodPost:
		l.batch(w, r, repository, matched[1])
	case what != "batch" && r.Method == http.MethodGet:
		l.content(w, r, repository, what)
	default:
		lfsRefuse(w, http.StatusMethodNotAllowed, "POST asks the API, GET gives a content")
	}
}

type lfsObject struct {
	OID  string `json:"oid"`
	Size int64  `json:"size"`
}

type lfsQuestion struct {
	Operation string      `json:"operation"`
	Transfers []string    `json:"transfers"`
	HashAlgo  string      `json:"hash_algo"`
	Objects   []lfsObject `json:"objects"`
}

type lfsAnswer struct {
	Transfer string        `json:"transfer"`
	HashAlgo string        `json:"hash_algo"`
	Objects  []lfsAnswered `json:"objects"`
}

type lfsAnswered struct {
	lfsObject
	Authenticated bool                 `json:"authenticated,omitempty"`
	Actions       map[string]lfsAction `json:"actions,omitempty"`
	Error         *lfsFailure          `json:"error,omitempty"`
}

type lfsAction struct {
	Href      string            `json:"href"`
	Header    map[string]string `json:"header"`
	ExpiresIn int               `json:"expires_in"`
}

type lfsFailure struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// batch answers where each content is that the client asks for.
func (l largeFiles) batch(w http.ResponseWriter, r *http.Request, repository, name string) {
	var question lfsQuestion
	if !strings.HasPrefix(r.Header.Get("Content-Type"), lfsType) || !strings.HasPrefix(r.Header.Get("Accept"), lfsType) {
		lfsRefuse(w, http.StatusNotAcceptable, "this is an API of "+lfsType)
		return
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBatch)).Decode(&question); err != nil {
		lfsRefuse(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	if question.Operation != "download" {
		lfsRefuse(w, http.StatusForbidden, "this server takes no uploads")
		return
	}
	answer := lfsAnswer{Transfer: "basic", HashAlgo: "sha256", Objects: []lfsAnswered{}}
	for _, asked := range question.Objects {
		answered := lfsAnswered{lfsObject: asked}
		info, err := os.Stat(contentPath(repository, asked.OID))
		switch {
		case !lfsName.MatchString(asked.OID) || errors.Is(err, fs.ErrNotExist):
			answered.Error = &lfsFailure{Code: http.StatusNotFound, Message: "Object does not exist"}
		case err != nil || info.Size() != asked.Size:
			answered.Error = &lfsFailure{Code: http.StatusUnprocessableEntity, Message: "Object has another size"}
		default:
			answered.Authenticated = true
			answered.Actions = map[string]lfsAction{"download": {
				Href:      "https://" + lfsHost(repository, r.Host) + "/" + name + ".git/info/lfs/objects/" + asked.OID,
				Header:    map[string]string{"Authorization": lfsRight(asked.OID)},
				ExpiresIn: 3600,
			}}
		}
		answer.Objects = append(answer.Objects, answered)
	}
	lfsWrite(w, http.StatusOK, answer)
}

// content gives one content to who was told its header.
func (l largeFiles) content(w http.ResponseWriter, r *http.Request, repository, oid string) {
	if r.Header.Get("Authorization") != lfsRight(oid) {
		lfsRefuse(w, http.StatusUnauthorized, "the header that the API told is missing")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeFile(w, r, contentPath(repository, oid))
}

// contentPath is where git-lfs keeps a content in a bare repository.
func contentPath(repository, oid string) string {
	if !lfsName.MatchString(oid) {
		return filepath.Join(repository, "lfs", "objects", "none")
	}
	return filepath.Join(repository, "lfs", "objects", oid[:2], oid[2:4], oid)
}

// lfsHost is the host that has a repository's contents, with the path below which it has repositories.
func lfsHost(repository, asked string) string {
	if told, err := os.ReadFile(filepath.Join(repository, "lfs", "host")); err == nil {
		return strings.TrimSpace(string(told))
	}
	return asked
}

// lfsRight is the header that opens one content. It is no secret here; a client that drops it gets nothing.
func lfsRight(oid string) string {
	digest := sha256.Sum256([]byte("right to " + oid))
	return "RemoteAuth " + hex.EncodeToString(digest[:8])
}

func lfsRefuse(w http.ResponseWriter, status int, message string) {
	lfsWrite(w, status, map[string]string{"message": message})
}

func lfsWrite(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", lfsType)
	w.WriteHeader(status)
	// A client that has gone has seen enough.
	_ = json.NewEncoder(w).Encode(document)
}
