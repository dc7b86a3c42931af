package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

func TestRegistryServesWhatWasTakenAndNothingElse(t *testing.T) {
	directory := t.TempDir()
	put := func(path, content string) {
		t.Helper()
		place := filepath.Join(directory, path)
		if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(place, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("registry.npmjs.org/left-pad/@content", `{"name":"left-pad"}`)
	put("registry.npmjs.org/left-pad/@type", "application/json\n")
	put("registry.npmjs.org/left-pad/-/left-pad-1.3.0.tgz/@content", "tar")
	put("registry.npmjs.org/@babel%2fcore/@content", "{}")
	put("secret/@content", "not for you")
	handler := RegistryHandler(filepath.Join(directory))
	for _, c := range []struct {
		method, host, path string
		status             int
		body, kind         string
	}{
		{"GET", "registry.npmjs.org", "/left-pad", 200, `{"name":"left-pad"}`, "application/json"},
		{"GET", "registry.npmjs.org:443", "/left-pad/-/left-pad-1.3.0.tgz", 200, "tar", "application/octet-stream"},
		{"HEAD", "registry.npmjs.org", "/left-pad", 200, "", "application/json"},
		{"GET", "registry.npmjs.org", "/@babel%2fcore", 200, "{}", ""},
		{"GET", "registry.npmjs.org", "/right-pad", 404, "", ""},
		{"GET", "registry.npmjs.org", "/left-pad/-", 404, "", ""},
		{"GET", "registry.npmjs.org", "/../secret", 404, "", ""},
		{"GET", "..", "/secret", 404, "", ""},
		{"PUT", "registry.npmjs.org", "/left-pad", 405, "", ""},
	} {
		request := httptest.NewRequest(c.method, "http://placeholder"+c.path, nil)
		request.Host = c.host
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		body, _ := io.ReadAll(answer.Body)
		if answer.Code != c.status || c.status == http.StatusOK && string(body) != c.body {
			t.Errorf("%s %s %s: %d %q", c.method, c.host, c.path, answer.Code, body)
		}
		if c.kind != "" && answer.Header().Get("Content-Type") != c.kind {
			t.Errorf("%s: %s", c.path, answer.Header().Get("Content-Type"))
		}
	}
}
