package model

import . "cofferdam.dev/tests/cluster/internet/schema"

// responsesRequest describes the body of POST /v1/responses as OpenAI publishes it. What the provider would keep or do by
// itself is described, too: whether it is allowed is the account's matter, and this account has none of it.
var responsesRequest = Object(map[string]Field{
	"model": Required(Text),
	"input": Optional(Either(Text, List(responsesItem, 0))),

	"access_programs":        Optional(AnyObject),
	"background":             Optional(Nullable(Bool)),
	"background_options":     Optional(AnyObject),
	"context_management":     Optional(Nullable(List(Object(map[string]Field{"type": Required(Text), "compact_threshold": Optional(Nullable(Integer(1)))}), 0))),
	"conversation":           Optional(Nullable(Any)),
	"image":                  Optional(AnyObject),
	"include":                Optional(Nullable(List(Text, 0))),
	"instructions":           Optional(Nullable(Text)),
	"max_output_tokens":      Optional(Nullable(Integer(1))),
	"max_tool_calls":         Optional(Nullable(Integer(1))),
	"metadata":               Optional(Nullable(AnyObject)),
	"moderation":             Optional(Nullable(AnyObject)),
	"parallel_tool_calls":    Optional(Nullable(Bool)),
	"previous_response_id":   Optional(Nullable(Text)),
	"prompt":                 Optional(Nullable(AnyObject)),
	"prompt_cache_key":       Optional(Nullable(Text)),
	"prompt_cache_options":   Optional(Object(map[string]Field{"comparison_response_id": Optional(Nullable(Text)), "mode": Optional(Enum("implicit", "explicit")), "prewarm": Optional(Bool), "ttl": Optional(Enum("30m", "12h"))})),
	"prompt_cache_retention": Optional(Nullable(Enum("in_memory", "24h"))),
	"reasoning":              Optional(Nullable(Object(responsesReasoning))),
	"safety_identifier":      Optional(Nullable(Text)),
	"service_tier":           Optional(Nullable(Enum("auto", "default", "flex", "scale", "priority", "fast"))),
	"store":                  Optional(Nullable(Bool)),
	"stream":                 Optional(Nullable(Bool)),
	"stream_options":         Optional(Nullable(Object(map[string]Field{"include_obfuscation": Optional(Bool)}))),
	"temperature":            Optional(Nullable(Number(0, 2))),
	"text": Optional(Object(map[string]Field{
		"format":    Optional(OneOf("type", responsesFormat)),
		"verbosity": Optional(Nullable(Enum("low", "medium", "high"))),
	})),
	"tool_choice":  Optional(Either(AnyObject, Enum("none", "auto", "required"))),
	"tools":        Optional(List(responsesTool, 0)),
	"top_logprobs": Optional(Nullable(Integer(0))),
	"top_p":        Optional(Nullable(Number(0, 1))),
	"truncation":   Optional(Nullable(Enum("auto", "disabled"))),
	"user":         Optional(Text),
	// Not published, but Codex sends it, and is not refused for it.
	"client_metadata": Optional(Nullable(AnyObject)),
})

// unpublished is a field that Codex gives each item of its input, and is not refused for.
const unpublished = "internal_chat_message_metadata_passthrough"

var responsesReasoning = map[string]Field{
	"context":          Optional(Nullable(Text)),
	"effort":           Optional(Nullable(Text)),
	"generate_summary": Optional(Nullable(Text)),
	"mode":             Optional(Nullable(Text)),
	"summary":          Optional(Nullable(Enum("auto", "concise", "detailed"))),
}

var responsesFormat = map[string]Check{
	"text":        Object(map[string]Field{"type": Required(Text)}),
	"json_object": Object(map[string]Field{"type": Required(Text)}),
	"json_schema": Object(map[string]Field{
		"type": Required(Text), "name": Required(Text), "schema": Required(AnyObject), "description": Optional(Text), "strict": Optional(Nullable(Bool)),
	}),
}

// responsesItem describes an item of the input. A message may leave its type out.
func responsesItem(path []string, value any) *Problem {
	if _, typed := object(value)["type"]; !typed && object(value)["role"] != nil {
		return responsesSaid(path, value)
	}
	return responsesTyped(path, value)
}

var responsesStatus = Optional(Nullable(Enum("in_progress", "completed", "incomplete")))

// responsesSaid is a message of either side.
var responsesSaid = OneOf("role", map[string]Check{
	"user": responsesMessage(responsesInput), "system": responsesMessage(responsesInput), "developer": responsesMessage(responsesInput),
	// A client may give back what the assistant said as it came, or in its own words.
	"assistant": Either(responsesMessage(responsesOutput), responsesMessage(responsesInput)),
})

func responsesMessage(part Check) Check {
	return Object(map[string]Field{
		"type":    Optional(Enum("message")),
		"id":      Optional(Text),
		"role":    Required(Text),
		"content": Required(Either(Text, List(part, 0))),
		"status":  responsesStatus,
		"phase":   Optional(Nullable(Enum("commentary", "final_answer"))),

		unpublished: Optional(Nullable(AnyObject)),
	})
}

