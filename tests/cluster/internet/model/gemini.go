package model

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"cofferdam.dev/tests/cluster/internet/schema"
)

// geminiError answers in the shape of Google's errors.
func geminiError(w http.ResponseWriter, status int, kind, message string) {
	answer(w, status, map[string]any{"error": map[string]any{"code": status, "message": message, "status": kind}})
}

// gemini serves POST /v1beta/models/<model>:<what>.
func (l Library) gemini(w http.ResponseWriter, r *http.Request) {
	const invalid = "INVALID_ARGUMENT"
	name, what, _ := strings.Cut(r.PathValue("call"), ":")
	checks := map[string]schema.Check{"generateContent": geminiRequest, "streamGenerateContent": geminiRequest, "countTokens": geminiCount}
	check, known := checks[what]
	if !known {
		geminiError(w, http.StatusNotFound, "NOT_FOUND", "This server has no "+r.URL.Path+".")
		return
	}
	if r.Header.Get("x-goog-api-key") == "" && r.URL.Query().Get("key") == "" {
		geminiError(w, http.StatusForbidden, "PERMISSION_DENIED", "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API.")
		return
	}
	document, size, err := readJSON(r)
	if err != nil {
		geminiError(w, http.StatusBadRequest, invalid, "Invalid JSON payload received. "+err.Error())
		return
	}
	if problem := check(nil, document); problem != nil {
		geminiError(w, http.StatusBadRequest, invalid, geminiProblem(*problem))
		return
	}
	request := object(document)
	if what == "countTokens" {
		answer(w, http.StatusOK, map[string]any{"totalTokens": tokens(size)})
		return
	}
	if field(request, "contents") == nil {
		geminiError(w, http.StatusBadRequest, invalid, "* GenerateContentRequest.contents: contents is not specified")
		return
	}
	if field(request, "cachedContent") != nil {
		geminiError(w, http.StatusForbidden, "PERMISSION_DENIED", "CachedContent not found (or permission denied)")
		return
	}
	script, err := l.Script(name)
	if errors.Is(err, errNoModel) {
		geminiError(w, http.StatusNotFound, "NOT_FOUND", fmt.Sprintf("models/%s is not found for API version v1beta, or is not supported for %s.", name, what))
		return
	}
	if err != nil {
		geminiError(w, http.StatusInternalServerError, "INTERNAL", err.Error())
		return
	}
	where := geminiConversation(request, size)
	turn, err := script.next(where)
	if err != nil {
		geminiError(w, http.StatusBadRequest, invalid, err.Error())
		return
	}
	if !think(r, turn.Delay()) {
		return
	}
	reply := geminiReply{id: identifier(""), model: name, turn: turn, input: tokens(where.characters)}
	switch {
	case what == "generateContent":
		answer(w, http.StatusOK, reply.chunk(reply.parts(), true))
	case r.URL.Query().Get("alt") == "sse":
		reply.stream(w)
	default:
		answer(w, http.StatusOK, reply.chunks())
	}
}

// geminiProblem words a problem as Google does: places are written contents[0].parts[1].
func geminiProblem(problem schema.Problem) string {
	_, place, _ := openAIProblem(problem)
	if problem.Kind == schema.Unknown {
		name := problem.Path[len(problem.Path)-1]
		_, parent, _ := openAIProblem(schema.Problem{Path: problem.Path[:len(problem.Path)-1]})
		at := ""
		if parent != "" {
			at = " at '" + parent + "'"
		}
		return fmt.Sprintf("Invalid JSON payload received. Unknown name %q%s: Cannot find field.", name, at)
	}
	return fmt.Sprintf("Invalid value at '%s': expected %s.", place, problem.Want)
}

// geminiConversation reads where the conversation stands.
func geminiConversation(request map[string]any, size int) conversation {
	c := conversation{tools: map[string]bool{}, characters: size}
	for _, element := range list(field(request, "contents")) {
		content := object(element)
		if str(content["role"]) == "model" {
			c.turns++
			c.heard = ""
			continue
		}
		for _, part := range list(content["parts"]) {
			c.heard += text(field(part, "text")) + everyText(field(field(part, "functionResponse"), "response"))
		}
	}
	for _, tool := range list(field(request, "tools")) {
		for _, declared := range list(field(tool, "functionDeclarations")) {
			c.tools[str(field(declared, "name"))] = true
		}
	}
	return c
}

// everyText collects all strings of a document, whatever its fields are called.
func everyText(value any) string {
	all := ""
	switch value := value.(type) {
	case string:
		return value + "\n"
	case []any:
		for _, element := range value {
			all += everyText(element)
		}
	case map[string]any:
		for _, element := range value {
			all += everyText(element)
		}
	}
	return all
}

// geminiReply is one answer in Gemini's terms.
type geminiReply struct {
	id    string
	model string
	turn  Turn
	input int
}

// parts is what the model says and calls, whole.
func (g geminiReply) parts() []any {
	parts := []any{}
	if g.turn.Text != "" {
		parts = append(parts, map[string]any{"text": g.turn.Text})
	}
	for _, call := range g.turn.Tools {
		parts = append(parts, map[string]any{"functionCall": map[string]any{"name": call.Name, "args": call.Arguments}})
	}
	return parts
}

// chunk is one answer, or one piece of a streamed one.
func (g geminiReply) chunk(parts []any, last bool) map[string]any {
	candidate := map[string]any{"content": map[string]any{"role": "model", "parts": parts}, "index": 0}
	usage := map[string]any{"promptTokenCount": g.input, "totalTokenCount": g.input}
	if last {
		candidate["finishReason"] = "STOP"
		spent := g.turn.outputTokens()
		usage["candidatesTokenCount"], usage["totalTokenCount"] = spent, g.input+spent
	}
	return map[string]any{"candidates": []any{candidate}, "usageMetadata": usage, "modelVersion": g.model, "responseId": g.id}
}

// chunks is a streamed answer: the text in pieces, then each call whole.
func (g geminiReply) chunks() []any {
	var groups [][]any
	for _, piece := range pieces(g.turn.Text) {
		groups = append(groups, []any{map[string]any{"text": piece}})
	}
	for _, call := range g.turn.Tools {
		groups = append(groups, []any{map[string]any{"functionCall": map[string]any{"name": call.Name, "args": call.Arguments}}})
	}
	all := make([]any, 0, len(groups))
	for index, parts := range groups {
		all = append(all, g.chunk(parts, index == len(groups)-1))
	}
	return all
}

// stream sends the chunks as events without names, whose lines end as Google's do.
func (g geminiReply) stream(w http.ResponseWriter) {
	out := newEvents(w)
	for _, chunk := range g.chunks() {
		out.raw("data: " + encode(chunk) + "\r\n\r\n")
	}
}
