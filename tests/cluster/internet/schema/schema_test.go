package schema

import (
	"encoding/json"
	"strings"
	"testing"
)

var book = Object(map[string]Field{
	"title": Required(Text),
	"pages": Optional(Nullable(Integer(1))),
	"parts": Optional(List(OneOf("kind", map[string]Check{
		"plate": Object(map[string]Field{"kind": Required(Enum("plate")), "wide": Optional(Bool)}),
		"verse": Object(map[string]Field{"kind": Required(Enum("verse")), "metre": Required(Either(Text, Number(0, 9.5)))}),
	}), 1)),
})

func TestProblems(t *testing.T) {
	for document, want := range map[string]string{
		`{"title": "A"}`:                              "",
		`{"title": "A", "pages": null}`:               "",
		`{"title": "A", "pages": 0}`:                  "wrong pages: an integer of at least 1",
		`{"title": "A", "pages": 1.5}`:                "wrong pages: an integer",
		`{"title": 3}`:                                "wrong title: a string",
		`{"pages": 3, "weight": 1}`:                   "missing title: ",
		`{"title": "A", "weight": 1}`:                 "unknown weight: ",
		`{"title": "A", "parts": []}`:                 "wrong parts: an array of at least 1 element(s)",
		`{"title": "A", "parts": {}}`:                 "wrong parts: an array",
		`{"title": "A", "parts": [{}]}`:               "missing parts.0.kind: ",
		`{"title": "A", "parts": ["x"]}`:              "wrong parts.0: an object",
		`{"title": "A", "parts": [{"kind": "song"}]}`: "wrong parts.0.kind: one of 'plate', 'verse'",
		`{"title": "A", "parts": [{"kind": "plate"}, {"kind": "plate", "wide": "yes"}]}`:                 "wrong parts.1.wide: a boolean",
		`{"title": "A", "parts": [{"kind": "plate", "metre": 1}]}`:                                       "unknown parts.0.metre: ",
		`{"title": "A", "parts": [{"kind": "verse", "metre": "iamb"}, {"kind": "verse", "metre": 9.5}]}`: "",
		`{"title": "A", "parts": [{"kind": "verse", "metre": 9.6}]}`:                                     "wrong parts.0.metre: a number from 0 to 9.5",
		`[]`: "wrong : an object",
	} {
		decoder := json.NewDecoder(strings.NewReader(document))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			t.Fatal(err)
		}
		got := ""
		if problem := book(nil, value); problem != nil {
			kind := map[Kind]string{Missing: "missing", Unknown: "unknown", Wrong: "wrong"}[problem.Kind]
			got = kind + " " + strings.Join(problem.Path, ".") + ": " + problem.Want
		}
		if got != want {
			t.Errorf("%s: %q, want %q", document, got, want)
		}
	}
}
