package model

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// responses serves POST /v1/responses.
func (l Library) responses(w http.ResponseWriter, r *http.Request) {
	const invalid = "invalid_request_error"
	if key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); !ok || key == "" {
		openAIError(w, http.StatusUnauthorized, invalid, "", "", "You didn't provide an API key in an Authorization header using Bearer auth.")
		return
	}
	document, size, err := readJSON(r)
	if err != nil {
		openAIError(w, http.StatusBadRequest, invalid, "", "", "We could not parse the JSON body of your request: "+err.Error())
		return
	}
	if problem := responsesRequest(nil, document); problem != nil {
		code, param, message := openAIProblem(*problem)
		openAIError(w, http.StatusBadRequest, invalid, code, param, message)
		return
	}
	request := object(document)
	for _, kept := range []string{"previous_response_id", "conversation", "prompt"} {
		if request[kept] != nil {
			openAIError(w, http.StatusNotFound, invalid, kept+"_not_found", kept, "This server keeps nothing that '"+kept+"' could name.")
			return
		}
	}
	name := str(request["model"])
	script, err := l.Script(name)
	if errors.Is(err, errNoModel) {
		openAIError(w, http.StatusNotFound, invalid, "model_not_found", "", fmt.Sprintf("The model `%s` does not exist or you do not have access to it.", name))
		return
	}
	if err != nil {
		openAIError(w, http.StatusInternalServerError, "server_error", "", "", err.Error())
		return
	}
	where := responsesConversation(request, size)
	turn, err := script.next(where)
	if err != nil {
		openAIError(w, http.StatusBadRequest, invalid, "", "input", err.Error())
		return
	}
	if !think(r, turn.Delay()) {
		return
	}
	reply := responsesReply{
		id: identifier("resp_"), created: time.Now().Unix(), request: request, turn: turn, input: tokens(where.characters), offers: offers(request),
	}
	if yes(request["stream"]) {
		reply.stream(w)
		return
	}
	answer(w, http.StatusOK, reply.whole("completed", reply.output()))
}

// responsesConversation reads where the conversation stands: what the assistant said and called one after the other is one turn
// of it.
func responsesConversation(request map[string]any, size int) conversation {
	c := conversation{tools: map[string]bool{}, characters: size}
	for name := range offers(request) {
		c.tools[name] = true
	}
	c.heard = text(request["instructions"]) + text(request["input"])
	if _, single := request["input"].(string); single {
		return c
	}
	c.heard = ""
	speaking := false
	for _, element := range list(request["input"]) {
		item := object(element)
		switch kind := str(item["type"]); {
		case kind == "reasoning", kind == "function_call", kind == "custom_tool_call", str(item["role"]) == "assistant":
			if !speaking {
				c.turns++
			}
			speaking = true
			c.heard = ""
		default:
			speaking = false
			c.heard += text(item["content"]) + text(item["output"])
		}
	}
	return c
}

// offered is how a request offers a tool: as one that takes a text and not JSON, or in a namespace.
type offered struct {
	custom    bool
	namespace string
}

// offers are the tools of a request by their names.
func offers(request map[string]any) map[string]offered {
	all := map[string]offered{}
	add := func(tools any, namespace string) {
		for _, element := range list(tools) {
			tool := object(element)
			all[str(tool["name"])] = offered{custom: str(tool["type"]) == "custom", namespace: namespace}
		}
	}
	lists := []any{request["tools"]}
	for _, item := range list(request["input"]) {
		if str(object(item)["type"]) == "additional_tools" {
			lists = append(lists, object(item)["tools"])
		}
	}
	for _, tools := range lists {
		add(tools, "")
		for _, element := range list(tools) {
			if tool := object(element); str(tool["type"]) == "namespace" {
				add(tool["tools"], str(tool["name"]))
			}
		}
	}
	return all
}

// responsesReply is one answer in the terms of OpenAI's responses.
type responsesReply struct {
	id      string
	created int64
	request map[string]any
	turn    Turn
	input   int
	offers  map[string]offered
}

// output is what the assistant says and calls, whole.
func (p responsesReply) output() []any {
	var items []any
	if p.turn.Text != "" {
		items = append(items, responsesSpoken(identifier("msg_"), "completed", []any{responsesText(p.turn.Text)}))
	}
	for _, call := range p.turn.Tools {
		items = append(items, p.call(call))
	}
	return items
}

func responsesSpoken(id, status string, content []any) map[string]any {
	return map[string]any{"id": id, "type": "message", "role": "assistant", "status": status, "content": content}
}

