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
	goodChat     = `{"model":"repair","messages":[{"role":"user","content":"Repair it."}],"tools":[{"type":"function","function":{"name":"bash","parameters":{}}}]}`
	goodMessages = `{"model":"repair","max_tokens":100,"messages":[{"role":"user","content":"Repair it."}],"tools":[{"name":"bash","input_schema":{"type":"object"}}]}`
)

func TestRequestsAreHeldToTheSchema(t *testing.T) {
	server := scripted(t)
	chat, messages := server.URL+"/v1/chat/completions", server.URL+"/v1/messages"
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
			if c.url == messages {
				shape = `"type":"error"}`
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

func TestUnknownPaths(t *testing.T) {
	server := scripted(t)
	for _, path := range []string{"/v1/responses", "/v1/files", "/v1/messages/batches", "/"} {
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
