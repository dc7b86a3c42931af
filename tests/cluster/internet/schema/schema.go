// Package schema checks decoded JSON against a description of what an API accepts.
//
// It knows only what the two model APIs need: closed objects (a field that is not described is a problem), lists,
// scalars, enumerations, and unions told apart by a field. It says where and what the problem is; how an API words
// that is the API's own matter.
package schema

import (
	"encoding/json"
	"slices"
	"sort"
	"strconv"
)

// Kind is the sort of problem found.
type Kind int

const (
	// Missing is a required field that is absent.
	Missing Kind = iota
	// Unknown is a field that the API does not have.
	Unknown
	// Wrong is a value of the wrong type or outside its allowed set.
	Wrong
)

// Problem is the first thing in a document that its description does not allow.
type Problem struct {
	Kind Kind
	// Path names the place: fields and list indexes from the root.
	Path []string
	// Want says what was expected there, for a value that is Wrong.
	Want string
}

// Check looks at one value that stands at path. A nil Problem means that the value is as described.
type Check func(path []string, value any) *Problem

// Field describes one field of an object.
type Field struct {
	Check    Check
	Required bool
}

// Required is a field that must be present.
func Required(check Check) Field { return Field{Check: check, Required: true} }

// Optional is a field that may be absent.
func Optional(check Check) Field { return Field{Check: check} }

// Nullable accepts null and whatever check accepts.
func Nullable(check Check) Check {
	return func(path []string, value any) *Problem {
		if value == nil {
			return nil
		}
		return check(path, value)
	}
}

// Object accepts an object with these fields and no others. Fields are looked at in the order of their names, missing
// ones first, so that the same document always gives the same problem.
func Object(fields map[string]Field) Check {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	sort.Strings(names)
	return func(path []string, value any) *Problem {
		object, ok := value.(map[string]any)
		if !ok {
			return wrong(path, "an object")
		}
		for _, name := range names {
			if _, present := object[name]; fields[name].Required && !present {
				return &Problem{Kind: Missing, Path: at(path, name)}
			}
		}
		present := make([]string, 0, len(object))
		for name := range object {
			present = append(present, name)
		}
		sort.Strings(present)
		for _, name := range present {
			field, known := fields[name]
			if !known {
				return &Problem{Kind: Unknown, Path: at(path, name)}
			}
			if problem := field.Check(at(path, name), object[name]); problem != nil {
				return problem
			}
		}
		return nil
	}
}

// OneOf accepts an object whose field tag names one of the variants, and which that variant accepts.
func OneOf(tag string, variants map[string]Check) Check {
	names := make([]string, 0, len(variants))
	for name := range variants {
		names = append(names, name)
	}
	sort.Strings(names)
	return func(path []string, value any) *Problem {
		object, ok := value.(map[string]any)
		if !ok {
			return wrong(path, "an object")
		}
		chosen, present := object[tag]
		if !present {
			return &Problem{Kind: Missing, Path: at(path, tag)}
		}
		name, ok := chosen.(string)
		check, known := variants[name]
		if !ok || !known {
			return wrong(at(path, tag), "one of "+quoted(names))
		}
		return check(path, value)
	}
}

// List accepts a list of at least least elements that item accepts.
func List(item Check, least int) Check {
	return func(path []string, value any) *Problem {
		list, ok := value.([]any)
		if !ok {
			return wrong(path, "an array")
		}
		if len(list) < least {
			return wrong(path, "an array of at least "+strconv.Itoa(least)+" element(s)")
		}
		for index, element := range list {
			if problem := item(at(path, strconv.Itoa(index)), element); problem != nil {
				return problem
			}
		}
		return nil
	}
}

// Either accepts what one of the checks accepts; the problem told is that of the last.
func Either(checks ...Check) Check {
	return func(path []string, value any) *Problem {
		var problem *Problem
		for _, check := range checks {
			if problem = check(path, value); problem == nil {
				return nil
			}
		}
		return problem
	}
}

// Text accepts a string.
func Text(path []string, value any) *Problem {
	if _, ok := value.(string); !ok {
		return wrong(path, "a string")
	}
	return nil
}

// Bool accepts true and false.
func Bool(path []string, value any) *Problem {
	if _, ok := value.(bool); !ok {
		return wrong(path, "a boolean")
	}
	return nil
}

// Any accepts every value: for places whose content the API does not look into.
func Any([]string, any) *Problem { return nil }

// AnyObject accepts an object with whatever fields.
func AnyObject(path []string, value any) *Problem {
	if _, ok := value.(map[string]any); !ok {
		return wrong(path, "an object")
	}
	return nil
}

// Enum accepts one of the given strings.
func Enum(values ...string) Check {
	return func(path []string, value any) *Problem {
		if text, ok := value.(string); !ok || !slices.Contains(values, text) {
			return wrong(path, "one of "+quoted(values))
		}
		return nil
	}
}

// Integer accepts a whole number of at least least.
func Integer(least int64) Check {
	return func(path []string, value any) *Problem {
		number, ok := value.(json.Number)
		if !ok {
			return wrong(path, "an integer")
		}
		whole, err := number.Int64()
		if err != nil {
			return wrong(path, "an integer")
		}
		if whole < least {
			return wrong(path, "an integer of at least "+strconv.FormatInt(least, 10))
		}
		return nil
	}
}

// Number accepts a number between least and most, both included.
func Number(least, most float64) Check {
	return func(path []string, value any) *Problem {
		number, ok := value.(json.Number)
		if !ok {
			return wrong(path, "a number")
		}
		real, err := number.Float64()
		if err != nil || real < least || real > most {
			return wrong(path, "a number from "+strconv.FormatFloat(least, 'g', -1, 64)+" to "+strconv.FormatFloat(most, 'g', -1, 64))
		}
		return nil
	}
}

func wrong(path []string, want string) *Problem { return &Problem{Kind: Wrong, Path: path, Want: want} }

// at extends a path without sharing its storage: siblings extend the same one.
func at(path []string, name string) []string { return append(slices.Clone(path), name) }

func quoted(values []string) string {
	text := ""
	for index, value := range values {
		if index > 0 {
			text += ", "
		}
		text += "'" + value + "'"
	}
	return text
}
