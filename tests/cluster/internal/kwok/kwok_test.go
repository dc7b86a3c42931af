package kwok

import (
	"strings"
	"testing"

	"cofferdam.dev/tests/cluster/internal/layout"
)

func TestObjectsNameTheNodeAndTheUser(t *testing.T) {
	for _, wanted := range []string{"name: " + NodeName + "\n", "kind: User, name: " + User + "}"} {
		if !strings.Contains(string(Objects), wanted) {
			t.Errorf("objects.yaml lacks %q", wanted)
		}
	}
}

func TestPodAddressesAreOutsideOfTheCluster(t *testing.T) {
	prefix := podCIDR[:strings.LastIndex(podCIDR, ".0.")+1]
	for _, own := range []string{layout.PodCIDR, layout.ServiceCIDR, layout.NodeNetwork} {
		if strings.HasPrefix(own, prefix) {
			t.Errorf("pods of the fake node are in %s", own)
		}
	}
	if !strings.Contains(string(Stages), "address: 10.245.0.1}") {
		t.Error("the fake node's address is not in the range of its pods")
	}
}
