package model

import . "cofferdam.dev/tests/cluster/internet/schema"

// chatRequest describes the body of POST /v1/chat/completions as OpenAI publishes it.
var chatRequest = Object(map[string]Field{
	"messages": Required(List(chatMessage, 1)),
	"model":    Required(Text),

	"audio":                  Optional(Nullable(AnyObject)),
	"frequency_penalty":      Optional(Nullable(Number(-2, 2))),
	"function_call":          Optional(Any),
	"functions":              Optional(List(chatFunction, 1)),
	"logit_bias":             Optional(Nullable(AnyObject)),
	"logprobs":               Optional(Nullable(Bool)),
	"max_completion_tokens":  Optional(Nullable(Integer(1))),
	"max_tokens":             Optional(Nullable(Integer(1))),
	"metadata":               Optional(Nullable(AnyObject)),
	"modalities":             Optional(Nullable(List(Enum("text", "audio"), 1))),
	"moderation":             Optional(Nullable(AnyObject)),
	"n":                      Optional(Nullable(Number(1, 1))), // a script has one answer
	"parallel_tool_calls":    Optional(Bool),
	"prediction":             Optional(Nullable(AnyObject)),
	"presence_penalty":       Optional(Nullable(Number(-2, 2))),
	"prompt_cache_key":       Optional(Nullable(Text)),
	"prompt_cache_options":   Optional(AnyObject),
	"prompt_cache_retention": Optional(Nullable(Enum("in_memory", "24h"))),
	"reasoning_effort":       Optional(Nullable(Text)),
	"response_format":        Optional(AnyObject),
	"safety_identifier":      Optional(Nullable(Text)),
	"seed":                   Optional(Nullable(Integer(-1 << 62))),
	"service_tier":           Optional(Nullable(Enum("auto", "default", "flex", "scale", "priority", "fast"))),
	"stop":                   Optional(Nullable(Either(Text, List(Text, 1)))),
	"store":                  Optional(Nullable(Bool)),
	"stream":                 Optional(Nullable(Bool)),
	"stream_options": Optional(Nullable(Object(map[string]Field{
		"include_obfuscation": Optional(Bool),
		"include_usage":       Optional(Bool),
	}))),
	"temperature":        Optional(Nullable(Number(0, 2))),
	"tool_choice":        Optional(Either(AnyObject, Enum("none", "auto", "required"))),
	"tools":              Optional(List(chatTool, 1)),
	"top_logprobs":       Optional(Nullable(Integer(0))),
	"top_p":              Optional(Nullable(Number(0, 1))),
	"user":               Optional(Text),
	"verbosity":          Optional(Nullable(Enum("low", "medium", "high"))),
	"web_search_options": Optional(AnyObject),
})

var chatMessage = OneOf("role", map[string]Check{
	"system":    chatSaid("system", Either(Text, List(chatTextPart, 1))),
	"developer": chatSaid("developer", Either(Text, List(chatTextPart, 1))),
	"user":      chatSaid("user", Either(Text, List(chatUserPart, 1))),
	"assistant": Object(map[string]Field{
		"role":          Required(Enum("assistant")),
		"audio":         Optional(Nullable(AnyObject)),
		"content":       Optional(Nullable(Either(Text, List(chatAssistantPart, 1)))),
		"function_call": Optional(Nullable(AnyObject)),
		"name":          Optional(Text),
		"refusal":       Optional(Nullable(Text)),
		"tool_calls":    Optional(List(chatToolCall, 1)),
		// Only answers have this one, and clients give an answer back as it came.
		"annotations": Optional(List(AnyObject, 0)),
		// Not the API's, but litellm adds it to what it gives back, and its users are not refused for it.
		"provider_specific_fields": Optional(Nullable(AnyObject)),
	}),
	"tool": Object(map[string]Field{
		"role":         Required(Enum("tool")),
		"content":      Required(Either(Text, List(chatTextPart, 1))),
		"tool_call_id": Required(Text),
	}),
	"function": Object(map[string]Field{
		"role":    Required(Enum("function")),
		"content": Required(Nullable(Text)),
		"name":    Required(Text),
	}),
})

func chatSaid(role string, content Check) Check {
	return Object(map[string]Field{
		"role":    Required(Enum(role)),
		"content": Required(content),
		"name":    Optional(Text),
	})
}

var (
	chatTextPart      = OneOf("type", map[string]Check{"text": chatText})
	chatAssistantPart = OneOf("type", map[string]Check{"text": chatText, "refusal": chatPart("refusal", Text)})
	chatUserPart      = OneOf("type", map[string]Check{
		"text":        chatText,
		"image_url":   chatPart("image_url", AnyObject),
		"input_audio": chatPart("input_audio", AnyObject),
		"file":        chatPart("file", AnyObject),
	})
	chatText = chatPart("text", Text)
)

// chatPart describes one part of a message: its own field has the name of its type.
func chatPart(kind string, content Check) Check {
	return Object(map[string]Field{
		"type":                    Required(Enum(kind)),
		kind:                      Required(content),
		"prompt_cache_breakpoint": Optional(AnyObject),
	})
}

var chatToolCall = OneOf("type", map[string]Check{
	"function": Object(map[string]Field{
		"id":       Required(Text),
		"type":     Required(Enum("function")),
		"function": Required(Object(map[string]Field{"name": Required(Text), "arguments": Required(Text)})),
	}),
	"custom": Object(map[string]Field{
		"id":     Required(Text),
		"type":   Required(Enum("custom")),
		"custom": Required(Object(map[string]Field{"name": Required(Text), "input": Required(Text)})),
	}),
})

var chatFunction = Object(map[string]Field{
	"name":        Required(Text),
	"description": Optional(Text),
	"parameters":  Optional(AnyObject),
	"strict":      Optional(Nullable(Bool)),
})

var chatTool = OneOf("type", map[string]Check{
	"function": Object(map[string]Field{"type": Required(Enum("function")), "function": Required(chatFunction)}),
	"custom":   Object(map[string]Field{"type": Required(Enum("custom")), "custom": Required(AnyObject)}),
})
