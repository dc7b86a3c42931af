package model

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const repairScript = `{"turns": [
	{"text": "Let me look.", "tools": [{"name": "bash", "arguments": {"command": "cat äpfel.py"}}]},
	{"expect": ["pears = 3"], "text": "Done: there are three pears in it."}
]}`

// scripted starts a server with the script under the name repair.
func scripted(t *testing.T) *httptest.Server {
	t.Helper()
	directory := t.TempDir()
	if err := os.WriteFile(filepath.Join(directory, "repair.json"), []byte(repairScript), 0o644); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(Library{Directory: directory}.Handler())
	t.Cleanup(server.Close)
	return server
}

// ask sends a request with the headers of both APIs.
func ask(t *testing.T, method, url, body string, without ...string) (int, string) {
	t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer placeholder")
	request.Header.Set("x-goog-api-key", "placeholder")
	if strings.HasSuffix(url, "/messages") {
		request.Header.Set("anthropic-version", "2026-10-21")
	}
	for _, header := range without {
		request.Header.Del(header)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// Good requests, each the base of the bad ones below.
const (
	goodChat      = `{"model":"repair","messages":[{"role":"user","content":"Repair it."}],"tools":[{"type":"function","function":{"name":"bash","parameters":{}}}]}`
	goodResponses = `{"model":"repair","input":[{"role":"user","content":[{"type":"input_text","text":"Repair it."}]}],"tools":[{"type":"function","name":"bash","parameters":{}}]}`
	goodGemini    = `{"contents":[{"role":"user","parts":[{"text":"Repair it."}]}],"tools":[{"functionDeclarations":[{"name":"bash","parameters":{"type":"OBJECT"}}]}]}`
	goodMessages  = `{"model":"repair","max_tokens":100,"messages":[{"role":"user","content":"Repair it."}],"tools":[{"name":"bash","input_schema":{"type":"object"}}]}`
)

func TestRequestsAreHeldToTheSchema(t *testing.T) {
	server := scripted(t)
	chat, messages := server.URL+"/v1/chat/completions", server.URL+"/v1/messages"
	responses, gemini := server.URL+"/v1/responses", server.URL+"/v1beta/models/repair:generateContent"
	for name, c := range map[string]struct {
		url, good, from, to string
		status              int
		want                string
	}{
		"chat: as it should be":        {chat, goodChat, "", "", 200, `"finish_reason":"tool_calls"`},
		"chat: unknown field":          {chat, goodChat, `"model"`, `"sneaky":1,"model"`, 400, `"param":"sneaky"`},
		"chat: no messages":            {chat, goodChat, `"messages"`, `"metadata"`, 400, `Missing required parameter: 'messages'.`},
		"chat: empty messages":         {chat, goodChat, `[{"role":"user","content":"Repair it."}]`, `[]`, 400, `"param":"messages"`},
		"chat: unknown role":           {chat, goodChat, `"role":"user"`, `"role":"boss"`, 400, `"param":"messages[0].role"`},
		"chat: field of another role":  {chat, goodChat, `"role":"user"`, `"role":"user","tool_call_id":"x"`, 400, `Unknown parameter: 'messages[0].tool_call_id'.`},
		"chat: content of wrong type":  {chat, goodChat, `"Repair it."`, `7`, 400, `"param":"messages[0].content"`},
		"chat: temperature too high":   {chat, goodChat, `"model"`, `"temperature":2.5,"model"`, 400, `a number from 0 to 2`},
		"chat: two answers":            {chat, goodChat, `"model"`, `"n":2,"model"`, 400, `"param":"n"`},
		"chat: options, not streaming": {chat, goodChat, `"model"`, `"stream_options":{"include_usage":true},"model"`, 400, `only allowed when 'stream' is enabled`},
		"chat: not JSON":               {chat, goodChat, `{`, ``, 400, `could not parse`},
		"chat: two documents":          {chat, goodChat, `}}]}`, `}}]} {}`, 400, `could not parse`},
		"chat: unknown model":          {chat, goodChat, `"repair"`, `"despair"`, 404, `"code":"model_not_found"`},
		"chat: model as a path":        {chat, goodChat, `"repair"`, `"../repair"`, 404, `"code":"model_not_found"`},
		"chat: tool not offered":       {chat, goodChat, `"name":"bash"`, `"name":"fish"`, 400, `does not offer`},

		"messages: as it should be":    {messages, goodMessages, "", "", 200, `"stop_reason":"tool_use"`},
		"messages: unknown field":      {messages, goodMessages, `"model"`, `"sneaky":1,"model"`, 400, `sneaky: Extra inputs are not permitted`},
		"messages: no max_tokens":      {messages, goodMessages, `"max_tokens":100,`, ``, 400, `max_tokens: Field required`},
		"messages: zero max_tokens":    {messages, goodMessages, `100`, `0`, 400, `max_tokens: Input should be`},
		"messages: float max_tokens":   {messages, goodMessages, `100`, `1.5`, 400, `max_tokens: Input should be an integer`},
		"messages: tool role":          {messages, goodMessages, `"role":"user"`, `"role":"tool"`, 400, `messages.0.role: Input should be one of`},
		"messages: provider's tool":    {messages, goodMessages, `"input_schema":{"type":"object"}`, `"type":"web_search_20250305"`, 400, `tools.0.input_schema: Field required`},
		"messages: remote MCP server":  {messages, goodMessages, `"model"`, `"mcp_servers":[],"model"`, 400, `mcp_servers: Extra inputs`},
		"messages: temperature is old": {messages, goodMessages, `"model"`, `"temperature":0.5,"model"`, 400, `temperature: Extra inputs`},
		"messages: unknown model":      {messages, goodMessages, `"repair"`, `"despair"`, 404, `"type":"not_found_error"`},
		"messages: a beta's field":     {messages, goodMessages, `"model"`, `"context_management":{"edits":[]},"model"`, 400, `context_management: Extra inputs are not permitted`},

		"responses: as it should be":     {responses, goodResponses, "", "", 200, `"type":"function_call"`},
		"responses: a text alone":        {responses, goodResponses, `[{"role":"user","content":[{"type":"input_text","text":"Repair it."}]}]`, `"Repair it."`, 200, `"status":"completed"`},
		"responses: unknown field":       {responses, goodResponses, `"model"`, `"sneaky":1,"model"`, 400, `"param":"sneaky"`},
		"responses: chat's messages":     {responses, goodResponses, `"input"`, `"messages"`, 400, `"param":"messages"`},
		"responses: unknown item":        {responses, goodResponses, `"role":"user"`, `"type":"telepathy"`, 400, `"param":"input[0].type"`},
		"responses: field of an item":    {responses, goodResponses, `"role":"user"`, `"role":"user","mood":"good"`, 400, `Unknown parameter: 'input[0].mood'.`},
		"responses: chat's kind of tool": {responses, goodResponses, `"name":"bash","parameters":{}`, `"function":{"name":"bash"}`, 400, `Missing required parameter: 'tools[0].name'.`},
		"responses: what is kept":        {responses, goodResponses, `"model"`, `"previous_response_id":"resp_1","model"`, 404, `previous_response_id_not_found`},
		"responses: provider's own tool": {responses, goodResponses, `"type":"function"`, `"type":"code_interpreter"`, 400, `"param":"tools[0].type"`},
		"responses: unknown model":       {responses, goodResponses, `"repair"`, `"despair"`, 404, `"code":"model_not_found"`},
		"responses: tool not offered":    {responses, goodResponses, `"name":"bash"`, `"name":"fish"`, 400, `does not offer`},

		"gemini: as it should be":     {gemini, goodGemini, "", "", 200, `"functionCall"`},
		"gemini: as a buffer":         {gemini, goodGemini, `"functionDeclarations"`, `"function_declarations"`, 200, `"functionCall"`},
		"gemini: unknown field":       {gemini, goodGemini, `"contents"`, `"sneaky":1,"contents"`, 400, `Unknown name \"sneaky\": Cannot find field.`},
		"gemini: field of a part":     {gemini, goodGemini, `"text":`, `"sneaky":1,"text":`, 400, `Unknown name \"sneaky\" at 'contents[0].parts[0]'`},
		"gemini: words of a schema":   {gemini, goodGemini, `"OBJECT"`, `"OBJECT","additionalProperties":false`, 400, `Unknown name \"additionalProperties\"`},
		"gemini: no contents":         {gemini, goodGemini, `"contents"`, `"labels":{},"x"`, 400, `Unknown name \"x\"`},
		"gemini: role of another API": {gemini, goodGemini, `"role":"user"`, `"role":"assistant"`, 400, `Invalid value at 'contents[0].role'`},
		"gemini: tool not offered":    {gemini, goodGemini, `"name":"bash"`, `"name":"fish"`, 400, `does not offer`},
	} {
		t.Run(name, func(t *testing.T) {
			body := strings.Replace(c.good, c.from, c.to, 1)
			if c.from != "" && body == c.good {
				t.Fatal("the case changes nothing")
			}
			status, got := ask(t, "POST", c.url, body)
			if status != c.status || !strings.Contains(got, c.want) {
				t.Errorf("%d %s\nwant %d with %s", status, got, c.status, c.want)
			}
			shape := `"error":{"code":`
			switch c.url {
			case messages:
				shape = `"type":"error"}`
			case gemini:
				shape = `"status":"`
			}
			if status != 200 && !strings.Contains(got, shape) {
				t.Errorf("not in the API's own shape: %s", got)
			}
		})
	}
}

func TestHeadersAreRequired(t *testing.T) {
	server := scripted(t)
	for _, c := range []struct {
		path, body, without string
		status              int
		want                string
	}{
		{"/v1/chat/completions", goodChat, "Authorization", 401, "API key"},
		{"/v1/messages", goodMessages, "Authorization", 401, "x-api-key header is required"},
		{"/v1/messages", goodMessages, "anthropic-version", 400, "anthropic-version"},
	} {
		if status, got := ask(t, "POST", server.URL+c.path, c.body, c.without); status != c.status || !strings.Contains(got, c.want) {
			t.Errorf("%s without %s: %d %s", c.path, c.without, status, got)
		}
	}
}

func TestOldVersionKeepsItsFields(t *testing.T) {
	server := scripted(t)
	body := strings.Replace(goodMessages, `"model"`, `"temperature":0.5,"model"`, 1)
	for version, want := range map[string]int{"2023-06-01": 200, "2026-10-21": 400, "2019-01-01": 400} {
		request, err := http.NewRequest("POST", server.URL+"/v1/messages", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("anthropic-version", version)
		request.Header.Set("x-api-key", "placeholder")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil || response.StatusCode != want {
			t.Errorf("%s: %d, want %d", version, response.StatusCode, want)
		}
	}
}

func TestBetasAdmitTheirFieldsAlone(t *testing.T) {
	server := scripted(t)
	body := strings.Replace(goodMessages, `"model"`, `"context_management":{"edits":[{"type":"clear_thinking_20251015"}]},"model"`, 1)
	for _, c := range []struct {
		beta, body string
		status     int
		want       string
	}{
		{"claude-code-20250219,context-management-2025-06-27", body, 200, `"tool_use"`},
		{"claude-code-20250219", body, 400, "context_management: Extra inputs"},
		{"context-management-2025-06-27", strings.Replace(body, "clear_thinking_20251015", "compact_20260112", 1), 400, "context_management.edits.0.type"},
		{"context-management-2099-01-01", goodMessages, 400, "Unexpected value(s) `context-management-2099-01-01`"},
		{"", goodMessages, 200, `"tool_use"`},
	} {
		request, err := http.NewRequest("POST", server.URL+"/v1/messages?beta=true", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("anthropic-version", "2023-06-01")
		request.Header.Set("anthropic-beta", c.beta)
		request.Header.Set("x-api-key", "placeholder")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != c.status || !strings.Contains(string(got), c.want) {
			t.Errorf("%q: %d %s", c.beta, response.StatusCode, got)
		}
	}
}

// TestKnownNamesNeedAKey asks by the APIs' own names, as clients do that have no other address: a placeholder opens nothing.
func TestKnownNamesNeedAKey(t *testing.T) {
	server := scripted(t)
	for _, c := range []struct{ host, path, body, header, prefix, shape string }{
		{"api.anthropic.com", "/v1/messages", goodMessages, "x-api-key", "", `"authentication_error"`},
		{"api.openai.com", "/v1/responses", goodResponses, "Authorization", "Bearer ", `"invalid_api_key"`},
		{"generativelanguage.googleapis.com", "/v1beta/models/repair:generateContent", goodGemini, "x-goog-api-key", "", `"INVALID_ARGUMENT"`},
	} {
		for key, want := range map[string]bool{"sk-ant-placeholder": false, keyPrefix + "1": true} {
			request, err := http.NewRequest("POST", server.URL+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Host = c.host
			request.Header.Set("anthropic-version", "2026-10-21")
			request.Header.Set(c.header, c.prefix+key)
			if c.header != "x-api-key" {
				request.Header.Del("anthropic-version")
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil || (response.StatusCode == http.StatusOK) != want || !want && !strings.Contains(string(got), c.shape) {
				t.Errorf("%s with %q: %d %s", c.host, key, response.StatusCode, got)
			}
		}
	}
}

// heardResponses is the second request of a conversation by responses: a message and a call are one turn.
const heardResponses = `{"model":"repair","tools":[{"type":"custom","name":"bash"}],"input":[{"role":"user","content":"Repair it: pears = 3"},
	{"type":"reasoning","summary":[]},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Let me look."}]},
	{"type":"custom_tool_call","call_id":"c","name":"bash","input":"x"},{"type":"custom_tool_call_output","call_id":"c","output":%q}]}`

// heardGemini is the same by generateContent.
const heardGemini = `{"contents":[{"role":"user","parts":[{"text":"Repair it: pears = 3"}]},{"role":"model","parts":[{"functionCall":{"name":"bash","args":{}}}]},
	{"role":"user","parts":[{"functionResponse":{"name":"bash","response":{"output":%q}}}]}]}`

func TestTurnsFollowTheOtherConversations(t *testing.T) {
	server := scripted(t)
	for path, heard := range map[string]string{"/v1/responses": heardResponses, "/v1beta/models/repair:streamGenerateContent?alt=sse": heardGemini} {
		if status, got := ask(t, "POST", server.URL+path, fmt.Sprintf(heard, "pears = 3")); status != 200 || !strings.Contains(got, "three pe") {
			t.Errorf("%s: %d %s", path, status, got)
		}
		if status, got := ask(t, "POST", server.URL+path, fmt.Sprintf(heard, "no fruit")); status != 400 || !strings.Contains(got, "expects to be told") {
			t.Errorf("%s: %d %s", path, status, got)
		}
	}
}

// TestToolsAreCalledAsTheyAreOffered: a custom tool gets a text, and one of a namespace is called with it.
func TestToolsAreCalledAsTheyAreOffered(t *testing.T) {
	directory := t.TempDir()
	script := `{"turns": [{"tools": [{"name": "exec", "arguments": {"input": "text(1)"}}]}]}`
	if err := os.WriteFile(filepath.Join(directory, "run.json"), []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(Library{Directory: directory}.Handler())
	defer server.Close()
	for tools, want := range map[string][]string{
		`[{"type":"function","name":"exec","parameters":{}}]`:                                           {`"function_call"`, `"arguments":"{\"input\":\"text(1)\"}"`},
		`[{"type":"custom","name":"exec"}]`:                                                             {`"custom_tool_call"`, `"input":"text(1)"`},
		`[{"type":"namespace","name":"ns","description":"","tools":[{"type":"custom","name":"exec"}]}]`: {`"custom_tool_call"`, `"namespace":"ns"`},
	} {
		for _, body := range []string{
			`{"model":"run","input":"x","tools":` + tools + `}`,
			`{"model":"run","input":[{"type":"additional_tools","role":"developer","tools":` + tools + `},{"role":"user","content":"x"}]}`,
		} {
			status, got := ask(t, "POST", server.URL+"/v1/responses", body)
			for _, part := range want {
				if status != 200 || !strings.Contains(got, part) {
					t.Errorf("%s: %d %s\nwant %s", body, status, got, part)
				}
			}
		}
	}
}

func TestUnknownPaths(t *testing.T) {
	server := scripted(t)
	for _, path := range []string{"/v1/conversations", "/v1beta/files", "/v1beta/models/repair:predict", "/v1/files", "/v1/messages/batches", "/"} {
		if status, got := ask(t, "POST", server.URL+path, "{}"); status != 404 || !strings.Contains(got, `"error"`) {
			t.Errorf("%s: %d %s", path, status, got)
		}
	}
}

// heardChat is the second request of a conversation, with what the tool said.
func heardChat(said string) string {
	return fmt.Sprintf(`{"model":"repair","tools":[{"type":"function","function":{"name":"bash"}}],"messages":[
		{"role":"user","content":"Repair it: pears = 3"},
		{"role":"assistant","content":"Let me look.","tool_calls":[{"id":"c","type":"function","function":{"name":"bash","arguments":"{}"}}]},
		{"role":"tool","tool_call_id":"c","content":%q}]}`, said)
}

func TestTurnsFollowTheConversation(t *testing.T) {
	url := scripted(t).URL + "/v1/chat/completions"
	if status, got := ask(t, "POST", url, heardChat("pears = 3")); status != 200 || !strings.Contains(got, "three pears") || !strings.Contains(got, `"finish_reason":"stop"`) {
		t.Errorf("%d %s", status, got)
	}
	// What the first message said does not count: it was said before the assistant's last turn.
	if status, got := ask(t, "POST", url, heardChat("no fruit")); status != 400 || !strings.Contains(got, "expects to be told") {
		t.Errorf("%d %s", status, got)
	}
	over := strings.Replace(heardChat("pears = 3"), `{"role":"tool"`, `{"role":"assistant","content":"Hm."},{"role":"tool"`, 1)
	if status, got := ask(t, "POST", url, over); status != 400 || !strings.Contains(got, "already has as many") {
		t.Errorf("%d %s", status, got)
	}
}

func TestExamplesOfTheClientAreNoTurns(t *testing.T) {
	script, err := ParseScript([]byte(`{"examples": 2, "turns": [{"text": "one"}, {"text": "two"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for turns, want := range map[int]string{1: "", 2: "one", 3: "two", 4: ""} {
		if turn, err := script.next(conversation{turns: turns}); turn.Text != want || (err == nil) != (want != "") {
			t.Errorf("%d: %q, %v", turns, turn.Text, err)
		}
	}
}

func TestScriptsAreReadStrictly(t *testing.T) {
	for _, bad := range []string{
		`{"turns": [{}]}`, `{"turns": [{"say": "x"}]}`, `[]`, ``, `{"turns": [{"tools": [{"name": "x"}]}]}`,
	} {
		if _, err := ParseScript([]byte(bad)); err == nil {
			t.Errorf("accepted %s", bad)
		}
	}
	if script, err := ParseScript([]byte(repairScript)); err != nil || len(script.Turns) != 2 {
		t.Errorf("%v %v", script, err)
	}
}

func TestPieces(t *testing.T) {
	for _, text := range []string{"", "short", strings.Repeat("äöü", 40)} {
		if got := strings.Join(pieces(text), ""); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// TestChatStreamAddsUp puts a stream together again and compares it with the answer in one piece.
func TestChatStreamAddsUp(t *testing.T) {
	url := scripted(t).URL + "/v1/chat/completions"
	for _, usage := range []bool{false, true} {
		body := strings.Replace(goodChat, `"model"`, fmt.Sprintf(`"stream":true,"stream_options":{"include_usage":%t},"model"`, usage), 1)
		_, stream := ask(t, "POST", url, body)
		if !strings.HasSuffix(stream, "data: [DONE]\n\n") || strings.Contains(stream, `"usage"`) != usage {
			t.Fatalf("usage %t: %s", usage, stream)
		}
		content, arguments := "", ""
		for event := range strings.SplitSeq(strings.TrimSuffix(stream, "data: [DONE]\n\n"), "\n\n") {
			if event == "" {
				continue
			}
			var chunk struct {
				Choices []struct {
					Delta struct {
						Content   string
						ToolCalls []struct{ Function struct{ Arguments string } } `json:"tool_calls"`
					}
				}
			}
			if err := json.Unmarshal([]byte(strings.TrimPrefix(event, "data: ")), &chunk); err != nil {
				t.Fatalf("%s: %v", event, err)
			}
			for _, choice := range chunk.Choices {
				content += choice.Delta.Content
				for _, call := range choice.Delta.ToolCalls {
					arguments += call.Function.Arguments
				}
			}
		}
		if content != "Let me look." || arguments != `{"command":"cat äpfel.py"}` {
			t.Errorf("%q %q", content, arguments)
		}
	}
}
