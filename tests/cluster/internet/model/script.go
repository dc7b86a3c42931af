// Package model is a model server whose answers are written in advance: OpenAI's chat completions and
// responses, Anthropic's messages and Gemini's generateContent, streamed and not, with the requests held to what those APIs publish.
package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"
)

// Script is one conversation, written in advance.
type Script struct {
	// Examples is how many turns of the assistant a client makes up before it asks: some show the model what they want by a
	// conversation that never was.
	Examples int `json:"examples,omitempty"`
	// Turns are the assistant's, in order.
	Turns []Turn `json:"turns"`
}

// Turn is what the assistant says at one point of the conversation.
type Turn struct {
	// Expect lists texts that must stand in what the assistant was told since its last turn. A turn whose
	// expectation is not met is answered with an error, so that a script cannot succeed without the work done.
	Expect []string `json:"expect,omitempty"`
	// DelayMilliseconds is the time before the first byte of the answer.
	DelayMilliseconds int `json:"delayMilliseconds,omitempty"`
	// Text is said before the tools are called; may be empty.
	Text string `json:"text,omitempty"`
	// Tools are called at the end of the turn; a turn without any ends the assistant's work.
	Tools []ToolCall `json:"tools,omitempty"`
}

// ToolCall is one tool that the assistant asks for.
type ToolCall struct {
	Name      string         `json:"name"`
	Arguments map[string]any `json:"arguments"`
}

// Delay is how long the model thinks before it answers.
func (t Turn) Delay() time.Duration { return time.Duration(t.DelayMilliseconds) * time.Millisecond }

// modelName is what a request may name: it becomes a file's name.
var modelName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,99}$`)

// errNoModel says that no script has this name.
var errNoModel = errors.New("no such model")

// Library is the directory with the scripts: <model>.json each. It is read anew for every request, so that a test can
// add a script to a running server.
type Library struct{ Directory string }

// Script reads the script of a model.
func (l Library) Script(model string) (Script, error) {
	if !modelName.MatchString(model) || strings.Contains(model, "..") {
		return Script{}, errNoModel
	}
	data, err := os.ReadFile(filepath.Join(l.Directory, model+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return Script{}, errNoModel
	}
	if err != nil {
		return Script{}, err
	}
	return ParseScript(data)
}

// ParseScript reads a script strictly: an unknown field is a mistake in it.
func ParseScript(data []byte) (Script, error) {
	var script Script
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&script); err != nil {
		return Script{}, fmt.Errorf("script: %w", err)
	}
	for index, turn := range script.Turns {
		if turn.Text == "" && len(turn.Tools) == 0 {
			return Script{}, fmt.Errorf("script: turn %d says nothing and calls nothing", index)
		}
		for _, call := range turn.Tools {
			if call.Name == "" || call.Arguments == nil {
				return Script{}, fmt.Errorf("script: turn %d calls a tool without name or arguments", index)
			}
		}
	}
	return script, nil
}

// Models lists the names of all scripts in order.
func (l Library) Models() ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(l.Directory, "*.json"))
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(paths))
	for _, path := range paths {
		if name := strings.TrimSuffix(filepath.Base(path), ".json"); modelName.MatchString(name) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names, nil
}

// conversation is what either API's request says about where the conversation stands.
type conversation struct {
	// turns is the number of the assistant's turns so far.
	turns int
	// heard is all text that came since the last of them.
	heard string
	// tools are the names of the tools that the request offers.
	tools map[string]bool
	// characters is the length of the whole request, of which token counts are made.
	characters int
}

// next chooses the turn that answers a conversation. The error is meant for the client: it is a mistake in the script
// or in what the client did with it.
func (s Script) next(c conversation) (Turn, error) {
	at := c.turns - s.Examples
	if at < 0 {
		return Turn{}, fmt.Errorf("the script comes after %d made-up turn(s) and the conversation has %d", s.Examples, c.turns)
	}
	if at >= len(s.Turns) {
		return Turn{}, fmt.Errorf("the script has %d turn(s) and the conversation already has as many", len(s.Turns))
	}
	turn := s.Turns[at]
	for _, text := range turn.Expect {
		if !strings.Contains(c.heard, text) {
			return Turn{}, fmt.Errorf("turn %d of the script expects to be told %q, and was not", at, text)
		}
	}
	for _, call := range turn.Tools {
		if !c.tools[call.Name] {
			return Turn{}, fmt.Errorf("turn %d of the script calls the tool %q, which the request does not offer", at, call.Name)
		}
	}
	return turn, nil
}

// tokens stands in for a tokenizer: four characters to the token, which is about right for English and is the same
// on every run.
func tokens(characters int) int { return (characters + 3) / 4 }

// outputTokens is what a turn costs.
func (t Turn) outputTokens() int {
	characters := len(t.Text)
	for _, call := range t.Tools {
		characters += len(call.Name) + len(call.arguments())
	}
	return tokens(characters)
}

// arguments is the call's JSON. It was decoded from JSON, so that encoding it cannot fail.
func (c ToolCall) arguments() string {
	data, err := json.Marshal(c.Arguments)
	if err != nil {
		return "{}"
	}
	return string(data)
}

// pieces cuts a text as a stream would bring it: a few characters each, never within a character.
func pieces(text string) []string {
	const size = 24
	var all []string
	runes := []rune(text)
	for len(runes) > size {
		all = append(all, string(runes[:size]))
		runes = runes[size:]
	}
	if len(runes) > 0 {
		all = append(all, string(runes))
	}
	return all
}
