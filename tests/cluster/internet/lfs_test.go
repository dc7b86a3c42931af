package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// lfsWorld is a directory of repositories with one content.
func lfsWorld(t *testing.T) (repositories, oid string, server *httptest.Server) {
	t.Helper()
	repositories = t.TempDir()
	oid = strings.Repeat("ab", 32)
	path := contentPath(filepath.Join(repositories, "one.git"), oid)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("content\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	handler, err := GitHandler(repositories)
	if err != nil {
		t.Fatal(err)
	}
	server = httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return repositories, oid, server
}

func ask(t *testing.T, server *httptest.Server, question string) (int, string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, server.URL+"/one.git/info/lfs/objects/batch", strings.NewReader(question))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", lfsType+"; charset=utf-8")
	request.Header.Set("Accept", lfsType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestContentsOfGitLFS(t *testing.T) {
	repositories, oid, server := lfsWorld(t)
	other := strings.Repeat("cd", 32)
	status, body := ask(t, server, `{"operation":"download","transfers":["basic"],"objects":[{"oid":"`+oid+`","size":8},{"oid":"`+other+`","size":8},{"oid":"`+oid+`","size":9},{"oid":"../x","size":1}]}`)
	var answer lfsAnswer
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK || len(answer.Objects) != 4 {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	for at, code := range []int{0, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusNotFound} {
		if failure := answer.Objects[at].Error; (failure == nil) != (code == 0) || failure != nil && failure.Code != code {
			t.Errorf("object %d: %+v, want %d", at, failure, code)
		}
	}
	download := answer.Objects[0].Actions["download"]
	if want := "https://" + strings.TrimPrefix(server.URL, "http://") + "/one.git/info/lfs/objects/" + oid; download.Href != want {
		t.Errorf("%s, want %s", download.Href, want)
	}
	for _, right := range []string{"", "RemoteAuth 00", download.Header["Authorization"]} {
		request, err := http.NewRequest(http.MethodGet, strings.Replace(download.Href, "https://", "http://", 1), nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", right)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(response.Body)
		response.Body.Close()
		given := response.StatusCode == http.StatusOK && string(content) == "content\n"
		if given != (right == download.Header["Authorization"]) || err != nil {
			t.Errorf("%q: %d %q %v", right, response.StatusCode, content, err)
		}
	}
	if err := os.WriteFile(filepath.Join(repositories, "one.git/lfs/host"), []byte("elsewhere.test/git\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, body := ask(t, server, `{"operation":"download","objects":[{"oid":"`+oid+`","size":8}]}`); !strings.Contains(body, "https://elsewhere.test/git/one.git/info/lfs/objects/"+oid) {
		t.Error(body)
	}
	for question, want := range map[string]int{`{"operation":"upload"}`: http.StatusForbidden, `no JSON`: http.StatusUnprocessableEntity} {
		if status, body := ask(t, server, question); status != want {
			t.Errorf("%s: %d %s", question, status, body)
		}
	}
}
