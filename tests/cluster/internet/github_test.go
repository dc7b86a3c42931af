package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newApp gives a forge with one App, and what signs for it.
func newApp(t *testing.T) (*GitHub, func(back, ahead int64) string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	app, err := json.Marshal(githubApp{
		PublicKey: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
		Installations: map[string]githubInstallation{
			"installed": {ID: 11, Repositories: []string{"installed/one", "installed/two"}, Permissions: map[string]string{"contents": "read"}},
			"suspended": {ID: 12, Repositories: []string{"suspended/one"}, Suspended: true},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, "7.json"), app, 0o600); err != nil {
		t.Fatal(err)
	}
	github, err := NewGitHub(directory)
	if err != nil {
		t.Fatal(err)
	}
	return github, func(back, ahead int64) string {
		now := time.Now().Unix()
		claims := fmt.Sprintf(`{"iat":%d,"exp":%d,"iss":"7"}`, now-back, now+ahead)
		text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
		sum := sha256.Sum256([]byte(text))
		signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return text + "." + base64.RawURLEncoding.EncodeToString(signature)
	}
}

// askGitHub sends one request and gives the status and the body.
func askGitHub(handler http.Handler, method, path, bearer, body string) (int, map[string]any) {
	request := httptest.NewRequest(method, "https://git.internet.test"+path, strings.NewReader(body))
	request.Header.Set("Authorization", "Bearer "+bearer)
	request.Header.Set("Accept", "application/vnd.github+json")
	request.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	request.Header.Set("User-Agent", "test")
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	var decoded map[string]any
	_ = json.Unmarshal(recorder.Body.Bytes(), &decoded)
	return recorder.Code, decoded
}

func TestGitHubIsAsStrictAsItsDescription(t *testing.T) {
	github, sign := newApp(t)
	good := sign(60, 540)
	const tokens = "/api/v3/app/installations/11/access_tokens"
	for _, each := range []struct {
		method, path, bearer, body string
		status                     int
	}{
		{"GET", "/api/v3/repos/installed/one/installation", good, "", 200},
		{"GET", "/api/v3/repos/installed/three/installation", good, "", 404},
		{"GET", "/api/v3/repos/nobody/one/installation", good, "", 404},
		{"GET", "/api/v3/repos/installed/one", good, "", 400},
		{"GET", "/api/v3/repos/installed/one/installation", sign(60, 700), "", 401},
		{"GET", "/api/v3/repos/installed/one/installation", sign(-60, 540), "", 401},
		{"GET", "/api/v3/repos/installed/one/installation", good + "x", "", 401},
		{"POST", tokens, good, `{"repositories":["one"],"permissions":{"contents":"read"}}`, 201},
		{"POST", tokens, good, `{"repositories":["three"],"permissions":{"contents":"read"}}`, 422},
		{"POST", tokens, good, `{"repositories":["one"],"permissions":{"contents":"write"}}`, 422},
		{"POST", tokens, good, `{"repositories":["one"],"permissions":{"contents":"all"}}`, 400},
		{"POST", tokens, good, `{"repositories":["one"],"permissions":{"content":"read"}}`, 400},
		{"POST", tokens, good, `{"repositories":"one"}`, 400},
		{"POST", tokens, good, `{"repos":["one"]}`, 400},
		{"POST", "/api/v3/app/installations/12/access_tokens", good, `{"repositories":["one"]}`, 403},
		{"POST", "/api/v3/app/installations/13/access_tokens", good, `{"repositories":["one"]}`, 404},
	} {
		if status, body := askGitHub(github, each.method, each.path, each.bearer, each.body); status != each.status {
			t.Errorf("%s %s %s: %d %v, want %d", each.method, each.path, each.body, status, body, each.status)
		}
	}
}

func TestAGitHubTokenOpensItsRepositoriesUntilItIsRevoked(t *testing.T) {
	github, sign := newApp(t)
	around := github.Around(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	_, body := askGitHub(around, "POST", "/api/v3/app/installations/11/access_tokens", sign(60, 540), `{"repositories":["one"],"permissions":{"contents":"read"}}`)
	token, _ := body["token"].(string)
	opens := func(name string) int {
		request := httptest.NewRequest("GET", "https://git.internet.test/installed/"+name+".git/info/refs", nil)
		request.SetBasicAuth("x-access-token", token)
		recorder := httptest.NewRecorder()
		around.ServeHTTP(recorder, request)
		return recorder.Code
	}
	if opens("one") != 200 || opens("two") != 401 {
		t.Errorf("one %d, two %d", opens("one"), opens("two"))
	}
	for _, want := range []int{204, 401} {
		if status, _ := askGitHub(around, "DELETE", "/api/v3/installation/token", token, ""); status != want {
			t.Errorf("revoked with %d, want %d", status, want)
		}
	}
	if opens("one") != 401 {
		t.Error("a revoked token opens its repository")
	}
	lines, err := os.ReadFile(filepath.Join(github.directory, "tokens.jsonl"))
	if err != nil || strings.Count(string(lines), token) != 2 {
		t.Errorf("%s, %v", lines, err)
	}
}
