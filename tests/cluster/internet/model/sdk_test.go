package model

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestSDKsUnderstand has the official SDKs of both APIs, at pinned versions, talk to the server.
func TestSDKsUnderstand(t *testing.T) {
	if testing.Short() {
		t.Skip("installs Python packages the first time")
	}
	server := scripted(t)
	check := exec.Command(python(t), filepath.Join("sdk", "check.py"), server.URL)
	// A proxy that the machine's user has set is not for this.
	check.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "NO_PROXY=127.0.0.1"}
	if out, err := check.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// python makes a virtual environment with the SDKs, once for each content of requirements.txt.
func python(t *testing.T) string {
	t.Helper()
	requirements := filepath.Join("sdk", "requirements.txt")
	data, err := os.ReadFile(requirements)
	if err != nil {
		t.Fatal(err)
	}
	cache := os.Getenv("COFFERDAM_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(home, ".cache", "cofferdam")
	}
	sum := sha256.Sum256(data)
	environment := filepath.Join(cache, "sdk-"+hex.EncodeToString(sum[:8]))
	done := filepath.Join(environment, "complete")
	if _, err := os.Stat(done); err != nil {
		run(t, "/usr/bin/python3", "-m", "venv", "--clear", environment)
		run(t, filepath.Join(environment, "bin", "pip"), "install", "--quiet", "--require-hashes", "--requirement", requirements)
		if err := os.WriteFile(done, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(environment, "bin", "python")
}

func run(t *testing.T, name string, arguments ...string) {
	t.Helper()
	if out, err := exec.Command(name, arguments...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, arguments, err, out)
	}
}
