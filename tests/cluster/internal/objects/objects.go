// Package objects holds the Kubernetes objects that every cluster starts with.
package objects

import (
	"bytes"
	"embed"
	"fmt"
	"text/template"

	"cofferdam.dev/tests/cluster/internal/layout"
)

//go:embed manifests
var manifests embed.FS

var parsed = template.Must(template.New("").Option("missingkey=error").ParseFS(manifests, "manifests/*.yaml"))

// Volumes are the names of the static volumes; each is a directory below <state>/volumes.
var Volumes = []string{"local-a", "local-b"}

// Render gives all manifests as one stream, in the order of their file names.
func Render(place layout.Layout) ([]byte, error) {
	data := map[string]any{
		"VolumeDirectory": place.Path("volumes"), "Volumes": Volumes, "NodeName": layout.NodeName,
		"DNSServiceIP": layout.DNSServiceIP, "DNSImage": layout.DNSImage,
		"NodeIP": layout.NodeIP, "APIServiceIP": layout.APIServiceIP,
	}
	entries, err := manifests.ReadDir("manifests")
	if err != nil {
		return nil, err
	}
	var stream bytes.Buffer
	for _, entry := range entries {
		stream.WriteString("---\n")
		if err := parsed.ExecuteTemplate(&stream, entry.Name(), data); err != nil {
			return nil, fmt.Errorf("render %s: %w", entry.Name(), err)
		}
	}
	return stream.Bytes(), nil
}
