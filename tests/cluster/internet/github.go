package main

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

// githubAPI is where a GitHub Enterprise Server has its API.
const githubAPI = "/api/v3"

// githubDescription is what GitHub itself says of the three requests that an App makes (github/README.md).
//
//go:embed github/openapi.json
var githubDescription []byte

// GitHub is the part of a forge that Apps need: installations, their tokens, and repositories that only a token opens.
// Every request is held to GitHub's own description first.
//
// An App is a file of its directory, <id>.json. Every token that was ever made stands in tokens.jsonl there, with what became of
// it, so that a test can look for it.
type GitHub struct {
	directory string
	router    routers.Router
	mutex     sync.Mutex
	tokens    map[string]*githubToken
}

// githubApp is what a test says of an App.
type githubApp struct {
	// PublicKey is in PEM.
	PublicKey string `json:"publicKey"`
	// Installations are those of the App, by owner.
	Installations map[string]githubInstallation `json:"installations"`
}

// githubInstallation is one installation.
type githubInstallation struct {
	ID           int64             `json:"id"`
	Repositories []string          `json:"repositories"`
	Permissions  map[string]string `json:"permissions"`
	Suspended    bool              `json:"suspended"`
}

// githubToken is a token, as its line in tokens.jsonl has it.
type githubToken struct {
	Token        string            `json:"token"`
	App          string            `json:"app"`
	Repositories []string          `json:"repositories"`
	Permissions  map[string]string `json:"permissions"`
	Expires      time.Time         `json:"expires"`
	Revoked      bool              `json:"revoked"`
}

// NewGitHub serves the Apps of a directory.
func NewGitHub(directory string) (*GitHub, error) {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return nil, err
	}
	document, err := openapi3.NewLoader().LoadFromData(githubDescription)
	if err != nil {
		return nil, err
	}
	closed := false
	// A name that GitHub does not know would be a permission that is not asked for.
	document.Components.Schemas["app-permissions"].Value.AdditionalProperties = openapi3.AdditionalProperties{Has: &closed}
	operation := document.Paths.Value("/app/installations/{installation_id}/access_tokens").Post
	operation.RequestBody.Value.Content["application/json"].Schema.Value.AdditionalProperties = openapi3.AdditionalProperties{Has: &closed}
	document.Servers = nil
	router, err := legacy.NewRouter(document)
	if err != nil {
		return nil, err
	}
	return &GitHub{directory: directory, router: router, tokens: map[string]*githubToken{}}, nil
}

// serves says whether a path is one of the API.
func (g *GitHub) serves(path string) bool { return strings.HasPrefix(path, githubAPI+"/") }

// Opens says whether a request has a token that opens a repository for reading.
func (g *GitHub) Opens(r *http.Request, repository string) bool {
	user, password, said := r.BasicAuth()
	g.mutex.Lock()
	defer g.mutex.Unlock()
	token, known := g.tokens[password]
	return said && user == "x-access-token" && known && !token.Revoked && time.Now().Before(token.Expires) &&
		slices.Contains(token.Repositories, repository) && token.Permissions["contents"] != ""
}

func (g *GitHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = r.Clone(r.Context())
	// The description knows neither the host nor where the API begins.
	r.URL = &url.URL{Path: strings.TrimPrefix(r.URL.Path, githubAPI), RawQuery: r.URL.RawQuery}
	route, parameters, err := g.router.FindRoute(r)
	if err == nil {
		err = g.validate(r, route, parameters)
	}
	if err != nil {
		answer(w, http.StatusBadRequest, map[string]any{"message": "not as GitHub describes it: " + err.Error()})
		return
	}
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if route.Operation.OperationID == "apps/revoke-installation-access-token" {
		g.revoke(w, bearer)
		return
	}
	app, id, err := g.appOf(bearer)
	if err != nil {
		answer(w, http.StatusUnauthorized, map[string]any{"message": err.Error()})
		return
	}
	switch route.Operation.OperationID {
	case "apps/get-repo-installation":
		installation, installed := app.Installations[parameters["owner"]]
		if !installed || !slices.Contains(installation.Repositories, parameters["owner"]+"/"+parameters["repo"]) {
			answer(w, http.StatusNotFound, map[string]any{"message": "Not Found"})
			return
		}
		body := map[string]any{"id": installation.ID, "app_id": id, "suspended_at": nil}
		if installation.Suspended {
			body["suspended_at"] = time.Now().UTC().Format(time.RFC3339)
		}
		answer(w, http.StatusOK, body)
	case "apps/create-installation-access-token":
		g.create(w, r, app, id, parameters["installation_id"])
	}
}

// validate holds a request to the description. Who asks is looked at later.
func (g *GitHub) validate(r *http.Request, route *routers.Route, parameters map[string]string) error {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, 1<<20))
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if r.Header.Get("Accept") != "application/vnd.github+json" || r.Header.Get("X-GitHub-Api-Version") != "2022-11-28" || r.UserAgent() == "" {
		return errors.New("Accept, X-GitHub-Api-Version and User-Agent must be given")
	}
	input := &openapi3filter.RequestValidationInput{Request: r, PathParams: parameters, Route: route}
	if err := openapi3filter.ValidateRequest(r.Context(), input); err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// appOf finds who signed a JWT, as strictly as GitHub does.
