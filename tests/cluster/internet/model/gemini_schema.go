package model

import (
	"strings"
	"unicode"

	. "cofferdam.dev/tests/cluster/internet/schema"
)

// message describes a message of Gemini's API: each field may be spelled as in JSON or as in the protocol buffer that it stands
// for, and null is as good as absent.
func message(fields map[string]Check) Check {
	both := map[string]Field{}
	for name, check := range fields {
		both[name] = Optional(Nullable(check))
		both[snake(name)] = Optional(Nullable(check))
	}
	return Object(both)
}

// snake spells a name as protocol buffers do: functionCall is function_call.
func snake(name string) string {
	var spelled strings.Builder
	for _, letter := range name {
		if unicode.IsUpper(letter) {
			spelled.WriteByte('_')
		}
		spelled.WriteRune(unicode.ToLower(letter))
	}
	return spelled.String()
}

// field reads a field of a message in either spelling.
func field(value any, name string) any {
	fields := object(value)
	if found, present := fields[name]; present {
		return found
	}
	return fields[snake(name)]
}

// geminiRequest describes the body of generateContent and streamGenerateContent as Google publishes it.
var geminiRequest = message(map[string]Check{
	"contents":          List(geminiContent, 1),
	"systemInstruction": geminiContent,
	"tools":             List(geminiTool, 0),
	"toolConfig":        geminiToolConfig,
	"safetySettings":    List(message(map[string]Check{"category": Text, "threshold": Text}), 0),
	"generationConfig":  geminiGeneration,
	"cachedContent":     Text,
	"labels":            AnyObject,
	"serviceTier":       Text,
	"store":             Bool,
})

// geminiCount describes the body of countTokens.
var geminiCount = message(map[string]Check{
	"contents":               List(geminiContent, 1),
	"generateContentRequest": AnyObject,
})

var geminiContent = message(map[string]Check{
	"role":  Enum("user", "model", "function", "system"),
	"parts": List(geminiPart, 0),
})

var geminiPart = message(map[string]Check{
	"text":             Text,
	"thought":          Bool,
	"thoughtSignature": Text,
	"partMetadata":     AnyObject,
	"inlineData":       message(map[string]Check{"mimeType": Text, "data": Text}),
	"fileData":         message(map[string]Check{"mimeType": Text, "fileUri": Text}),
	"videoMetadata":    AnyObject,
	"mediaResolution":  AnyObject,
	"functionCall":     message(map[string]Check{"id": Text, "name": Text, "args": AnyObject}),
	"functionResponse": message(map[string]Check{
		"id": Text, "name": Text, "response": AnyObject, "willContinue": Bool, "scheduling": Text, "parts": List(AnyObject, 0),
	}),
})

var geminiTool = message(map[string]Check{
	"functionDeclarations": List(message(map[string]Check{
		"name": Text, "description": Text, "behavior": Text, "parameters": geminiSchema, "parametersJsonSchema": Any,
		"response": geminiSchema, "responseJsonSchema": Any,
	}), 0),
	// What Google itself would do: this account has none of it, but clients offer it by themselves.
	"googleSearch": AnyObject, "urlContext": AnyObject, "codeExecution": AnyObject,
})

// geminiSchema is the API's own kind of schema, which has fewer words than JSON Schema.
func geminiSchema(path []string, value any) *Problem {
	return message(map[string]Check{
		"type": Text, "format": Text, "title": Text, "description": Text, "nullable": Bool, "enum": List(Text, 0), "pattern": Text,
		"properties": each(geminiSchema), "required": List(Text, 0), "propertyOrdering": List(Text, 0), "items": geminiSchema,
		"anyOf": List(geminiSchema, 0), "default": Any, "example": Any, "minimum": Any, "maximum": Any, "minItems": Any, "maxItems": Any,
		"minLength": Any, "maxLength": Any, "minProperties": Any, "maxProperties": Any,
	})(path, value)
}

// each accepts an object with whatever fields whose values check accepts.
func each(check Check) Check {
	return func(path []string, value any) *Problem {
		if problem := AnyObject(path, value); problem != nil {
			return problem
		}
		for name, inner := range object(value) {
			if problem := check(append(append([]string{}, path...), name), inner); problem != nil {
				return problem
			}
		}
		return nil
	}
}

var geminiToolConfig = message(map[string]Check{
	"functionCallingConfig":            message(map[string]Check{"mode": Enum("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"), "allowedFunctionNames": List(Text, 0)}),
	"retrievalConfig":                  AnyObject,
	"includeServerSideToolInvocations": Bool,
})

var geminiGeneration = message(map[string]Check{
	"candidateCount": Number(1, 1), // a script has one answer
	"temperature":    Number(0, 2), "topP": Number(0, 1), "topK": Number(0, 1000), "maxOutputTokens": Integer(1), "stopSequences": List(Text, 0),
	"seed": Any, "presencePenalty": Any, "frequencyPenalty": Any, "responseLogprobs": Bool, "logprobs": Any,
	"responseMimeType": Enum("text/plain", "application/json", "text/x.enum"), "responseSchema": geminiSchema, "responseJsonSchema": Any,
	"responseModalities": List(Text, 0), "mediaResolution": Text, "speechConfig": AnyObject, "imageConfig": AnyObject, "enableEnhancedCivicAnswers": Bool,
	"thinkingConfig": message(map[string]Check{"includeThoughts": Bool, "thinkingBudget": Integer(-1), "thinkingLevel": Text}),
})