func responsesText(said string) map[string]any {
	return map[string]any{"type": "output_text", "text": said, "annotations": []any{}, "logprobs": []any{}}
}

// call is an item that calls a tool; a custom tool takes the argument `input` as it is.
func (p responsesReply) call(call ToolCall) map[string]any {
	how := p.offers[call.Name]
	item := map[string]any{"call_id": identifier("call_"), "name": call.Name}
	if how.custom {
		item["id"], item["type"], item["input"] = identifier("ctc_"), "custom_tool_call", str(call.Arguments["input"])
	} else {
		item["id"], item["type"], item["arguments"] = identifier("fc_"), "function_call", call.arguments()
		item["status"] = "completed"
	}
	if how.namespace != "" {
		item["namespace"] = how.namespace
	}
	return item
}

// whole is the response as one document; without an end it has no usage yet.
func (p responsesReply) whole(status string, output []any) map[string]any {
	var usage any
	if status == "completed" {
		spent := p.turn.outputTokens()
		usage = map[string]any{
			"input_tokens": p.input, "input_tokens_details": map[string]any{"cached_tokens": 0, "cache_write_tokens": 0},
			"output_tokens": spent, "output_tokens_details": map[string]any{"reasoning_tokens": 0}, "total_tokens": p.input + spent,
		}
	}
	or := func(name string, otherwise any) any {
		if value := p.request[name]; value != nil {
			return value
		}
		return otherwise
	}
	return map[string]any{
		"id": p.id, "object": "response", "created_at": p.created, "status": status, "background": false, "error": nil, "incomplete_details": nil,
		"instructions": or("instructions", nil), "max_output_tokens": or("max_output_tokens", nil), "model": p.request["model"], "output": output,
		"parallel_tool_calls": or("parallel_tool_calls", true), "previous_response_id": nil, "reasoning": map[string]any{"effort": nil, "summary": nil},
		"service_tier": "default", "temperature": or("temperature", 1), "text": or("text", map[string]any{"format": map[string]any{"type": "text"}}),
		"tool_choice": or("tool_choice", "auto"), "tools": or("tools", []any{}), "top_p": or("top_p", 1), "truncation": "disabled", "usage": usage,
		"metadata": or("metadata", map[string]any{}),
	}
}

// stream sends the response as its events: made, each item opened, filled and closed, completed.
func (p responsesReply) stream(w http.ResponseWriter) {
	out := newEvents(w)
	sequence := 0
	event := func(kind string, fields map[string]any) {
		fields["type"] = kind
		fields["sequence_number"] = sequence
		sequence++
		out.named(kind, fields)
	}
	event("response.created", map[string]any{"response": p.whole("in_progress", []any{})})
	event("response.in_progress", map[string]any{"response": p.whole("in_progress", []any{})})
	output := p.output()
	for index, item := range output {
		done := object(item)
		at := func(more map[string]any) map[string]any {
			fields := map[string]any{"item_id": done["id"], "output_index": index}
			for name, value := range more {
				fields[name] = value
			}
			return fields
		}
		opened := func(field string, empty any) map[string]any {
			started := map[string]any{}
			for name, value := range done {
				started[name] = value
			}
			started[field] = empty
			if _, told := done["status"]; told {
				started["status"] = "in_progress"
			}
			return map[string]any{"output_index": index, "item": started}
		}
		filled := func(kind, field, whole string) {
			for _, piece := range pieces(whole) {
				event(kind+".delta", at(map[string]any{"delta": piece}))
			}
			event(kind+".done", at(map[string]any{field: whole}))
		}
		switch done["type"] {
		case "message":
			event("response.output_item.added", opened("content", []any{}))
			event("response.content_part.added", at(map[string]any{"content_index": 0, "part": responsesText("")}))
			for _, piece := range pieces(p.turn.Text) {
				event("response.output_text.delta", at(map[string]any{"content_index": 0, "delta": piece, "logprobs": []any{}}))
			}
			event("response.output_text.done", at(map[string]any{"content_index": 0, "text": p.turn.Text, "logprobs": []any{}}))
			event("response.content_part.done", at(map[string]any{"content_index": 0, "part": responsesText(p.turn.Text)}))
		case "function_call":
			event("response.output_item.added", opened("arguments", ""))
			filled("response.function_call_arguments", "arguments", str(done["arguments"]))
		case "custom_tool_call":
			event("response.output_item.added", opened("input", ""))
			filled("response.custom_tool_call_input", "input", str(done["input"]))
		}
		event("response.output_item.done", map[string]any{"output_index": index, "item": done})
	}
	event("response.completed", map[string]any{"response": p.whole("completed", output)})
}
