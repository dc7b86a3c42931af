package model

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"cofferdam.dev/tests/cluster/internet/schema"
)

// anthropicError answers in the shape of Anthropic's errors.
func anthropicError(w http.ResponseWriter, status int, kind, message string) {
	id := identifier("req_")
	w.Header().Set("request-id", id)
	answer(w, status, map[string]any{
		"type": "error", "request_id": id, "error": map[string]any{"type": kind, "message": message},
	})
}

// anthropicHeaders refuses a request without the headers that the API requires; false if it did.
func anthropicHeaders(w http.ResponseWriter, r *http.Request) bool {
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if r.Header.Get("x-api-key") == "" && (!ok || bearer == "") {
		anthropicError(w, http.StatusUnauthorized, "authentication_error", "x-api-key header is required")
		return false
	}
	version := r.Header.Get("anthropic-version")
	if _, known := messagesRequest(version, nil); !known {
		anthropicError(w, http.StatusBadRequest, "invalid_request_error", fmt.Sprintf("anthropic-version: header is required and %q is no version", version))
		return false
	}
	if name, unknown := unknownBeta(asked(r)); unknown {
		anthropicError(w, http.StatusBadRequest, "invalid_request_error", fmt.Sprintf("Unexpected value(s) `%s` for the `anthropic-beta` header. Please consult our documentation at docs.claude.com or try again without the header.", name))
		return false
	}
	return true
}

// messageOf reads the body of a message, held to its version and betas; false if it was answered with an error.
func messageOf(w http.ResponseWriter, r *http.Request, without ...string) (map[string]any, int, bool) {
	const invalid = "invalid_request_error"
	if !anthropicHeaders(w, r) {
		return nil, 0, false
	}
	document, size, err := readJSON(r)
	if err != nil {
		anthropicError(w, http.StatusBadRequest, invalid, "The request body is not valid JSON: "+err.Error())
		return nil, 0, false
	}
	check, _ := messagesRequest(r.Header.Get("anthropic-version"), asked(r), without...)
	if problem := check(nil, document); problem != nil {
		anthropicError(w, http.StatusBadRequest, invalid, anthropicProblem(*problem))
		return nil, 0, false
	}
	return object(document), size, true
}

// countTokens serves POST /v1/messages/count_tokens.
func (l Library) countTokens(w http.ResponseWriter, r *http.Request) {
	_, size, ok := messageOf(w, r, "max_tokens", "metadata", "stop_sequences", "stream", "service_tier", "temperature", "top_k", "top_p")
	if ok {
		answer(w, http.StatusOK, map[string]any{"input_tokens": tokens(size)})
	}
}

// messages serves POST /v1/messages.
func (l Library) messages(w http.ResponseWriter, r *http.Request) {
	const invalid = "invalid_request_error"
	request, size, ok := messageOf(w, r)
	if !ok {
		return
	}
	name := str(request["model"])
	script, err := l.Script(name)
	if errors.Is(err, errNoModel) {
		anthropicError(w, http.StatusNotFound, "not_found_error", "model: "+name)
		return
	}
	if err != nil {
		anthropicError(w, http.StatusInternalServerError, "api_error", err.Error())
		return
	}
	where := claudeConversation(request, size)
	turn, err := script.next(where)
	if err != nil {
		anthropicError(w, http.StatusBadRequest, invalid, "messages: "+err.Error())
		return
	}
	if !think(r, turn.Delay()) {
		return
	}
	w.Header().Set("request-id", identifier("req_"))
	reply := claudeReply{id: identifier("msg_"), model: name, turn: turn, input: tokens(where.characters)}
	if yes(request["stream"]) {
		reply.stream(w)
		return
	}
	answer(w, http.StatusOK, reply.whole())
}

// anthropicProblem words a problem as Anthropic does: places are written messages.0.content.
func anthropicProblem(problem schema.Problem) string {
	place := strings.Join(problem.Path, ".")
	switch problem.Kind {
	case schema.Missing:
		return place + ": Field required"
	case schema.Unknown:
		return place + ": Extra inputs are not permitted"
	default:
		return place + ": Input should be " + problem.Want
	}
}

// claudeConversation reads where the conversation stands.
func claudeConversation(request map[string]any, size int) conversation {
	c := conversation{tools: map[string]bool{}, characters: size}
	for _, element := range list(request["messages"]) {
		message := object(element)
		if str(message["role"]) == "assistant" {
			c.turns++
			c.heard = ""
			continue
		}
		c.heard += text(message["content"])
	}
	for _, element := range list(request["tools"]) {
		c.tools[str(object(element)["name"])] = true
	}
	return c
}

// claudeReply is one answer of the assistant in Anthropic's terms.
type claudeReply struct {
	id    string
	model string
	turn  Turn
	input int
}

func (c claudeReply) stop() string {
	if len(c.turn.Tools) > 0 {
		return "tool_use"
	}
	return "end_turn"
}

// usage is the answer's cost, output tokens so far given.
func (c claudeReply) usage(output int) map[string]any {
	return map[string]any{
		"input_tokens": c.input, "output_tokens": output,
		"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
		"cache_creation": map[string]any{"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
		"service_tier":   "standard",
	}
}

// message is the envelope of an answer.
func (c claudeReply) message(content []any, stop any, output int) map[string]any {
	return map[string]any{
		"id": c.id, "type": "message", "role": "assistant", "model": c.model, "content": content,
		"stop_reason": stop, "stop_sequence": nil, "usage": c.usage(output),
	}
}

// whole is the answer as one document.
func (c claudeReply) whole() map[string]any {
	content := []any{}
	if c.turn.Text != "" {
		content = append(content, map[string]any{"type": "text", "text": c.turn.Text})
	}
	for _, call := range c.turn.Tools {
		content = append(content, map[string]any{
			"type": "tool_use", "id": identifier("toolu_"), "name": call.Name, "input": call.Arguments,
		})
	}
	return c.message(content, c.stop(), c.turn.outputTokens())
}

// stream sends the answer as Anthropic's event stream: the empty message, each block opened, filled and closed, the
// reason of the end with the cumulative output, the end.
func (c claudeReply) stream(w http.ResponseWriter) {
	out := newEvents(w)
	event := func(kind string, fields map[string]any) {
		fields["type"] = kind
		out.named(kind, fields)
	}
	index := 0
	block := func(start map[string]any, deltas []map[string]any) {
		event("content_block_start", map[string]any{"index": index, "content_block": start})
		for _, delta := range deltas {
			event("content_block_delta", map[string]any{"index": index, "delta": delta})
		}
		event("content_block_stop", map[string]any{"index": index})
		index++
	}

	event("message_start", map[string]any{"message": c.message([]any{}, nil, 1)})
	event("ping", map[string]any{})
	if c.turn.Text != "" {
		block(map[string]any{"type": "text", "text": ""}, deltas("text_delta", "text", c.turn.Text))
	}
	for _, call := range c.turn.Tools {
		start := map[string]any{"type": "tool_use", "id": identifier("toolu_"), "name": call.Name, "input": map[string]any{}}
		block(start, deltas("input_json_delta", "partial_json", call.arguments()))
	}
	event("message_delta", map[string]any{
		"delta": map[string]any{"stop_reason": c.stop(), "stop_sequence": nil},
		"usage": map[string]any{"output_tokens": c.turn.outputTokens()},
	})
	event("message_stop", map[string]any{})
}

// deltas cuts a text into the pieces of one block.
func deltas(kind, field, text string) []map[string]any {
	var all []map[string]any
	for _, piece := range pieces(text) {
		all = append(all, map[string]any{"type": kind, field: piece})
	}
	return all
}