func (g *GitHub) appOf(jwt string) (*githubApp, string, error) {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return nil, "", errors.New("A JSON web token could not be decoded")
	}
	var claims struct {
		Iat, Exp int64
		Iss      string
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &claims) != nil {
		return nil, "", errors.New("A JSON web token could not be decoded")
	}
	if _, err := strconv.Atoi(claims.Iss); err != nil {
		return nil, "", errors.New("'Issuer' claim ('iss') must be an Integer")
	}
	now := time.Now().Unix()
	if claims.Iat > now || claims.Exp > now+600 || claims.Exp < now {
		return nil, "", errors.New("'Expiration time' claim ('exp') is too far in the future, or 'iat' is in it")
	}
	written, err := os.ReadFile(filepath.Join(g.directory, claims.Iss+".json"))
	if err != nil {
		return nil, "", errors.New("Integration not found")
	}
	var app githubApp
	if err := json.Unmarshal(written, &app); err != nil {
		return nil, "", err
	}
	block, _ := pem.Decode([]byte(app.PublicKey))
	if block == nil {
		return nil, "", errors.New("the App's public key is none")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, "", err
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	public, isRSA := key.(*rsa.PublicKey)
	if err != nil || !isRSA {
		return nil, "", errors.New("A JSON web token could not be decoded")
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], signature) != nil {
		return nil, "", errors.New("A JSON web token could not be decoded")
	}
	return &app, claims.Iss, nil
}

// create makes a token for some repositories of an installation.
func (g *GitHub) create(w http.ResponseWriter, r *http.Request, app *githubApp, id, installationID string) {
	var asked struct {
		Repositories []string          `json:"repositories"`
		Permissions  map[string]string `json:"permissions"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		answer(w, http.StatusBadRequest, map[string]any{"message": "Problems parsing JSON"})
		return
	}
	for owner, installation := range app.Installations {
		if strconv.FormatInt(installation.ID, 10) != installationID {
			continue
		}
		if installation.Suspended {
			answer(w, http.StatusForbidden, map[string]any{"message": "This installation has been suspended"})
			return
		}
		repositories := make([]string, 0, len(asked.Repositories))
		for _, name := range asked.Repositories {
			if !slices.Contains(installation.Repositories, owner+"/"+name) {
				answer(w, http.StatusUnprocessableEntity, map[string]any{
					"message": "There is at least one repository that does not exist or is not accessible to the parent installation.",
				})
				return
			}
			repositories = append(repositories, owner+"/"+name)
		}
		for name, access := range asked.Permissions {
			if granted := installation.Permissions[name]; granted != access && granted != "write" {
				answer(w, http.StatusUnprocessableEntity, map[string]any{
					"message": "The permissions requested are not granted to this installation.",
				})
				return
			}
		}
		g.issue(w, &githubToken{
			App: id, Repositories: repositories, Permissions: asked.Permissions, Expires: time.Now().Add(time.Hour).UTC().Truncate(time.Second),
		})
		return
	}
	answer(w, http.StatusNotFound, map[string]any{"message": "Not Found"})
}

// issue gives a token out.
func (g *GitHub) issue(w http.ResponseWriter, token *githubToken) {
	random := make([]byte, 24)
	if _, err := rand.Read(random); err != nil {
		answer(w, http.StatusInternalServerError, map[string]any{"message": err.Error()})
		return
	}
	token.Token = "ghs_" + hex.EncodeToString(random)
	g.mutex.Lock()
	g.tokens[token.Token] = token
	g.mutex.Unlock()
	if err := g.note(token); err != nil {
		answer(w, http.StatusInternalServerError, map[string]any{"message": err.Error()})
		return
	}
	named := make([]map[string]any, 0, len(token.Repositories))
	for _, repository := range token.Repositories {
		named = append(named, map[string]any{"full_name": repository})
	}
	granted := map[string]string{"metadata": "read"}
	for name, access := range token.Permissions {
		granted[name] = access
	}
	answer(w, http.StatusCreated, map[string]any{
		"token": token.Token, "expires_at": token.Expires.Format(time.RFC3339), "permissions": granted,
		"repository_selection": "selected", "repositories": named,
	})
}

// revoke ends a token.
func (g *GitHub) revoke(w http.ResponseWriter, text string) {
	g.mutex.Lock()
	token, known := g.tokens[text]
	live := known && !token.Revoked
	if live {
		token.Revoked = true
	}
	g.mutex.Unlock()
	if !live {
		answer(w, http.StatusUnauthorized, map[string]any{"message": "Bad credentials"})
		return
	}
	if err := g.note(token); err != nil {
		fmt.Fprintln(os.Stderr, "internet: github:", err)
	}
	w.WriteHeader(http.StatusNoContent)
}

// note writes down what became of a token.
func (g *GitHub) note(token *githubToken) error {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	line, err := json.Marshal(token)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(g.directory, "tokens.jsonl"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n'))
	return errors.Join(err, file.Close())
}

func answer(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that is gone has no use for the rest.
	_ = json.NewEncoder(w).Encode(body)
}

// Around serves the API, and below /installed/ the repositories of the handler inside to those whose token opens them.
func (g *GitHub) Around(repositories http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.serves(r.URL.Path) {
			g.ServeHTTP(w, r)
			return
		}
		if rest, installed := strings.CutPrefix(r.URL.Path, "/installed/"); installed {
			name, _, _ := strings.Cut(rest, "/")
			if !g.Opens(r, "installed/"+strings.TrimSuffix(name, ".git")) {
				w.Header().Set("WWW-Authenticate", `Basic realm="GitHub"`)
				http.Error(w, "this repository is open to a token of its installation", http.StatusUnauthorized)
				return
			}
			r = r.Clone(r.Context())
			r.URL.Path = "/" + rest
		}
		repositories.ServeHTTP(w, r)
	})
}
