package model

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// keyPrefix is how every key begins that the keyed paths take; the rest is the test's own.
const keyPrefix = "sk-demo-"

// Hosts are the names under which the APIs are known outside. Whoever calls the server by one of them needs a key.
var Hosts = []string{"api.anthropic.com", "api.openai.com", "generativelanguage.googleapis.com"}

// Handler serves the APIs, each under its published paths, and below /keyed to those alone who have a key.
func (l Library) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", l.chatCompletions)
	mux.HandleFunc("POST /v1/responses", l.responses)
	mux.HandleFunc("POST /v1/models/{call}", l.gemini)
	mux.HandleFunc("POST /v1beta/models/{call}", l.gemini)
	mux.HandleFunc("POST /v1/messages", l.messages)
	mux.HandleFunc("POST /v1/messages/count_tokens", l.countTokens)
	mux.HandleFunc("GET /v1/models", l.models)
	mux.Handle("/keyed/", http.StripPrefix("/keyed", keyed(mux)))
	mux.HandleFunc("/", notFound)
	behindKey := keyed(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slices.Contains(Hosts, r.Host) {
			behindKey.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// keyed lets requests with a key pass; a placeholder is none.
func keyed(served http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		given := []string{bearer, r.Header.Get("x-api-key"), r.Header.Get("x-goog-api-key")}
		if !slices.ContainsFunc(given, func(key string) bool { return strings.HasPrefix(key, keyPrefix) }) {
			switch {
			case r.Header.Get("anthropic-version") != "":
				anthropicError(w, http.StatusUnauthorized, "authentication_error", "invalid x-api-key")
				return
			case speaksGemini(r):
				geminiError(w, http.StatusBadRequest, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")
				return
			}
			openAIError(w, http.StatusUnauthorized, "invalid_request_error", "invalid_api_key", "", "Incorrect API key provided.")
			return
		}
		served.ServeHTTP(w, r)
	})
}

// models serves GET /v1/models, a path that both APIs have; Anthropic's clients always send its version header.
func (l Library) models(w http.ResponseWriter, r *http.Request) {
	names, err := l.Models()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	started := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	entries := make([]any, 0, len(names))
	if r.Header.Get("anthropic-version") == "" {
		for _, name := range names {
			entries = append(entries, map[string]any{"id": name, "object": "model", "created": started.Unix(), "owned_by": "cofferdam"})
		}
		answer(w, http.StatusOK, map[string]any{"object": "list", "data": entries})
		return
	}
	if !anthropicHeaders(w, r) {
		return
	}
	for _, name := range names {
		entries = append(entries, map[string]any{
			"id": name, "type": "model", "display_name": name, "created_at": started.Format(time.RFC3339), "lifecycle": "active",
		})
	}
	first, last := "", ""
	if len(names) > 0 {
		first, last = names[0], names[len(names)-1]
	}
	answer(w, http.StatusOK, map[string]any{"data": entries, "has_more": false, "first_id": orNull(first), "last_id": orNull(last)})
}

// speaksGemini tells Google's API by its version, or by what it puts behind a model's name.
func speaksGemini(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, "/v1beta/") || strings.HasPrefix(r.URL.Path, "/v1/models/") && strings.Contains(r.URL.Path, ":")
}

// notFound answers a path or method that the APIs do not have, in the shape of the API that the client speaks.
func notFound(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("anthropic-version") != "" || strings.HasPrefix(r.URL.Path, "/v1/messages") {
		anthropicError(w, http.StatusNotFound, "not_found_error", "Not found")
		return
	}
	if speaksGemini(r) {
		geminiError(w, http.StatusNotFound, "NOT_FOUND", "This server has no "+r.Method+" "+r.URL.Path+".")
		return
	}
	openAIError(w, http.StatusNotFound, "invalid_request_error", "unknown_url", "", "Unknown request URL: "+r.Method+" "+r.URL.Path+".")
}
