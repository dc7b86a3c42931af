package model

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"
)

// maxRequest is how much a request may hold: both APIs refuse more than 32 MB.
const maxRequest = 32 << 20

// readJSON reads a request's body as one JSON document, with numbers kept as they were written.
func readJSON(r *http.Request) (any, int, error) {
	data, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	if err != nil {
		return nil, 0, err
	}
	if len(data) > maxRequest {
		return nil, 0, errors.New("the request is too large")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var document any
	if err := decoder.Decode(&document); err != nil {
		return nil, 0, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, 0, errors.New("there is more than one JSON document")
	}
	return document, len(data), nil
}

// answer writes a JSON document.
func answer(w http.ResponseWriter, status int, document any) {
	data, err := json.Marshal(document)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The client may be gone; nothing can be done about that here.
	_, _ = w.Write(data)
}

// identifier makes a name that no other answer has.
func identifier(prefix string) string {
	var random [12]byte
	// crypto/rand does not fail on Linux; Go ends the program if it should.
	_, _ = rand.Read(random[:])
	return prefix + hex.EncodeToString(random[:])
}

// think waits as long as the turn says; false if the client went away meanwhile.
func think(r *http.Request, delay time.Duration) bool {
	select {
	case <-time.After(delay):
		return true
	case <-r.Context().Done():
		return false
	}
}

// text collects all strings of a message's content, which is a string or a list of blocks.
func text(content any) string {
	switch value := content.(type) {
	case string:
		return value + "\n"
	case []any:
		all := ""
		for _, element := range value {
			all += text(element)
		}
		return all
	case map[string]any:
		return text(value["text"]) + text(value["content"])
	default:
		return ""
	}
}

// list and object read a place of a document that was already checked; anything else there counts as empty.
func list(value any) []any {
	elements, _ := value.([]any)
	return elements
}

func object(value any) map[string]any {
	fields, _ := value.(map[string]any)
	return fields
}

func str(value any) string {
	s, _ := value.(string)
	return s
}

func yes(value any) bool {
	b, _ := value.(bool)
	return b
}
