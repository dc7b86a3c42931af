package model

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// stream sends the answer as server-sent events: a chunk with the role, chunks with the text and the tools' arguments
// in pieces, one with the reason of the end, one with the usage if asked for, and the closing mark.
func (c chatReply) stream(w http.ResponseWriter, usage bool) {
	out := newEvents(w)
	chunk := func(choices []any, spent any) {
		document := map[string]any{
			"id": c.id, "object": "chat.completion.chunk", "created": c.created, "model": c.model,
			"choices": choices, "service_tier": "default", "system_fingerprint": "fp_scripted",
		}
		// With include_usage every chunk has the field, null in all but the last; without, none has it.
		if usage {
			document["usage"] = spent
		}
		out.data(document)
	}
	delta := func(fields map[string]any, finish any) {
		chunk([]any{map[string]any{"index": 0, "delta": fields, "logprobs": nil, "finish_reason": finish}}, nil)
	}

	delta(map[string]any{"role": "assistant", "content": "", "refusal": nil}, nil)
	for _, piece := range pieces(c.turn.Text) {
		delta(map[string]any{"content": piece}, nil)
	}
	for index, call := range c.turn.Tools {
		delta(map[string]any{"tool_calls": []any{map[string]any{
			"index": index, "id": identifier("call_"), "type": "function",
			"function": map[string]any{"name": call.Name, "arguments": ""},
		}}}, nil)
		for _, piece := range pieces(call.arguments()) {
			delta(map[string]any{"tool_calls": []any{map[string]any{
				"index": index, "function": map[string]any{"arguments": piece},
			}}}, nil)
		}
	}
	delta(map[string]any{}, c.finish())
	if usage {
		chunk([]any{}, c.usage())
	}
	out.raw("data: [DONE]\n\n")
}

// events writes server-sent events, each flushed at once.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func newEvents(w http.ResponseWriter) events {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	return events{w: w, control: http.NewResponseController(w)}
}

// raw sends bytes as they are. A client that went away is noticed by the server through its request's context; the
// rest of the (short) answer is then written into the void.
func (e events) raw(text string) {
	_, _ = fmt.Fprint(e.w, text)
	_ = e.control.Flush()
}

// data sends an event without a name.
func (e events) data(document any) { e.raw("data: " + encode(document) + "\n\n") }

// named sends an event with a name.
func (e events) named(name string, document any) {
	e.raw("event: " + name + "\ndata: " + encode(document) + "\n\n")
}

// encode writes a document made of maps, lists, strings and numbers, which cannot fail.
func encode(document any) string {
	data, err := json.Marshal(document)
	if err != nil {
		return "null"
	}
	return string(data)
}
