package model

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	. "cofferdam.dev/tests/cluster/internet/schema"
)

// betas are the names that a request may give in anthropic-beta: those that the SDK lists, and those that Claude Code sends
// without their being published. Any other is a mistake, as at the API itself.
var betas = []string{
	"admin-user-sign-out-2026-10-08", "advisor-tool-2026-03-01", "agent-memory-2026-07-22", "analytics-usage-cost-2026-08-24",
	"cache-diagnosis-2026-04-07", "ce-claude-code-managed-settings-2026-10-06", "ce-plugins-2026-09-01", "ce-user-management-2026-07-13",
	"code-execution-2025-05-22", "compact-2026-01-12", "compact-2026-09-04", "computer-use-2024-10-22", "computer-use-2025-01-24",
	"computer-use-2025-11-24", "context-1m-2025-08-07", "context-management-2025-06-27", "dev-full-thinking-2025-05-14", "dreaming-2026-04-21",
	"experimental-claude-tag-2026-10-21", "extended-cache-ttl-2025-04-11", "fallback-credit-2026-06-01", "fallback-credit-2026-07-01",
	"fast-mode-2026-02-01", "files-api-2025-04-14", "inline-tools-2026-09-15", "interleaved-thinking-2025-05-14", "managed-agents-2026-04-01",
	"mcp-client-2025-04-04", "mcp-client-2025-11-20", "mcp-client-2026-09-15", "mcp-tunnels-2026-06-22", "message-batches-2024-09-24",
	"message-threads-2026-08-12", "mid-conversation-output-config-2026-07-01", "mid-conversation-system-clear-at-2026-08-21",
	"mid-conversation-tool-changes-2026-07-01", "model-context-window-exceeded-2025-08-26", "output-128k-2025-02-19", "output-300k-2026-03-24",
	"pdfs-2024-09-25", "prompt-caching-2024-07-31", "server-side-fallback-2026-06-01", "server-side-fallback-2026-07-01", "skills-2025-10-02",
	"spend-limit-reads-2026-09-26", "structured-outputs-2025-11-13", "task-budgets-2026-03-13", "telemetry-destinations-2026-08-11",
	"thinking-binding-controls-2026-08-01", "thinking-display-updates-2026-08-18", "thinking-token-count-2026-05-13", "token-counting-2024-11-01",
	"token-efficient-tools-2025-02-19", "user-profiles-2026-03-24", "user-profiles-2026-08-18", "user-profiles-2026-09-04",
	"user-profiles-billing-2026-10-01", "webhooks-2026-10-07",
	// Claude Code's.
	"advanced-tool-use-2025-11-20", "claude-code-20250219", "effort-2025-11-24", "fine-grained-tool-streaming-2025-05-14",
	"per-turn-control-2026-07-01", "prompt-caching-scope-2026-01-05",
}

// betaFields are the fields that the body of a message has with a beta only. Without the header that asks for it, such a field is
// as unknown as any other. Betas whose work the provider would do itself are not here: this account has none.
var betaFields = map[string]map[string]Field{
	"context-management-2025-06-27": {"context_management": Optional(Nullable(Object(map[string]Field{
		"edits": Optional(List(OneOf("type", map[string]Check{
			"clear_thinking_20251015": Object(map[string]Field{"type": Required(Text), "keep": Optional(Any)}),
			"clear_tool_uses_20250919": Object(map[string]Field{
				"type": Required(Text), "clear_at_least": Optional(Nullable(AnyObject)), "clear_tool_inputs": Optional(Nullable(Any)),
				"exclude_tools": Optional(Nullable(List(Text, 0))), "keep": Optional(AnyObject), "trigger": Optional(AnyObject),
			}),
		}), 0)),
	})))},
}

// asked are the betas that a request asks for.
func asked(r *http.Request) []string {
	var all []string
	for _, value := range r.Header.Values("anthropic-beta") {
		for _, name := range strings.Split(value, ",") {
			if name = strings.TrimSpace(name); name != "" {
				all = append(all, name)
			}
		}
	}
	return all
}

// unknownBeta is the first of the betas that there is not.
func unknownBeta(asked []string) (string, bool) {
	for _, name := range asked {
		if !slices.Contains(betas, name) {
			return name, true
		}
	}
	return "", false
}

// messagesRequest describes the body of a message for a version of the API and the betas that are asked for; false if there is
// no such version. Without is left out of it.
func messagesRequest(version string, asked []string, without ...string) (Check, bool) {
	fields := maps.Clone(messagesFields)
	switch version {
	case "2026-10-21":
	case "2023-06-01":
		maps.Copy(fields, samplingFields)
	default:
		return nil, false
	}
	for _, name := range asked {
		maps.Copy(fields, betaFields[name])
	}
	for _, name := range without {
		delete(fields, name)
	}
	return Object(fields), true
}
