package model

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"cofferdam.dev/tests/cluster/internet/schema"
)

// openAIError answers in the shape of OpenAI's errors; param and code may be empty, which the API writes as null.
func openAIError(w http.ResponseWriter, status int, kind, code, param, message string) {
	answer(w, status, map[string]any{"error": map[string]any{
		"message": message, "type": kind, "param": orNull(param), "code": orNull(code),
	}})
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// chatCompletions serves POST /v1/chat/completions.
func (l Library) chatCompletions(w http.ResponseWriter, r *http.Request) {
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
	if problem := chatRequest(nil, document); problem != nil {
		code, param, message := openAIProblem(*problem)
		openAIError(w, http.StatusBadRequest, invalid, code, param, message)
		return
	}
	request := object(document)
	if !yes(request["stream"]) && request["stream_options"] != nil {
		openAIError(w, http.StatusBadRequest, invalid, "", "stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
		return
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
	where := chatConversation(request, size)
	turn, err := script.next(where)
	if err != nil {
		openAIError(w, http.StatusBadRequest, invalid, "", "messages", err.Error())
		return
	}
	if !think(r, turn.Delay()) {
		return
	}
	reply := chatReply{id: identifier("chatcmpl-"), model: name, created: time.Now().Unix(), turn: turn, input: tokens(where.characters)}
	if yes(request["stream"]) {
		reply.stream(w, yes(object(request["stream_options"])["include_usage"]))
		return
	}
	answer(w, http.StatusOK, reply.whole())
}

// openAIProblem words a problem as OpenAI does: places are written messages[0].content.
func openAIProblem(problem schema.Problem) (code, param, message string) {
	for index, part := range problem.Path {
		switch {
		case strings.Trim(part, "0123456789") == "":
			param += "[" + part + "]"
		case index == 0:
			param = part
		default:
			param += "." + part
		}
	}
	switch problem.Kind {
	case schema.Missing:
		return "missing_required_parameter", param, "Missing required parameter: '" + param + "'."
	case schema.Unknown:
		return "unknown_parameter", param, "Unknown parameter: '" + param + "'."
	default:
		return "invalid_type", param, "Invalid value for '" + param + "': expected " + problem.Want + "."
	}
}

// chatConversation reads where the conversation stands.
func chatConversation(request map[string]any, size int) conversation {
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
		tool := object(element)
		c.tools[str(object(tool["function"])["name"])] = true
	}
	return c
}

// chatReply is one answer of the assistant in OpenAI's terms.
type chatReply struct {
	id      string
	model   string
	created int64
	turn    Turn
	input   int
}

func (c chatReply) finish() string {
	if len(c.turn.Tools) > 0 {
		return "tool_calls"
	}
	return "stop"
}

func (c chatReply) usage() map[string]any {
	output := c.turn.outputTokens()
	return map[string]any{
		"prompt_tokens": c.input, "completion_tokens": output, "total_tokens": c.input + output,
		"prompt_tokens_details": map[string]any{"cached_tokens": 0, "audio_tokens": 0},
		"completion_tokens_details": map[string]any{
			"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
		},
	}
}

// whole is the answer as one document.
func (c chatReply) whole() map[string]any {
	message := map[string]any{"role": "assistant", "content": orNull(c.turn.Text), "refusal": nil, "annotations": []any{}}
	if len(c.turn.Tools) > 0 {
		calls := make([]any, 0, len(c.turn.Tools))
		for _, call := range c.turn.Tools {
			calls = append(calls, map[string]any{
				"id": identifier("call_"), "type": "function",
				"function": map[string]any{"name": call.Name, "arguments": call.arguments()},
			})
		}
		message["tool_calls"] = calls
	}
	return map[string]any{
		"id": c.id, "object": "chat.completion", "created": c.created, "model": c.model,
		"choices":      []any{map[string]any{"index": 0, "message": message, "logprobs": nil, "finish_reason": c.finish()}},
		"usage":        c.usage(),
		"service_tier": "default", "system_fingerprint": "fp_scripted",
	}
}
