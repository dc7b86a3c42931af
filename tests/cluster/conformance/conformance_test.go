package main

import (
	"slices"
	"testing"
)

const sample = `The following spec names can be used with 'ginkgo run --focus/skip':
    k8s.io/kubernetes@v1.37.2/test/e2e/network/netpol/network_policy.go:590: [sig-network] Netpol one (a) [Feature:NetworkPolicy]
    k8s.io/kubernetes@v1.37.2/test/e2e/network/netpol/network_policy.go:1447: [sig-network] Netpol [Feature:SCTPConnectivity] two
`

func TestCasesAreReadFromTheList(t *testing.T) {
	want := []string{"[sig-network] Netpol one (a) [Feature:NetworkPolicy]", "[sig-network] Netpol [Feature:SCTPConnectivity] two"}
	if got := parseList([]byte(sample)); !slices.Equal(got, want) {
		t.Errorf("read %q", got)
	}
}

func TestTooFewCasesAreNoRun(t *testing.T) {
	if _, err := choose(parseList([]byte(sample)), options{}); err == nil {
		t.Error("a full run of two cases was accepted")
	}
	if _, err := choose(parseList([]byte(sample)), options{short: true}); err == nil {
		t.Error("a short run without its cases was accepted")
	}
	if got, err := choose(parseList([]byte(sample)), options{only: "one (a)"}); err != nil || len(got) != 1 {
		t.Errorf("chose %q, %v", got, err)
	}
}

func TestOnlyOneCaseThatRanIsAPass(t *testing.T) {
	for output, want := range map[string]bool{
		"Ran 1 of 52 Specs in 9.1 seconds\nSUCCESS! -- 1 Passed | 0 Failed | 0 Pending | 51 Skipped":   true,
		"Ran 0 of 52 Specs in 0.1 seconds\nSUCCESS! -- 0 Passed | 0 Failed | 0 Pending | 52 Skipped":   false,
		"Ran 1 of 52 Specs in 9.1 seconds\nFAIL! -- 0 Passed | 1 Failed | 0 Pending | 51 Skipped":      false,
		"Ran 11 of 52 Specs in 9.1 seconds\nSUCCESS! -- 11 Passed | 0 Failed | 0 Pending | 41 Skipped": false,
	} {
		if got := ranOne([]byte(output)); got != want {
			t.Errorf("%q: %v", output, got)
		}
	}
}

func TestTheNewestImageIsByNumber(t *testing.T) {
	list := "cofferdam.test/agnhost:2.9\ncofferdam.test/agnhost:2.66.1\nelsewhere.test/agnhost:3.0\ncofferdam.test/agnhost:2.55\n"
	if got := newest(list); got != "cofferdam.test/agnhost:2.66.1" {
		t.Errorf("newest: %s", got)
	}
}

func TestAFullSuccessAnswersForAShortOne(t *testing.T) {
	builds := map[string]string{"enforcer": "aa", "kubernetes": "bb", "internet": "cc"}
	kept := newStamp(t.TempDir(), builds)
	if _, found := kept.read(true); found {
		t.Fatal("remembered before it happened")
	}
	if err := kept.write(true, "short passed"); err != nil {
		t.Fatal(err)
	}
	if _, found := kept.read(false); found {
		t.Error("a short success answers for a full one")
	}
	if err := kept.write(false, "full passed"); err != nil {
		t.Fatal(err)
	}
	if text, _ := kept.read(true); text != "full passed" {
		t.Errorf("remembered %q", text)
	}
	builds["internet"] = "other"
	if newStamp(kept.cache, builds).hash != kept.hash {
		t.Error("a component that no case meets changes the hash")
	}
	builds["enforcer"] = "other"
	if newStamp(kept.cache, builds).hash == kept.hash {
		t.Error("another enforcer is remembered as this one")
	}
}
