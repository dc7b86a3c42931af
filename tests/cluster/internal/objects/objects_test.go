package objects

import (
	"strings"
	"testing"

	"cofferdam.dev/tests/cluster/internal/layout"
)

func TestEveryObjectIsThere(t *testing.T) {
	stream, err := Render(layout.Layout{State: "/somewhere/state"})
	if err != nil {
		t.Fatal(err)
	}
	text := string(stream)
	if strings.Contains(text, "{{") || strings.Contains(text, "<no value>") {
		t.Errorf("not filled:\n%s", text)
	}
	for kind, count := range map[string]int{"RuntimeClass": 1, "StorageClass": 1, "PersistentVolume": len(Volumes), "Service": 1, "Deployment": 1} {
		if got := strings.Count(text, "\nkind: "+kind+"\n"); got != count {
			t.Errorf("%d objects of kind %s, want %d", got, kind, count)
		}
	}
	for _, volume := range Volumes {
		if !strings.Contains(text, `"/somewhere/state/volumes/`+volume+`"`) {
			t.Errorf("no directory for %s", volume)
		}
	}
}
