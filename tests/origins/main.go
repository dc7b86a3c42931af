// A server of Go's standard library that says which requests it sees: `origin ADDRESS FILE`.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
)

func main() {
	seen, err := os.OpenFile(os.Args[2], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	var one sync.Mutex
	handler := func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		one.Lock()
		defer one.Unlock()
		fmt.Fprintf(seen, "%s %s\n", r.Method, r.RequestURI)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
	}
	log.Fatal(http.ListenAndServe(os.Args[1], http.HandlerFunc(handler)))
}
