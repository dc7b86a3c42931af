package model

import (
	"maps"

	. "cofferdam.dev/tests/cluster/internet/schema"
)

// samplingFields are those that the older version of the API, by its anthropic-version, has beside messagesFields: the newer one,
// which the newest SDK speaks, has no sampling parameters any more.
var samplingFields = map[string]Field{
	"temperature": Optional(Number(0, 1)),
	"top_k":       Optional(Integer(0)),
	"top_p":       Optional(Number(0, 1)),
}

// messagesFields are what both versions have.
var messagesFields = map[string]Field{
	"max_tokens": Required(Integer(1)),
	"messages":   Required(List(claudeMessage, 1)),
	"model":      Required(Text),

	"cache_control":   Optional(Nullable(AnyObject)),
	"container":       Optional(Nullable(Any)),
	"diagnostics":     Optional(Nullable(AnyObject)),
	"inference_geo":   Optional(Nullable(Text)),
	"metadata":        Optional(Object(map[string]Field{"user_id": Optional(Nullable(Text))})),
	"output_config":   Optional(AnyObject),
	"service_tier":    Optional(Enum("auto", "standard_only")),
	"speed":           Optional(Nullable(Enum("standard", "fast"))),
	"stop_sequences":  Optional(List(Text, 0)),
	"stream":          Optional(Bool),
	"system":          Optional(Either(Text, List(claudeText, 1))),
	"thinking":        Optional(OneOf("type", claudeThinking)),
	"tool_choice":     Optional(OneOf("type", claudeToolChoice)),
	"tools":           Optional(List(claudeTool, 0)),
	"user_profile_id": Optional(Text),
	"workspace_id":    Optional(Text),
}

// with joins two sets of fields.
func with(fields, more map[string]Field) map[string]Field {
	all := maps.Clone(fields)
	maps.Copy(all, more)
	return all
}

var claudeMessage = OneOf("role", map[string]Check{
	"user":      claudeSaid("user", claudeBlock),
	"assistant": claudeSaid("assistant", claudeBlock),
	"system":    claudeSaid("system", claudeText),
})

func claudeSaid(role string, block Check) Check {
	return Object(map[string]Field{
		"role":    Required(Enum(role)),
		"content": Required(Either(Text, List(block, 1))),
	})
}

var claudeText = Object(map[string]Field{
	"type":          Required(Enum("text")),
	"text":          Required(Text),
	"cache_control": Optional(Nullable(AnyObject)),
	"citations":     Optional(Nullable(List(AnyObject, 0))),
})

// claudeBlock describes a block of a message. Blocks of tools that the provider itself would run are not described:
// this server has none, and a conversation cannot hold what it never said.
var claudeBlock = OneOf("type", map[string]Check{
	"text":     claudeText,
	"image":    claudeSource("image", nil),
	"document": claudeSource("document", map[string]Field{"title": Optional(Nullable(Text)), "context": Optional(Nullable(Text)), "citations": Optional(Nullable(AnyObject))}),
	"thinking": Object(map[string]Field{
		"type": Required(Enum("thinking")), "thinking": Required(Text), "signature": Required(Text),
	}),
	"redacted_thinking": Object(map[string]Field{"type": Required(Enum("redacted_thinking")), "data": Required(Text)}),
	"tool_use": Object(map[string]Field{
		"type":          Required(Enum("tool_use")),
		"id":            Required(Text),
		"name":          Required(Text),
		"input":         Required(AnyObject),
		"cache_control": Optional(Nullable(AnyObject)),
		"caller":        Optional(AnyObject),
		"toolset_name":  Optional(Nullable(Text)),
	}),
	"tool_result": Object(map[string]Field{
		"type":          Required(Enum("tool_result")),
		"tool_use_id":   Required(Text),
		"cache_control": Optional(Nullable(AnyObject)),
		"content":       Optional(Either(Text, List(claudeResultBlock, 0))),
		"is_error":      Optional(Bool),
		"toolset_name":  Optional(Nullable(Text)),
	}),
})

var claudeResultBlock = OneOf("type", map[string]Check{"text": claudeText, "image": claudeSource("image", nil)})

func claudeSource(kind string, more map[string]Field) Check {
	return Object(with(map[string]Field{
		"type":          Required(Enum(kind)),
		"source":        Required(AnyObject),
		"cache_control": Optional(Nullable(AnyObject)),
	}, more))
}

var claudeThinking = map[string]Check{
	"disabled": Object(map[string]Field{"type": Required(Enum("disabled"))}),
	"enabled": Object(map[string]Field{
		"type": Required(Enum("enabled")), "budget_tokens": Required(Integer(1024)), "display": Optional(Nullable(Text)),
	}),
	"adaptive": Object(map[string]Field{"type": Required(Enum("adaptive")), "display": Optional(Nullable(Text))}),
}

var claudeToolChoice = map[string]Check{
	"auto": Object(map[string]Field{"type": Required(Enum("auto")), "disable_parallel_tool_use": Optional(Bool)}),
	"any":  Object(map[string]Field{"type": Required(Enum("any")), "disable_parallel_tool_use": Optional(Bool)}),
	"none": Object(map[string]Field{"type": Required(Enum("none"))}),
	"tool": Object(map[string]Field{
		"type": Required(Enum("tool")), "name": Required(Text), "disable_parallel_tool_use": Optional(Bool),
	}),
}

// claudeTool describes a tool of the client's own; those that the provider runs are refused, as for an account
// without them.
var claudeTool = Object(map[string]Field{
	"name":                  Required(Text),
	"input_schema":          Required(AnyObject),
	"allowed_callers":       Optional(List(Text, 0)),
	"cache_control":         Optional(Nullable(AnyObject)),
	"defer_loading":         Optional(Bool),
	"description":           Optional(Text),
	"eager_input_streaming": Optional(Nullable(Bool)),
	"input_examples":        Optional(List(AnyObject, 0)),
	"strict":                Optional(Bool),
	"type":                  Optional(Nullable(Enum("custom"))),
})
