package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// HostHandler is a web server with little to say: / tells who answers, /echo returns what it was sent, /slow sends a
// line every 100 ms for ?seconds=N (60 at most, 10 if not given), /whoami tells the digest of each credential that it was
// sent, /indiscreet sends one back in a header, /git/ has the repositories.
func HostHandler(name string, repositories http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/git/", http.StripPrefix("/git", repositories))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "this is %s\n", name) })
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("GET /slow", slow)
	mux.HandleFunc("/whoami", whoami)
	mux.HandleFunc("/indiscreet", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-You-Sent", r.Header.Get("X-Api-Key"))
	})
	return mux
}

// credentialHeaders are those that carry credentials in the tests.
var credentialHeaders = []string{"Authorization", "Cookie", "X-Api-Key"}

// whoami tells which credentials came, by their digests: what is asked is recorded, and no record may hold a credential.
func whoami(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Set-Cookie", "session=of-"+r.URL.Path)
	for _, name := range credentialHeaders {
		for _, value := range r.Header.Values(name) {
			fmt.Fprintf(w, "%s sha256:%x\n", strings.ToLower(name), sha256.Sum256([]byte(value)))
		}
	}
}

// echo returns the body as it comes. Reading while writing has to be allowed explicitly in HTTP/1.
func echo(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	// Not every version of the protocol needs or knows this; then it is allowed already.
	_ = control.EnableFullDuplex()
	w.Header().Set("Content-Type", "application/octet-stream")
	// A copy that ends early is the client's doing.
	_, _ = io.Copy(w, r.Body)
}

func slow(w http.ResponseWriter, r *http.Request) {
	seconds, err := strconv.Atoi(r.URL.Query().Get("seconds"))
	if err != nil || seconds < 1 {
		seconds = 10
	}
	seconds = min(seconds, 60)
	control := http.NewResponseController(w)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for line := range seconds * 10 {
		if _, err := fmt.Fprintf(w, "%d\n", line); err != nil {
			return
		}
		if control.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}