var responsesInput = OneOf("type", map[string]Check{
	"input_text": responsesPart(map[string]Field{"text": Required(Text)}),
	"input_image": responsesPart(map[string]Field{
		"detail": Optional(Nullable(Enum("low", "high", "auto", "original"))), "file_id": Optional(Nullable(Text)), "image_url": Optional(Nullable(Text)),
	}),
	"input_file": responsesPart(map[string]Field{
		"detail": Optional(Text), "file_data": Optional(Nullable(Text)), "file_id": Optional(Nullable(Text)), "file_url": Optional(Nullable(Text)), "filename": Optional(Nullable(Text)),
	}),
})

func responsesPart(fields map[string]Field) Check {
	return Object(with(fields, map[string]Field{"type": Required(Text), "prompt_cache_breakpoint": Optional(Nullable(AnyObject))}))
}

var responsesOutput = OneOf("type", map[string]Check{
	"output_text": Object(map[string]Field{
		"type": Required(Text), "text": Required(Text), "annotations": Optional(List(AnyObject, 0)), "logprobs": Optional(List(AnyObject, 0)),
	}),
	"refusal": Object(map[string]Field{"type": Required(Text), "refusal": Required(Text)}),
})

// responsesTyped describes items by their type. Calls that the provider would have made are not described: this server makes
// none, and a conversation cannot hold what never happened.
var responsesTyped = OneOf("type", map[string]Check{
	"message": responsesSaid,
	"function_call": responsesCall(map[string]Field{
		"name": Required(Text), "arguments": Required(Text), "namespace": Optional(Text), "async": Optional(Bool), "caller": Optional(Nullable(AnyObject)),
	}),
	"function_call_output":    responsesCallOutput,
	"custom_tool_call":        responsesCall(map[string]Field{"name": Required(Text), "input": Required(Text), "namespace": Optional(Text), "async": Optional(Bool), "caller": Optional(Nullable(AnyObject))}),
	"custom_tool_call_output": responsesCallOutput,
	"reasoning": Object(map[string]Field{
		"type": Required(Text), "id": Optional(Text), "summary": Required(List(AnyObject, 0)), "content": Optional(Nullable(List(AnyObject, 0))),
		"encrypted_content": Optional(Nullable(Text)), "status": responsesStatus, unpublished: Optional(Nullable(AnyObject)),
	}),
	"additional_tools": Object(map[string]Field{
		"type": Required(Text), "role": Required(Enum("developer")), "tools": Required(List(responsesTool, 0)), "id": Optional(Nullable(Text)),
		unpublished: Optional(Nullable(AnyObject)),
	}),
})

func responsesCall(fields map[string]Field) Check {
	return Object(with(fields, map[string]Field{
		"type": Required(Text), "call_id": Required(Text), "id": Optional(Text), "status": responsesStatus,
		unpublished: Optional(Nullable(AnyObject)),
	}))
}

var responsesCallOutput = Object(map[string]Field{
	"type":      Required(Text),
	"call_id":   Required(Text),
	"output":    Required(Either(Text, List(responsesInput, 0))),
	"id":        Optional(Nullable(Text)),
	"caller":    Optional(Nullable(AnyObject)),
	"name":      Optional(Nullable(Text)),
	"namespace": Optional(Nullable(Text)),
	"status":    responsesStatus,

	unpublished: Optional(Nullable(AnyObject)),
})

var responsesFunction = map[string]Field{
	"type": Required(Text), "name": Required(Text), "parameters": Required(Nullable(AnyObject)), "strict": Optional(Nullable(Bool)),
	"async": Optional(Bool), "allowed_callers": Optional(Nullable(List(Text, 0))), "defer_loading": Optional(Bool),
	"description": Optional(Nullable(Text)), "output_schema": Optional(Nullable(AnyObject)),
}

var responsesCustom = Object(map[string]Field{
	"type": Required(Text), "name": Required(Text), "async": Optional(Bool), "allowed_callers": Optional(Nullable(List(Text, 0))),
	"defer_loading": Optional(Bool), "description": Optional(Text), "format": Optional(OneOf("type", map[string]Check{
		"text":    Object(map[string]Field{"type": Required(Text)}),
		"grammar": Object(map[string]Field{"type": Required(Text), "definition": Required(Text), "syntax": Required(Enum("lark", "regex"))}),
	})),
})

// responsesTool describes tools: a client's own, and those of the provider that clients offer by themselves.
var responsesTool = OneOf("type", map[string]Check{
	"function":    Object(responsesFunction),
	"custom":      responsesCustom,
	"local_shell": Object(map[string]Field{"type": Required(Text)}),
	"apply_patch": Object(map[string]Field{"type": Required(Text), "allowed_callers": Optional(Nullable(List(Text, 0)))}),
	"namespace": Object(map[string]Field{
		"type": Required(Text), "name": Required(Text), "description": Required(Text), "tools": Required(List(OneOf("type", map[string]Check{
			"function": Object(with(responsesFunction, map[string]Field{"parameters": Optional(Nullable(AnyObject))})), "custom": responsesCustom,
		}), 0)),
	}),
	"tool_search": Object(map[string]Field{
		"type": Required(Text), "description": Optional(Nullable(Text)), "execution": Optional(Enum("server", "client")), "parameters": Optional(Nullable(AnyObject)),
	}),
	"web_search": Object(map[string]Field{
		"type": Required(Text), "external_web_access": Optional(Bool), "filters": Optional(Nullable(AnyObject)), "search_content_types": Optional(List(Text, 0)),
		"search_context_size": Optional(Enum("low", "medium", "high")), "user_location": Optional(Nullable(AnyObject)),
	}),
	"image_generation": AnyObject,
})
