package build

import "testing"

func TestVersionValue(t *testing.T) {
	const goMod = `module part

require example.test/single v0.9.1

require (
	example.test/whole v1.37.2
	example.test/whole/sub v3.4.5 // indirect
)

replace example.test/single => example.test/other v7.7.7
`
	for name, c := range map[string]struct {
		version Version
		want    string
	}{
		"all":         {Version{"x", "example.test/whole", All}, "v1.37.2"},
		"major":       {Version{"x", "example.test/whole", Major}, "1"},
		"minor":       {Version{"x", "example.test/whole", Minor}, "37"},
		"own line":    {Version{"x", "example.test/single", All}, "v0.9.1"},
		"other name":  {Version{"x", "example.test/whole/sub", Minor}, "4"},
		"not in file": {Version{"x", "example.test", All}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.version.value(goMod)
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}
